import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { CofferdamError } from '../domain/errors.ts';
import type { RunId } from '../domain/ids.ts';
import { repoKey, type RunRequest } from '../domain/run.ts';
import type { FinalState } from '../domain/final-state.ts';
import type { RunRecord } from '../run/ports.ts';
import type { Logger } from '../telemetry/log.ts';
import { createLine, type Line, type LineLimits } from './line.ts';
import { isFinal, type RedisRunRecords } from './records.ts';

/** How a run is told to end: the reason of its signal. */
export class StopRequest extends CofferdamError {
  readonly by: string;
  /** Deliver what is there as a partial result. */
  readonly keep: boolean;
  /** Nobody asked for it: the worker ends. */
  readonly shutdown: boolean;

  constructor(by: string, keep: boolean, shutdown = false) {
    super('cancelled', 'queue.cancel', `stopped by ${by}`);
    this.by = by;
    this.keep = keep;
    this.shutdown = shutdown;
  }
}

export type Queued =
  | { queued: true; place: Place }
  | { queued: false; limit: 'total' | 'repository' | 'person' }
  /** This run is already known; nothing was done. */
  | { queued: false; limit: null };

export type Preview = { place: Place; mine: number } | { limit: 'total' | 'repository' | 'person' } | { known: true };

export interface Place {
  /** Runs that begin before this one. */
  ahead: number;
  /** The run on the same branch or thread that this one waits for. */
  behind?: RunId;
}

/** What is left in a run's record when it is over. */
export type RunEnd = Partial<
  Pick<RunRecord, 'branch' | 'pull' | 'checkRunId' | 'commentId' | 'question' | 'denied' | 'step'>
> & {
  state: FinalState;
};

export interface RunQueueOptions {
  redis: Redis;
  /** Prefix of all keys. */
  prefix: string;
  records: RedisRunRecords;
  installation: string;
  limits?: Partial<LineLimits>;
  log: Logger;
}

const LIMITS: LineLimits = { total: 1_000, perRepository: 200, perPerson: 100 };
const STOP_SECONDS = 86_400;

interface Thread {
  owner: string;
  name: string;
  number: number;
}

/** What the queue's two faces share: asking for runs, and doing them (`run-worker.ts`). */
export interface RunQueue {
  readonly options: RunQueueOptions;
  readonly line: Line;
  /** Where a run would stand, before it is enqueued: so that people are told before it can begin. */
  preview(request: RunRequest): Promise<Preview>;
  enqueue(request: RunRequest): Promise<Queued>;
  /** Null: not waiting. */
  place(runId: RunId): Promise<Place | null>;
  /** `removed`: it had not begun, and its record is final; `signalled`: its worker is told within a second. */
  cancel(runId: RunId, stop: { by: string; keep: boolean }): Promise<'removed' | 'signalled' | 'unknown'>;
  /** The request to stop this run, when there is one. */
  stopOf(runId: RunId): Promise<StopRequest | null>;
  /** Whatever was asked for on this thread before that moment is not to go on; what begins later finds it by `stopSince`. */
  stopBefore(thread: Thread, stop: { by: string; keep: boolean; at: string }): Promise<void>;
  /** The newest stop on this thread, when it came after that moment. Moments: ISO 8601. */
  stopSince(thread: Thread, at: string): Promise<StopRequest | null>;
  /** Hands a run that is first in its lane to the workers; safe to repeat. */
  handOver(request: RunRequest): Promise<void>;
  /** The run is over: its record says how, and the next one of its lane may begin. Safe to repeat. */
  end(request: RunRequest, patch: RunEnd): Promise<void>;
  close(): Promise<void>;
}

