/**
 * How much one installation writes to GitHub, counted by all workers together.
 *
 * A sorted set holds the moments of the last hour's writes, also those that wait for their turn: whoever asks is given the earliest
 * moment at which a write fits both windows, and never one before a moment that was given already. So nobody is overtaken, no window
 * ever holds more than its limit, and nothing has to be asked for again. A worker that ends before its moment leaves it unused.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { within } from './connection.ts';

/** What GitHub grants an installation. Source: its documentation of secondary limits (content-generating requests). */
export const WRITE_LIMITS = { minute: 80, hour: 500 } as const;

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const TIMEOUT_MS = 5_000;

/** KEYS: moments, hold. ARGV: limit of a minute, of an hour, longest wait, id, now or '', gap. Milliseconds since 1970, in whole numbers. */
const TAKE = `
local now = tonumber(ARGV[5])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ${HOUR_MS})
local function nth(n)
  local one = redis.call('ZRANGE', KEYS[1], -n, -n, 'WITHSCORES')
  return one[2] and tonumber(one[2])
end
local last = nth(1)
local at = math.max(now, last and last + tonumber(ARGV[6]) or 0, tonumber(redis.call('GET', KEYS[2]) or '0'))
local function after(limit, window)
  local oldest = nth(limit)
  if oldest then at = math.max(at, oldest + window) end
end
after(tonumber(ARGV[1]), ${MINUTE_MS})
after(tonumber(ARGV[2]), ${HOUR_MS})
local wait = at - now
if wait > tonumber(ARGV[3]) then return { 0, wait } end
redis.call('ZADD', KEYS[1], at, ARGV[4])
redis.call('PEXPIRE', KEYS[1], wait + ${HOUR_MS})
return { 1, wait }
`;

/** KEYS: hold. ARGV: milliseconds, now or ''. A longer hold stays. */
const HOLD = `
local now = tonumber(ARGV[2])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
local till = now + tonumber(ARGV[1])
if till > tonumber(redis.call('GET', KEYS[1]) or '0') then redis.call('SET', KEYS[1], till, 'PX', ARGV[1]) end
return 1
`;

const Taken = z.tuple([z.union([z.literal(0), z.literal(1)]), z.number()]);

/** The writes of one installation. Errors: `redis_unavailable`. */
export interface WriteSlots {
  /**
   * A moment for one write, within this share (0 to 1) of the limits and `gapMs` after the one before: `granted` in `waitMs` milliseconds. Not granted when that would be
   * longer than `maxWaitMs`: then it may be asked for again after `waitMs`.
   */
  take(ask: { share: number; gapMs: number; maxWaitMs: number }): Promise<{ granted: boolean; waitMs: number }>;
  /** GitHub wants no write of anybody for this long. */
  hold(ms: number): Promise<void>;
}

export interface WriteSlotsOptions {
  redis: Redis;
  /** Prefix of all keys. */
  prefix: string;
  /** Default: the clock of Redis, the same for all workers. */
  now?: () => number;
}

export function createWriteSlots({ redis, prefix, now }: WriteSlotsOptions): (installationId: number) => WriteSlots {
  let count = 0;
  const self = `${process.pid}-${Math.random().toString(36).slice(2)}`;
  const time = (): string => (now === undefined ? '' : String(Math.round(now())));
  return (installationId) => {
    const key = `${prefix}:writes:${installationId}`;
    return {
      async take({ share, gapMs, maxWaitMs }) {
        count += 1;
        const limits = [WRITE_LIMITS.minute, WRITE_LIMITS.hour].map((limit) => Math.max(1, Math.floor(limit * share)));
        const args = [...limits, Math.round(maxWaitMs), `${self}-${count}`, time(), Math.round(gapMs)];
        const answer = await within(redis.eval(TAKE, 2, key, `${key}:hold`, ...args), TIMEOUT_MS);
        const [granted, waitMs] = Taken.parse(answer);
        return { granted: granted === 1, waitMs };
      },
      async hold(ms) {
        if (ms < 1) return;
        await within(redis.eval(HOLD, 1, `${key}:hold`, Math.round(ms), time()), TIMEOUT_MS);
      },
    };
  };
}
