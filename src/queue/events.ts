/**
 * Live events: the worker that runs a run writes its stored lines into a Redis stream, and any server reads them from there, also
 * one that does not see the worker's disk. A stream is a view, not the record: it keeps the newest lines, ends some time after the
 * run, and never holds a run up; the audit file has everything.
 */
import type { Redis } from 'ioredis';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunId } from '../domain/ids.ts';
import type { Logger } from '../telemetry/log.ts';

export interface RunEventsOptions {
  redis: Redis;
  prefix: string;
  log: Logger;
  /** Newest lines that are kept of one run. */
  maxLines?: number;
  /** Lines that wait to be sent; more are dropped, and readers see the gap in the sequence. */
  maxWaiting?: number;
}

/** The lines of one run in its stream; a mark is an entry's id. */
export interface StreamLog {
  readonly partial: true;
  read(mark: string): AsyncIterable<{ bytes: Uint8Array; mark: string }>;
  changed(mark: string, signal: AbortSignal): Promise<void>;
  seal(): Promise<string | null>;
  patch(): Promise<string | null>;
}

export interface RunEvents {
  /** Hands a stored line on; never waits and never fails. */
  publish(runId: RunId, line: string): void;
  /** What lies beside a log, once it is there. */
  attach(runId: RunId, what: 'seal' | 'patch', text: string): Promise<void>;
  /** Resolves when everything that waits was sent or given up. */
  settled(): Promise<void>;
  /** Null: no line of this run is kept. */
  open(runId: RunId): Promise<StreamLog | null>;
}

const MAX_LINES = 20_000;
const MAX_WAITING = 5_000;
/** Larger lines are seldom and would fill Redis; readers see the gap. */
const MAX_LINE_CHARS = 65_536;
const MAX_TEXT_CHARS = 1_048_576;
/** After its last line a stream is kept this long. */
const KEPT_SECONDS = 7 * 86_400;
const BATCH = 500;
const POLL_MS = 250;
const END = Buffer.from('\n');

export function createRunEvents(options: RunEventsOptions): RunEvents {
  const { redis, prefix, log } = options;
  const { maxLines = MAX_LINES, maxWaiting = MAX_WAITING } = options;
  const key = (runId: RunId): string => `${prefix}:events:${runId}`;
  const beside = (runId: RunId, what: string): string => `${key(runId)}:${what}`;
  let waiting: { runId: RunId; line: string }[] = [];
  let sending: Promise<void> | undefined;
  let dropped = 0;

  async function send(batch: typeof waiting): Promise<void> {
    const pipeline = redis.pipeline();
    for (const { runId, line } of batch) pipeline.xadd(key(runId), 'MAXLEN', '~', maxLines, '*', 'l', line);
    for (const runId of new Set(batch.map((one) => one.runId))) pipeline.expire(key(runId), KEPT_SECONDS);
    await pipeline.exec();
  }

  async function drain(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.slice(0, BATCH);
      waiting = waiting.slice(BATCH);
      await send(batch).catch((thrown: unknown) => {
        dropped += batch.length;
        log.warn({ dropped, kind: thrown instanceof Error ? thrown.name : 'unknown' }, 'live events not sent');
      });
    }
    sending = undefined;
  }

  return {
    publish(runId, line) {
      if (waiting.length >= maxWaiting || line.length > MAX_LINE_CHARS) {
        dropped += 1;
        return;
      }
      waiting.push({ runId, line });
      sending ??= Promise.resolve().then(drain);
    },
    async attach(runId, what, text) {
      if (text.length <= MAX_TEXT_CHARS) await redis.set(beside(runId, what), text, 'EX', KEPT_SECONDS);
    },
    settled: () => sending ?? Promise.resolve(),
    async open(runId) {
      if ((await redis.exists(key(runId))) === 0) return null;
      return streamLog(redis, key(runId), (what) => redis.get(beside(runId, what)));
    },
  };
}

function streamLog(redis: Redis, key: string, text: (what: string) => Promise<string | null>): StreamLog {
  const after = (mark: string): string => (mark === '' ? '-' : `(${mark}`);
  return {
    partial: true,
    async *read(mark) {
      let at = mark;
      for (;;) {
        const entries = await redis.xrange(key, after(at), '+', 'COUNT', BATCH);
        const last = entries.at(-1);
        if (last === undefined) return;
        [at] = last;
        const lines = entries.flatMap(([, fields]) => [Buffer.from(fields[1] ?? '', 'utf8'), END]);
        yield { bytes: Buffer.concat(lines), mark: at };
        if (entries.length < BATCH) return;
      }
    },
    async changed(mark, signal) {
      while (!signal.aborted) {
        if ((await redis.xrange(key, after(mark), '+', 'COUNT', 1)).length > 0) return;
        await sleep(POLL_MS, undefined, { signal, ref: false }).catch(() => undefined);
      }
    },
    seal: () => text('seal'),
    patch: () => text('patch'),
  };
}