export function createRunQueue(options: RunQueueOptions): RunQueue {
  const { redis, prefix, records, log } = options;
  const limits = { ...LIMITS, ...options.limits };
  const line = createLine({ redis, prefix });
  const queue = new Queue<{ runId: RunId }>('runs', { connection: redis, prefix });
  queue.on('error', (error) => log.warn({ kind: error.name }, 'run queue'));
  const stopKey = (runId: string): string => `${prefix}:stop:${runId}`;
  const threadKey = (thread: Thread): string => `${prefix}:stopped:${repoKey(thread)}#${thread.number}`;

  async function handOver(request: RunRequest): Promise<void> {
    const { runId } = request;
    if ((await line.first(request)) !== runId) return;
    const priority = await line.tag(request);
    await queue.add('run', { runId }, { jobId: runId, priority, removeOnComplete: true, removeOnFail: true });
  }

  async function end(request: RunRequest, patch: RunEnd): Promise<void> {
    await records.update(request.runId, patch);
    await redis.del(stopKey(request.runId));
    const next = await line.leave(request);
    const record = next === null ? null : await records.load(next);
    if (record !== null) await handOver(record.request);
  }

  async function place(runId: RunId): Promise<Place | null> {
    const record = await records.load(runId);
    if (record?.state !== 'queued') return null;
    const first = await line.first(record.request);
    const inLane = (await line.aheadInLane(record.request)) ?? 0;
    const rank = first === null ? null : await redis.zrank(queue.toKey('prioritized'), first);
    return { ahead: (rank ?? 0) + inLane, ...(first === null || first === runId ? {} : { behind: first }) };
  }

  async function preview(request: RunRequest): Promise<Preview> {
    const entry = await line.mayEnter(request, limits);
    if (entry === 'known') return { known: true };
    if (entry !== 'entered') return { limit: entry };
    const record = await records.load(request.runId);
    if (record !== null && record.state !== 'queued') return { known: true };
    const mine = await line.ofPerson(request);
    const first = await line.first(request);
    if (first !== null) {
      const before = (await redis.zrank(queue.toKey('prioritized'), first)) ?? 0;
      return { place: { ahead: before + (await line.laneLength(request)), behind: first }, mine };
    }
    // BullMQ orders by priority, and by arrival within one: a score is the priority and 32 bits of a counter.
    const last = (await line.nextTag(request)) * 2 ** 32 + 2 ** 32 - 1;
    return { place: { ahead: await redis.zcount(queue.toKey('prioritized'), '-inf', last) }, mine };
  }

  async function enqueue(request: RunRequest): Promise<Queued> {
    const record = fresh(request, options.installation);
    const created = await records.create(record);
    const known = created ? record : await records.load(request.runId);
    if (known?.state !== 'queued') return { queued: false, limit: null };
    const entry = await line.enter(request, limits);
    if (entry === 'total' || entry === 'repository' || entry === 'person') {
      await records.remove(record);
      return { queued: false, limit: entry };
    }
    await handOver(request);
    return { queued: true, place: (await place(request.runId)) ?? { ahead: 0 } };
  }

  async function cancel(runId: RunId, stop: { by: string; keep: boolean }): ReturnType<RunQueue['cancel']> {
    const record = await records.load(runId);
    if (record === null || isFinal(record.state)) return 'unknown';
    await redis.set(stopKey(runId), JSON.stringify(stop), 'EX', STOP_SECONDS);
    if (record.state === 'running') return 'signalled';
    const waiting = (await line.first(record.request)) !== runId;
    // BullMQ removes nothing that a worker has taken; that worker looks at the request to stop before it begins.
    if (!waiting && (await queue.remove(runId)) !== 1) return 'signalled';
    await end(record.request, { state: 'cancelled' });
    return 'removed';
  }

  async function stopOf(runId: RunId): Promise<StopRequest | null> {
    const stored = await redis.get(stopKey(runId));
    return stored === null ? null : readStop(stored).request;
  }

  async function stopBefore(thread: Thread, stop: { by: string; keep: boolean; at: string }): Promise<void> {
    const newer = (await stopSince(thread, stop.at)) !== null;
    if (!newer) await redis.set(threadKey(thread), JSON.stringify(stop), 'EX', STOP_SECONDS);
  }

  async function stopSince(thread: Thread, at: string): Promise<StopRequest | null> {
    const stored = await redis.get(threadKey(thread));
    if (stored === null) return null;
    const stop = readStop(stored);
    return Date.parse(stop.at) > Date.parse(at) ? stop.request : null;
  }

  const stops = { stopOf, stopBefore, stopSince };
  return { options, line, preview, enqueue, place, cancel, ...stops, handOver, end, close: () => queue.close() };
}

function readStop(stored: string): { request: StopRequest; at: string } {
  const stop = JSON.parse(stored) as { by?: unknown; keep?: unknown; at?: unknown };
  return { request: new StopRequest(String(stop.by), stop.keep === true), at: String(stop.at) };
}

function fresh(request: RunRequest, installation: string): RunRecord {
  const updatedAt = new Date().toISOString();
  return { request, installation, step: 'spec', state: 'queued', worker: '', updatedAt };
}
