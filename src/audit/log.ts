import { constants, fdatasyncSync, fstatSync, writeSync } from 'node:fs';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DURABLE_EVENTS, type AuditEntry } from '../domain/audit.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { Digest, RunId } from '../domain/ids.ts';
import { digestOf, GENESIS, link, type ChainState } from './chain.ts';
import { findEnd } from './end.ts';
import type { Redact } from './redact.ts';
import { writeSeal, type SigningKey } from './seal.ts';

/** The sync of a plain line begins at the latest after this time: what a power cut may take. The seal states it. */
export const SYNC_WINDOW_MS = 50;

/** Syncs that take less are waited for by the whole process. What one counts for at most, so that the disk's pause is not its pace. */
const QUICK_SYNC_MS = 1;
const MAX_SYNC_MS = 4;

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
 * The single writer of one run's audit file. A line is written before `append` returns, so lines are in call order; those
 * of `DURABLE_EVENTS` are synced before its promise resolves, and calls that wait at the same time share one sync. Any
 * failure is final: every later `append` rejects with `audit`, because nothing may happen without a record.
 */
export class AuditFile {
  readonly file: string;
  readonly #handle: FileHandle;
  readonly #options: AuditLogOptions;
  #opened: number;
  #state: ChainState = { seq: 0, prev: GENESIS };
  /** Monotonic milliseconds of the last line. */
  #mono = 0;
  /** Bytes that the file has when nobody else writes to it. */
  #bytes = 0;
  #failure: CofferdamError | undefined;
  #sealed = false;
  #timer: NodeJS.Timeout | undefined;
  /** What a sync took of late. */
  #syncMs = 0;
  /** The sync under way; never rejects. */
  #syncing: Promise<unknown> = Promise.resolve();
  /** The sync after that one, for lines that it may not cover. */
  #next: Promise<void> | undefined;

  private constructor(handle: FileHandle, options: AuditLogOptions) {
    this.file = options.file;
    this.#handle = handle;
    this.#options = options;
    this.#opened = this.#clock();
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
   * Errors: `audit` when the file cannot be read, its last whole line is no event, or somebody else writes to it.
   */
  static async resume(options: AuditLogOptions): Promise<AuditFile | null> {
    const end = await findEnd(options.file);
    if (end === null) return null;
    let handle: FileHandle | undefined;
    try {
      handle = await open(options.file, constants.O_WRONLY | constants.O_APPEND);
      const log = new AuditFile(handle, options);
      log.#state = { seq: end.seq, prev: end.prev };
      log.#mono = end.mono;
      log.#opened = log.#clock() - end.mono;
      log.#bytes = end.bytes + end.cut;
      if (end.sealing !== undefined) {
        // The writer ended between the last line and its seal.
        log.#sealed = true;
        await writeSeal({ ...options, count: end.seq, head: log.head(), data: end.sealing });
        await log.close();
        return null;
      }
      log.#alone();
      if (end.cut > 0) await handle.truncate(end.bytes);
      log.#bytes = end.bytes;
      await log.append({ zone: 'worker', type: 'audit.resume', data: { cutBytes: end.cut } });
      return log;
    } catch (cause) {
      await handle?.close().catch(() => undefined);
      if (cause instanceof CofferdamError) throw cause;
      throw new CofferdamError('audit', 'audit.resume', `cannot go on with the audit file ${options.file}`, cause);
    }
  }

  #clock(): number {
    return this.#options.mono?.() ?? performance.now();
  }

  head(): Digest {
    return digestOf(this.#state.prev);
  }

  append(entry: AuditEntry): Promise<void> {
    if (this.#sealed) return Promise.reject(new CofferdamError('audit', 'audit.append', 'the audit file is sealed'));
    return this.#record(entry);
  }

  async #record(entry: AuditEntry): Promise<void> {
    this.#write(entry);
    if ((DURABLE_EVENTS as readonly string[]).includes(entry.type)) return this.#sync();
    this.#timer ??= setTimeout(() => {
      // Whoever appends next is told.
      this.#sync().catch(() => undefined);
    }, SYNC_WINDOW_MS).unref();
  }

  #write(entry: AuditEntry): void {
    if (this.#failure) throw this.#failure;
    try {
      const { event, line, next } = link(this.#state, this.#options.redact(entry), {
        runId: this.#options.runId,
        at: (this.#options.now?.() ?? new Date()).toISOString(),
        // A clock that jumps back must not make the file look edited.
        mono: Math.max(this.#mono, Math.round((this.#clock() - this.#opened) * 1000) / 1000),
      });
      const bytes = Buffer.from(`${line}\n`);
      this.#alone();
      writeWhole(this.#handle.fd, bytes);
      this.#bytes += bytes.length;
      this.#state = next;
      this.#mono = event.mono;
      this.#options.onLine?.(line);
    } catch (cause) {
      throw this.#fail('audit.append', 'cannot write the audit file', cause);
    }
  }

  /** Throws when the file is not as this writer left it: its lines would break the other's chain, or be nowhere. */
  #alone(): void {
    const { size, nlink } = fstatSync(this.#handle.fd);
    if (nlink === 0) throw new Error('it was removed');
    if (size !== this.#bytes)
      throw new Error(`it has ${size} bytes instead of ${this.#bytes}: another process writes to it`);
  }

  #fail(op: string, what: string, cause: unknown): CofferdamError {
    const why = cause instanceof Error ? cause.message : String(cause);
    this.#failure ??= new CofferdamError('audit', op, `${what} ${this.file}: ${why}`, cause);
    return this.#failure;
  }

  /** Resolves when every line so far is on the disk. One sync at a time; those who come meanwhile share the one after it. */
  #sync(): Promise<void> {
    this.#next ??= this.#syncing.then(() => {
      this.#next = undefined;
      const sync = this.#datasync();
      this.#syncing = sync.catch(() => undefined);
      return sync;
    });
    return this.#next;
  }

  async #datasync(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#failure) throw this.#failure;
    const before = performance.now();
    try {
      // On a disk that answers in microseconds, two turns of the thread pool are most of what a sync takes; a slower one
      // would hold everything else that this process does.
      if (this.#syncMs < QUICK_SYNC_MS) fdatasyncSync(this.#handle.fd);
      else await this.#handle.datasync();
      this.#syncMs += (Math.min(performance.now() - before, MAX_SYNC_MS) - this.#syncMs) / 4;
    } catch (cause) {
      throw this.#fail('audit.sync', 'cannot sync the audit file', cause);
    }
  }

  /** Last line, then the signed seal beside the file. Nothing can be appended afterwards. Errors: `audit`. */
  async seal(data: Record<string, unknown>): Promise<{ count: number; head: Digest }> {
    if (this.#sealed) throw new CofferdamError('audit', 'audit.seal', 'the audit file is sealed already');
    this.#sealed = true;
    await this.#record({ zone: 'worker', type: 'seal', data: { ...data, syncWindowMs: SYNC_WINDOW_MS } });
    const seal = { count: this.#state.seq, head: this.head() };
    try {
      await writeSeal({ file: this.file, runId: this.#options.runId, ...seal, data, key: this.#options.key });
    } catch (cause) {
      throw this.#fail('audit.seal', 'cannot write the seal of', cause);
    }
    return seal;
  }

  /** What is written is synced first; whoever needs to know whether that went well seals. */
  async close(): Promise<void> {
    if (this.#timer !== undefined) await this.#sync().catch(() => undefined);
    await (this.#next ?? this.#syncing).catch(() => undefined);
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
