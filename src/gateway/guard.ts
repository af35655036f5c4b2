/**
 * Stands between a hostile client and an HTTP server of the gateway: lets through what is strictly framed, keeps the time
 * of heads and idle connections, and ends everything else with one answer.
 *
 * Trust: the inner stream's bytes are hostile; what comes out of `read` is well-formed HTTP/1.
 */
import { Duplex } from 'node:stream';
import { deny, type DenyReason } from '../domain/decision.ts';
import { RequestFramer } from '../policy/egress/http-frame.ts';
import { endSocket } from './answers.ts';

export interface GuardOptions {
  inner: Duplex;
  /** Already received. */
  opening: Buffer;
  headMs: number;
  idleMs: number;
  /** Told once, before the connection is ended. */
  onViolation: (reason: DenyReason, what: string) => void;
}

export class GuardedStream extends Duplex {
  readonly #options: GuardOptions;
  readonly #framer = new RequestFramer();
  #pending: Buffer = Buffer.alloc(0);
  #active = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Milliseconds that the timer runs. */
  #ms = 0;
  #waitingHead = false;
  #raw = false;

  constructor(options: GuardOptions) {
    super({ allowHalfOpen: true });
    this.#options = options;
    const { inner } = options;
    inner.on('data', (chunk: Buffer) => {
      this.#receive(chunk);
    });
    inner.once('end', () => this.push(null));
    inner.on('error', () => this.destroy());
    inner.once('close', () => this.destroy());
    this.#arm();
    if (options.opening.length > 0) this.#receive(options.opening);
  }

  /** An answer is complete: a violation after this can be answered, not only cut. */
  answered(): void {
    this.#active -= 1;
    this.#arm();
  }

  /** Another protocol from now on; bytes are let through as they are. */
  becomeRaw(): void {
    this.#raw = true;
    this.#framer.becomeRaw();
    clearTimeout(this.#timer);
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const framed = this.#framer.push(bytes);
    this.#pending = bytes.subarray(framed.accepted);
    this.#active += framed.heads;
    if (framed.accepted > 0 && !this.push(bytes.subarray(0, framed.accepted))) this.#options.inner.pause();
    if (framed.violation) this.#violate(framed.violation.tooLarge ? 'too_large' : 'malformed', framed.violation.what);
    else this.#arm();
  }

  /** A head that has begun has its own time; between requests and within bodies a connection may only not be silent. */
  #arm(): void {
    if (this.#raw || this.destroyed) return;
    const inHead = this.#framer.atHead() && (this.#pending.length > 0 || this.#active === 0);
    if (inHead && this.#waitingHead && this.#pending.length > 0) return;
    this.#waitingHead = inHead && this.#pending.length > 0;
    const ms = this.#waitingHead ? this.#options.headMs : this.#options.idleMs;
    if (this.#timer && ms === this.#ms) {
      this.#timer.refresh();
      return;
    }
    clearTimeout(this.#timer);
    this.#ms = ms;
    this.#timer = setTimeout(() => this.#expired(), ms);
  }

  #expired(): void {
    // Silence between requests is nobody's fault; an answer under way has the upstream's own limits.
    if (this.#active === 0 && this.#pending.length === 0) this.#end();
    else if (this.#waitingHead || !this.#framer.atHead()) this.#violate('timeout', 'slow');
    else this.#arm();
  }

  #violate(reason: DenyReason, what: string): void {
    this.#options.onViolation(reason, what);
    this.#pending = Buffer.alloc(0);
    this.#options.inner.removeAllListeners('data');
    this.#options.inner.resume();
    if (this.#active === 0) endSocket(this.#options.inner, deny('http', reason), what);
    else this.#options.inner.destroy();
  }

  #end(): void {
    this.#options.inner.end();
    this.#options.inner.destroy();
  }

  override _read(): void {
    this.#options.inner.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    const { inner } = this.#options;
    if (inner.destroyed || !inner.writable) done(new Error('closed'));
    else if (inner.write(chunk)) done();
    else this.#whenDrained(done);
  }

  /** An answer's chunk is a length, the bytes and a line end: one write to the kernel instead of three. */
  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    const { inner } = this.#options;
    if (inner.destroyed || !inner.writable) {
      done(new Error('closed'));
      return;
    }
    inner.cork();
    const [more = true] = chunks.map(({ chunk }) => inner.write(chunk)).slice(-1);
    inner.uncork();
    if (more) done();
    else this.#whenDrained(done);
  }

  #whenDrained(done: (error?: Error | null) => void): void {
    const { inner } = this.#options;
    const over = (): void => {
      inner.off('drain', over).off('close', over);
      done(inner.destroyed ? new Error('closed') : null);
    };
    inner.once('drain', over).once('close', over);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#options.inner.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#options.inner.destroy();
    done(error);
  }
}
