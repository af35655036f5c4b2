import { Redis } from 'ioredis';
import { CofferdamError } from '../domain/errors.ts';

/** The first with `SET … GET`; servers made from it count on from there. */
const OLDEST = [6, 2] as const;

/**
 * Opens a connection to Redis at a URL (`redis://`, `rediss://`) or the path of its Unix socket (plain or `unix://`).
 * Lost connections are opened again; commands wait for that.
 * Errors: `redis_unavailable` when it does not answer within `timeoutMs`, `config` when it is too old or may forget what it was
 * told: caps of money are kept in it.
 */
export async function openRedis(target: string, options: { timeoutMs?: number } = {}): Promise<Redis> {
  const settings = {
    // BullMQ's workers wait on blocking commands for as long as it takes.
    maxRetriesPerRequest: null,
    retryStrategy: (times: number) => Math.min(times * 100, 2_000),
    lazyConnect: true,
  };
  const path = target.startsWith('unix://')
    ? target.slice('unix://'.length)
    : target.startsWith('/')
      ? target
      : undefined;
  const redis = path === undefined ? new Redis(target, settings) : new Redis({ ...settings, path });
  let last: unknown;
  redis.on('error', (error) => {
    last = error;
  });
  const op = 'queue.openRedis';
  try {
    const sections = Promise.all([redis.info('server'), redis.info('memory')]);
    const problem = problemOf((await within(sections, options.timeoutMs ?? 5_000)).join('\n'));
    if (problem === undefined) return redis;
    throw new CofferdamError('config', op, `Redis at ${shown(target)} ${problem}`);
  } catch (thrown) {
    redis.disconnect();
    if (thrown instanceof CofferdamError && thrown.code === 'config') throw thrown;
    throw new CofferdamError('redis_unavailable', op, `Redis does not answer at ${shown(target)}`, last ?? thrown);
  }
}

/** Why this server will not do, and what helps. `info`: its sections `server` and `memory`, which hosted servers answer, too. */
export function problemOf(info: string): string | undefined {
  const field = (name: string): string | undefined => new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1];
  const version = field('redis_version') ?? OLDEST.join('.');
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    return `has version ${version}: ${OLDEST.join('.')} or newer is needed`;
  const policy = field('maxmemory_policy') ?? 'noeviction';
  if (policy === 'noeviction' || field('maxmemory') === '0') return undefined;
  return `drops keys when its memory is full (maxmemory-policy ${policy}), and with them what runs have spent: set maxmemory-policy to noeviction`;
}

/** The promise, or a rejection with `redis_unavailable` after `ms`. */
export async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new CofferdamError('redis_unavailable', 'queue.within', `no answer from Redis within ${ms} ms`));
    }, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The target without a password. */
function shown(target: string): string {
  return target.replace(/\/\/[^@/]*@/, '//…@');
}
