/**
 * Triggers for one host: what lies on a worker's disk (a held result) is acted on where it lies. Each host has a queue of its own, and
 * its workers give signs of life, so that whoever asks is told within seconds when nobody is there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Trigger } from '../domain/trigger.ts';
import type { Logger } from '../telemetry/log.ts';

const BEAT_MS = 5_000;
/** How long a sign of life is believed. */
const BELIEVED_MS = 15_000;
const POLL_MS = 200;
const ATTEMPTS = 6;

export interface HostsOptions {
  redis: Redis;
  prefix: string;
  log: Logger;
}

export interface Hosts {
  /** Gives signs of life for a worker of this host until disposed of. */
  present(host: string, worker: string): Promise<AsyncDisposable>;
  /**
   * Resolves when a worker of that host has taken the trigger, or when none is there: then it is not left behind. `key` tells apart what
   * one delivery hands over.
   */
  handOver(trigger: Trigger, to: { host: string; key: string }): Promise<'taken' | 'gone'>;
  close(): Promise<void>;
}

/** The name of the queue of a host's own triggers. */
export function hostQueue(host: string): string {
  return `triggers-${host}`;
}

export function createHosts(options: HostsOptions): Hosts {
  const { redis, prefix, log } = options;
  const queues = new Map<string, Queue>();
  const lifeKey = (host: string): string => `${prefix}:host:${host}`;

  function queueOf(host: string): Queue {
    const known = queues.get(host);
    if (known !== undefined) return known;
    const queue = new Queue(hostQueue(host), { connection: redis, prefix });
    queue.on('error', (error) => log.warn({ kind: error.name }, 'host queue'));
    queues.set(host, queue);
    return queue;
  }

  async function alive(host: string): Promise<boolean> {
    return (await redis.zcount(lifeKey(host), Date.now() - BELIEVED_MS, '+inf')) > 0;
  }

  return {
    async present(host, worker) {
      const beat = async (): Promise<void> => {
        await redis.zremrangebyscore(lifeKey(host), '-inf', Date.now() - 10 * BELIEVED_MS);
        await redis.zadd(lifeKey(host), Date.now(), worker);
      };
      await beat();
      const timer = setInterval(() => {
        beat().catch((thrown: unknown) => {
          log.warn({ kind: thrown instanceof Error ? thrown.name : 'unknown' }, 'no sign of life');
        });
      }, BEAT_MS);
      return {
        async [Symbol.asyncDispose]() {
          clearInterval(timer);
          await redis.zrem(lifeKey(host), worker);
        },
      };
    },
    async handOver(trigger, { host, key }) {
      const queue = queueOf(host);
      // BullMQ takes no colon in an id.
      const jobId = `h-${trigger.deliveryId}-${key}`.replaceAll(':', '-');
      await queue.add('trigger', trigger, {
        jobId,
        attempts: ATTEMPTS,
        backoff: { type: 'exponential', delay: 1_000 },
        removeOnComplete: true,
        removeOnFail: true,
      });
      for (;;) {
        const state = await queue.getJobState(jobId);
        if (state !== 'waiting' && state !== 'prioritized') return 'taken';
        // Removed only when nobody has taken it in the meantime.
        if (!(await alive(host)) && (await queue.remove(jobId)) === 1) return 'gone';
        await sleep(POLL_MS);
      }
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
    },
  };
}
