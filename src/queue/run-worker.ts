import { DelayedError, Worker, type Job } from 'bullmq';
import { CofferdamError } from '../domain/errors.ts';
import type { RunId } from '../domain/ids.ts';
import type { RunRequest } from '../domain/run.ts';
import type { FinalState } from '../domain/final-state.ts';
import type { RunRecord } from '../run/ports.ts';
import { isFinal } from './records.ts';
import { StopRequest, type RunEnd, type RunQueue } from './runs.ts';

export interface RunWorkerOptions {
  queue: RunQueue;
  /** This process; another name after each start, so that a restarted worker does not look like the one before it. */
  worker: string;
  concurrency: number;
  /** Does the run. Its failures are states; a rejection is recorded as `failed`. */
  execute: (request: RunRequest, control: { signal: AbortSignal; record: RunRecord }) => Promise<RunEnd>;
  /** Ends a run whose worker is gone, or that was stopped before it began, where people wait for it. May be called again. */
  finalise: (record: RunRecord, why: 'worker_lost' | 'cancelled') => Promise<FinalState>;
  /** Says of a worker of this machine that it is certainly gone, before its signs of life run out. */
  gone?: (worker: string) => boolean;
  /** Signs of life are written at this interval and believed three times as long. */
  heartbeatMs?: number;
  /** How often requests to stop are looked for. */
  stopPollMs?: number;
  /** How often runs of dead workers are looked for. */
  sweepMs?: number;
}

export interface RunWorker {
  /** One look at every open run; how many were ended for a dead worker. */
  sweep(): Promise<number>;
  /** Takes no more runs and waits for those that are running; with `stop`, tells them to deliver what they have. */
  close(options?: { stop?: boolean }): Promise<void>;
}

const HEARTBEAT_MS = 10_000;
const RETRY_MS = 5_000;
/** A worker that dies while it ends another one's run is followed by the next one after this time. */
const SWEEP_LOCK_SECONDS = 600;

type Why = 'worker_lost' | 'cancelled';

/** What the functions below share. */
interface Shift {
  options: RunWorkerOptions;
  active: Map<RunId, AbortController>;
  /** No run is begun any more. */
  closing: boolean;
  /** Monotonic milliseconds: the last own sign of life, and from when on those of others are missed. */
  beaten: number;
  judgesFrom: number;
}

/** Takes runs from the queue, keeps the signs of life that a sweep relies on, and sweeps. */
export async function startRunWorker(options: RunWorkerOptions): Promise<RunWorker> {
  const { redis, prefix, log } = options.queue.options;
  const shift: Shift = { options, active: new Map(), closing: false, beaten: performance.now(), judgesFrom: 0 };
  await beat(shift);
  const worker = new Worker<{ runId: RunId }>('runs', (job, token) => take(shift, job, token), {
    connection: redis,
    prefix,
    concurrency: options.concurrency,
    // A run is begun once: what is delivered again is looked at and ended, never started over.
    maxStalledCount: 1_000,
  });
  worker.on('error', (error) => log.warn({ kind: error.name }, 'run worker'));
  const timers = [
    every(shift, 'heartbeat', options.heartbeatMs ?? HEARTBEAT_MS, beat),
    every(shift, 'stops', options.stopPollMs ?? 1_000, pollStops),
    every(shift, 'sweep', options.sweepMs ?? 15_000, sweep),
  ];
  return {
    sweep: () => sweep(shift),
    async close({ stop = false } = {}) {
      shift.closing = true;
      const request = new StopRequest('the end of its worker', true, true);
      if (stop) for (const controller of shift.active.values()) controller.abort(request);
      await worker.close();
      for (const timer of timers) clearInterval(timer);
      await redis.del(aliveKey(shift, options.worker));
    },
  };
}

function every(shift: Shift, name: string, ms: number, task: (shift: Shift) => Promise<unknown>): NodeJS.Timeout {
  return setInterval(() => {
    task(shift).catch((thrown: unknown) => {
      const kind = thrown instanceof Error ? thrown.name : 'unknown';
      shift.options.queue.options.log.warn({ task: name, kind }, 'queue task failed');
    });
  }, ms).unref();
}

function aliveKey(shift: Shift, worker: string): string {
  return `${shift.options.queue.options.prefix}:alive:${worker}`;
}

async function beat(shift: Shift): Promise<void> {
  const { queue, worker, heartbeatMs = HEARTBEAT_MS } = shift.options;
  const { redis, prefix } = queue.options;
  const before = await redis.set(aliveKey(shift, worker), '1', 'PX', heartbeatMs * 3, 'GET');
  const now = performance.now();
  // Redis was away, or this process: the others may not have been heard either.
  if (now - shift.beaten > heartbeatMs * 2) shift.judgesFrom = now + heartbeatMs * 3;
  shift.beaten = now;
  if (before !== null) return;
  // This one was not heard: what another worker ends, or has ended, is not gone on with.
  for (const [runId, controller] of shift.active) {
    const record = await queue.options.records.load(runId);
    const taken = record === null || isFinal(record.state) || (await redis.exists(sweepingKey(prefix, runId))) > 0;
    if (taken) controller.abort(new StopRequest('another worker', false));
  }
}

