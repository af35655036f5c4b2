import { constants, writeSync } from 'node:fs';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DURABLE_EVENTS, type AuditEntry } from '../domain/audit.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { Digest, RunId } from '../domain/ids.ts';
import { digestOf, GENESIS, link, type ChainState } from './chain.ts';
import { findEnd } from './end.ts';
import type { Redact } from './redact.ts';
import { writeSeal, type SigningKey } from './seal.ts';

/** A plain write is synced at the latest after this time: what a power cut may take. The seal states it. */
export const SYNC_WINDOW_MS = 50;

export interface AuditLogOptions {
  file: string;
  runId: RunId;
  redact: Redact;
  key: SigningKey;
  now?: () => Date;
  mono?: () => number;
  /** Called with each stored line after it is written: the live view. */
  onLine?: (line: string) => void;
}

/**
 * The single writer of one run's audit file. Lines are written in call order, one write at a time; those of
 * `DURABLE_EVENTS` are synced before `append` resolves. Any failure is final: every later `append` rejects with `audit`,
 * because nothing may happen without a record.
 */
export class AuditFile {
  readonly file: string;
  readonly #handle: FileHandle;
  readonly #options: AuditLogOptions;
  #opened: number;
  #state: ChainState = { seq: 0, prev: GENESIS };
  #tail: Promise<void> = Promise.resolve();
  #failure: CofferdamError | undefined;
  #sealed = false;
  #sync: NodeJS.Timeout | undefined;

  private constructor(handle: FileHandle, options: AuditLogOptions) {
    this.file = options.file;
    this.#handle = handle;
    this.#options = options;
    this.#opened = this.#mono();
  }

  /** Makes the file (0600, its directory 0700); it must not exist: a run writes one file once. */
  static async create(options: AuditLogOptions): Promise<AuditFile> {
    try {
      await mkdir(dirname(options.file), { recursive: true, mode: 0o700 });
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND;
      return new AuditFile(await open(options.file, flags, 0o600), options);
    } catch (cause) {
      throw new CofferdamError('audit', 'audit.create', `cannot create the audit file ${options.file}`, cause);
    }
  }

  /**
   * Goes on where the file of a writer that is gone ends: a line that it did not finish is cut off, and the first new line says
   * how much that was. Null when there is no such file or it is sealed already.
   * Errors: `audit` when the file cannot be read or its last whole line is no event.
   */
  static async resume(options: AuditLogOptions): Promise<AuditFile | null> {
    const end = await findEnd(options.file);
    if (end === null) return null;
    let handle: FileHandle | undefined;
    try {
      handle = await open(options.file, constants.O_WRONLY | constants.O_APPEND);
      const log = new AuditFile(handle, options);
      log.#state = { seq: end.seq, prev: end.prev };
      log.#opened = log.#mono() - end.mono;
      if (end.sealing !== undefined) {
        // The writer ended between the last line and its seal.
        log.#sealed = true;
        await writeSeal({ ...options, count: end.seq, head: log.head(), data: end.sealing });
        await log.close();
        return null;
      }
      if (end.cut > 0) await handle.truncate(end.bytes);
      await log.append({ zone: 'worker', type: 'audit.resume', data: { cutBytes: end.cut } });
      return log;
    } catch (cause) {
      await handle?.close().catch(() => undefined);
      if (cause instanceof CofferdamError) throw cause;
      throw new CofferdamError('audit', 'audit.resume', `cannot go on with the audit file ${options.file}`, cause);
    }
  }

  #mono(): number {
    return this.#options.mono?.() ?? performance.now();
  }

  head(): Digest {
    return digestOf(this.#state.prev);
  }

  append(entry: AuditEntry): Promise<void> {
    if (this.#sealed) return Promise.reject(new CofferdamError('audit', 'audit.append', 'the audit file is sealed'));
    return this.#enqueue(entry);
  }

  #enqueue(entry: AuditEntry): Promise<void> {
    const done = this.#tail.then(() => this.#write(entry));
    // The chain of writes goes on after a failure so that each caller gets its own rejection.
    this.#tail = done.catch(() => undefined);
    return done;
  }

  async #write(entry: AuditEntry): Promise<void> {
    if (this.#failure) throw this.#failure;
    try {
      const { line, next } = link(this.#state, this.#options.redact(entry) as AuditEntry, {
        runId: this.#options.runId,
        at: (this.#options.now?.() ?? new Date()).toISOString(),
        mono: Math.round((this.#mono() - this.#opened) * 1000) / 1000,
      });
      writeWhole(this.#handle.fd, Buffer.from(`${line}\n`));
      this.#state = next;
      if ((DURABLE_EVENTS as readonly string[]).includes(entry.type)) await this.#handle.datasync();
      else this.#scheduleSync();
      this.#options.onLine?.(line);
    } catch (cause) {
      this.#failure = new CofferdamError('audit', 'audit.append', `cannot write the audit file ${this.file}`, cause);
      throw this.#failure;
    }
  }

  #scheduleSync(): void {
    this.#sync ??= setTimeout(() => {
      this.#sync = undefined;
      this.#handle.datasync().catch((cause: unknown) => {
        this.#failure ??= new CofferdamError('audit', 'audit.sync', `cannot sync the audit file ${this.file}`, cause);
      });
    }, SYNC_WINDOW_MS).unref();
  }

  /** Last line, then the signed seal beside the file. Nothing can be appended afterwards. */
  async seal(data: Record<string, unknown>): Promise<{ count: number; head: Digest }> {
    if (this.#sealed) throw new CofferdamError('audit', 'audit.seal', 'the audit file is sealed already');
    this.#sealed = true;
    await this.#enqueue({ zone: 'worker', type: 'seal', data: { ...data, syncWindowMs: SYNC_WINDOW_MS } });
    const seal = { count: this.#state.seq, head: this.head() };
    await writeSeal({ file: this.file, runId: this.#options.runId, ...seal, data, key: this.#options.key });
    return seal;
  }

  async close(): Promise<void> {
    await this.#tail;
    clearTimeout(this.#sync);
    await this.#handle.close();
  }
}

/**
 * Into the page cache, which takes microseconds; a turn through the thread pool takes longer than that, and every
 * decision of a gateway waits for its line. Throws what the file system says.
 */
function writeWhole(fd: number, bytes: Buffer): void {
  for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
}
