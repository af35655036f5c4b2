import { DelayedError, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { CofferdamError, mayHelpAgain } from '../domain/errors.ts';
import { RunId } from '../domain/ids.ts';
import { Trigger, type TriggerSink } from '../domain/trigger.ts';
import type { Logger } from '../telemetry/log.ts';
import { within } from './connection.ts';
import { hostQueue } from './hosts.ts';

/** Longer than GitHub keeps deliveries for redelivery. */
const SEEN_SECONDS = 8 * 86_400;
/** The same comment or label is never acted on twice. */
const CLAIM_SECONDS = 90 * 86_400;
const ENQUEUE_TIMEOUT_MS = 4_000;
const ATTEMPTS = 6;
/** A limit of GitHub's is an hour long at most. */
const MAX_WAIT_MS = 3_600_000;
/** Whoever asked longer ago than this does not wait for it any more. */
const MAX_AGE_MS = 6 * 3_600_000;

const Claim = z.object({ deliveryId: z.string(), runIds: z.array(RunId) });
type Claim = z.infer<typeof Claim>;

export interface TriggerQueueOptions {
  redis: Redis;
  /** Prefix of all keys. */
  prefix: string;
  /** Most triggers that may wait; above it the sender is told to come back. */
  bound?: number;
  log: Logger;
}

export interface TriggerQueue extends TriggerSink {
  /**
   * Makes this delivery the one that acts on the trigger's event; the ids of the runs that it may start stay the same when it is
   * handled again after a crash. Null: another delivery of the same event has it.
   */
  claim(trigger: Trigger, runIds: RunId[]): Promise<RunId[] | null>;
  /** Handles triggers one after the other (each is a few calls of GitHub) until closed. A retryable failure is tried again. */
  work(
    handle: (trigger: Trigger) => Promise<void>,
    options?: { concurrency?: number; /** Only what was handed over to this host. */ host?: string },
  ): { close(): Promise<void> };
  close(): Promise<void>;
}

/** The queue between the server, which knows only what was said, and the worker, which may ask GitHub who said it. */
export function createTriggerQueue(options: TriggerQueueOptions): TriggerQueue {
  const { redis, prefix, log } = options;
  const bound = options.bound ?? 10_000;
  const queue = new Queue('triggers', { connection: redis, prefix });
  queue.on('error', (error) => log.warn({ kind: error.name }, 'trigger queue'));
  const seenKey = (deliveryId: string): string => `${prefix}:seen:${deliveryId}`;

  async function add(trigger: Trigger): Promise<'accepted' | 'duplicate' | 'full'> {
    // BullMQ refuses ids that look like numbers.
    const jobId = `d-${trigger.deliveryId}`;
    // In this order: what is handled meanwhile is seen before it leaves the queue.
    const known = (await queue.getJob(jobId)) !== undefined || (await redis.exists(seenKey(trigger.deliveryId))) > 0;
    if (known) return 'duplicate';
    const waiting = await queue.getJobCounts('wait', 'delayed', 'active');
    if (Object.values(waiting).reduce((sum, count) => sum + count, 0) >= bound) return 'full';
    await queue.add('trigger', trigger, {
      jobId,
      attempts: ATTEMPTS,
      backoff: { type: 'exponential', delay: 1_000 },
      removeOnComplete: true,
      removeOnFail: { age: SEEN_SECONDS, count: 1_000 },
    });
    return 'accepted';
  }

  return {
    enqueue: (trigger) => within(add(trigger), ENQUEUE_TIMEOUT_MS),
    async claim(trigger, runIds) {
      const mine: Claim = { deliveryId: trigger.deliveryId, runIds };
      const key = `${prefix}:claim:${trigger.key}`;
      const set = await redis.set(key, JSON.stringify(mine), 'EX', CLAIM_SECONDS, 'NX');
      if (set === 'OK') return runIds;
      const held = Claim.parse(JSON.parse((await redis.get(key)) ?? 'null'));
      return held.deliveryId === trigger.deliveryId ? held.runIds : null;
    },
    work(handle, { concurrency = 4, host } = {}) {
      const worker = new Worker(
        host === undefined ? 'triggers' : hostQueue(host),
        async (job, token) => {
          const trigger = Trigger.parse(job.data);
          try {
            await handle(trigger);
          } catch (error) {
            const retry = !(error instanceof CofferdamError) || mayHelpAgain(error);
            log.warn({ deliveryId: trigger.deliveryId, retry, ...describe(error) }, 'trigger failed');
            const wait = waitOf(error);
            if (wait > 0 && Date.parse(trigger.happenedAt) + MAX_AGE_MS > Date.now()) {
              await job.moveToDelayed(Date.now() + wait, token);
              throw new DelayedError();
            }
            throw retry ? error : new UnrecoverableError('not to be retried');
          }
          await redis.set(seenKey(trigger.deliveryId), '1', 'EX', SEEN_SECONDS);
        },
        { connection: redis, prefix, concurrency, maxStalledCount: ATTEMPTS },
      );
      worker.on('error', (error) => log.warn({ kind: error.name }, 'trigger worker'));
      return { close: () => worker.close() };
    },
    close: () => queue.close(),
  };
}

/** Milliseconds after which GitHub wants to be asked again: that wait costs none of the attempts. */
function waitOf(error: unknown): number {
  const wait = error instanceof CofferdamError && 'retryAfterMs' in error ? error.retryAfterMs : undefined;
  return typeof wait === 'number' && Number.isFinite(wait) ? Math.min(wait, MAX_WAIT_MS) : 0;
}

/** The kind of a failure of GitHub's says whether somebody has to act: a missing permission, an installation that is suspended. */
function describe(error: unknown): { code: string; op: string; kind?: string } {
  if (!(error instanceof CofferdamError)) return { code: 'internal', op: 'queue.triggers' };
  const { code, op } = error;
  return { code, op, ...('kind' in error && typeof error.kind === 'string' ? { kind: error.kind } : {}) };
}