/** Is somebody still doing this run? */
async function attended(shift: Shift, record: RunRecord): Promise<boolean> {
  const { worker, gone, queue, heartbeatMs = HEARTBEAT_MS } = shift.options;
  if (record.worker === worker) return shift.active.has(record.request.runId);
  if (gone?.(record.worker) === true) return false;
  const now = performance.now();
  if (now - shift.beaten > heartbeatMs * 2 || now < shift.judgesFrom) return true;
  return (await queue.options.redis.exists(aliveKey(shift, record.worker))) > 0;
}

/** One job of BullMQ: a run to begin, or one to end for somebody else. */
async function take(shift: Shift, job: Job<{ runId: RunId }>, token?: string): Promise<void> {
  const { queue } = shift.options;
  const record = await queue.options.records.load(job.data.runId);
  if (record === null) return;
  const { request } = record;
  if (isFinal(record.state)) {
    await queue.end(request, { state: record.state });
  } else if (record.state === 'running') {
    if (await attended(shift, record)) {
      await job.moveToDelayed(Date.now() + RETRY_MS, token);
      throw new DelayedError();
    }
    await finaliseOnce(shift, record, 'worker_lost');
  } else if ((await queue.stopOf(request.runId)) !== null) {
    await finaliseOnce(shift, record, 'cancelled');
  } else if (shift.closing) {
    // Nobody would tell it to stop: it is another worker's, or this one's when it starts again.
    await job.moveToDelayed(Date.now(), token);
    throw new DelayedError();
  } else {
    await run(shift, request);
  }
}

async function run(shift: Shift, request: RunRequest): Promise<void> {
  const { queue, worker, execute } = shift.options;
  const controller = new AbortController();
  shift.active.set(request.runId, controller);
  try {
    const record = await queue.options.records.update(request.runId, { state: 'running', worker });
    // Stopped at this moment by somebody who was told that it does not begin.
    if (record === null || isFinal(record.state)) return;
    await queue.line.started(request.runId);
    await queue.end(request, await execute(request, { signal: controller.signal, record }));
  } catch (thrown) {
    queue.options.log.error({ runId: request.runId, code: codeOf(thrown) }, 'run failed outside its own story');
    await queue.end(request, { state: 'failed' });
  } finally {
    shift.active.delete(request.runId);
  }
}

async function pollStops(shift: Shift): Promise<void> {
  for (const [runId, controller] of shift.active) {
    const stop = controller.signal.aborted ? null : await shift.options.queue.stopOf(runId);
    if (stop !== null) controller.abort(stop);
  }
}

/** Runs of dead workers are ended; those that fell between two steps of the queue are handed over again. */
async function sweep(shift: Shift): Promise<number> {
  const { queue } = shift.options;
  let ended = 0;
  for (const runId of await queue.line.open()) {
    const record = await queue.options.records.load(runId);
    if (record === null) await queue.line.forget(runId);
    else if (isFinal(record.state)) await queue.end(record.request, { state: record.state });
    else if (record.state === 'queued') await queue.handOver(record.request);
    else if (!(await attended(shift, record))) ended += (await finaliseOnce(shift, record, 'worker_lost')) ? 1 : 0;
  }
  return ended;
}

/** Ends a run for the people who wait for it, by one worker at a time; a failure is tried again by the next sweep. */
async function finaliseOnce(shift: Shift, record: RunRecord, why: Why): Promise<boolean> {
  const { queue, worker, finalise } = shift.options;
  const { redis, prefix, log } = queue.options;
  const key = sweepingKey(prefix, record.request.runId);
  if ((await redis.set(key, worker, 'EX', SWEEP_LOCK_SECONDS, 'NX')) !== 'OK') return false;
  try {
    const current = await queue.options.records.load(record.request.runId);
    if (current === null || isFinal(current.state)) return false;
    if (why === 'worker_lost' && (await attended(shift, current))) return false;
    await queue.end(record.request, { state: await finalise(current, why) });
    return true;
  } catch (thrown) {
    log.warn({ runId: record.request.runId, code: codeOf(thrown) }, 'run could not be ended yet');
    return false;
  } finally {
    await redis.del(key);
  }
}

/** Held by the worker that ends the run for another one. */
function sweepingKey(prefix: string, runId: RunId): string {
  return `${prefix}:sweeping:${runId}`;
}

function codeOf(thrown: unknown): string {
  return thrown instanceof CofferdamError ? thrown.code : 'internal';
}
