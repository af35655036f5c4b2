import type { Redis, Result } from 'ioredis';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import { accountKeys, checkAmount, checkReserve } from '../run/ledger.ts';
import type { Ledger, LedgerAccount, ReserveRequest } from '../run/ledger.ts';
import { within } from './connection.ts';

/*
 * The ledger that all workers of an installation share. Each operation is one Lua script, so that it is atomic, on one
 * Redis (scripts name keys that they read out of entries, which a Redis cluster would not allow).
 *
 * Layout below the prefix: a hash {spent, reserved} for each sum, and for each run a hash `calls:<run>` with one entry
 * per call: state (`o` open, `e` ended), amount held, amount charged at its end, repository, installation, day.
 */

/** Sums of a day are read for a few days, those of a run as long as somebody may ask about it. */
const DAY_TTL_SECONDS = 8 * 86_400;
const RUN_TTL_SECONDS = 60 * 86_400;

const COMMON = `
local function num(value) return tonumber(value or '0') end
local function int(value) return string.format('%.0f', value) end
local function keys(prefix, run, e)
  return { prefix .. 'run:' .. run,
    prefix .. 'day:' .. e.d .. ':repository:' .. e.r,
    prefix .. 'day:' .. e.d .. ':installation:' .. e.i }
end
local function finish(prefix, run, id, e, actual)
  for n, key in ipairs(keys(prefix, run, e)) do
    redis.call('HINCRBY', key, 'reserved', int(0 - num(e.a)))
    redis.call('HINCRBY', key, 'spent', int(actual))
    redis.call('EXPIRE', key, n == 1 and ${RUN_TTL_SECONDS} or ${DAY_TTL_SECONDS})
  end
  e.s, e.c = 'e', int(actual)
  redis.call('HSET', prefix .. 'calls:' .. run, id, cjson.encode(e))
end
`;

/** KEYS: calls. ARGV: prefix, run, call, entry, atLeast, caps of run, repository, installation. */
const RESERVE = `${COMMON}
local prefix, run, id = ARGV[1], ARGV[2], ARGV[3]
local known = redis.call('HGET', KEYS[1], id)
local e = cjson.decode(known or ARGV[4])
local names = { 'run', 'repository', 'installation' }
local tightest, left, unspent, ofRun
for n, key in ipairs(keys(prefix, run, e)) do
  local sums = redis.call('HMGET', key, 'spent', 'reserved')
  local open = math.max(0, num(ARGV[5 + n]) - num(sums[1]))
  local rest = math.max(0, open - num(sums[2]))
  if left == nil or rest < left then tightest, left = names[n], rest end
  if unspent == nil or open < unspent then unspent = open end
  if n == 1 then ofRun = num(sums[1]) end
end
if known then return { 1, known, int(ofRun), int(unspent) } end
local amount = num(e.a)
local needed = math.min(num(ARGV[5]), amount)
if needed > left then return { 0, tightest, int(left), needed <= unspent and 1 or 0 } end
local granted = math.min(amount, math.max(needed, math.floor(left / 2)))
e.a = int(granted)
for n, key in ipairs(keys(prefix, run, e)) do
  redis.call('HINCRBY', key, 'reserved', int(granted))
  redis.call('EXPIRE', key, n == 1 and ${RUN_TTL_SECONDS} or ${DAY_TTL_SECONDS})
end
local entry = cjson.encode(e)
redis.call('HSET', KEYS[1], id, entry)
redis.call('EXPIRE', KEYS[1], ${RUN_TTL_SECONDS})
return { 1, entry, int(ofRun), int(unspent) }
`;

/** KEYS: calls. ARGV: prefix, run, call, actual. */
const END = `${COMMON}
local known = redis.call('HGET', KEYS[1], ARGV[3])
if not known then return 0 end
local e = cjson.decode(known)
if e.s ~= 'o' then return 0 end
finish(ARGV[1], ARGV[2], ARGV[3], e, num(ARGV[4]))
return 1
`;

/** KEYS: calls. ARGV: prefix, run. */
const RECOVER = `${COMMON}
local entries = redis.call('HGETALL', KEYS[1])
local calls, amount = 0, 0
for n = 1, #entries, 2 do
  local e = cjson.decode(entries[n + 1])
  if e.s == 'o' then
    finish(ARGV[1], ARGV[2], entries[n], e, num(e.a))
    calls = calls + 1
    amount = amount + num(e.a)
  end
end
return { calls, int(amount) }
`;

/** An entry as the scripts keep it. The amount is text, because Lua's JSON keeps 14 digits of a number. */
const Entry = z.object({ s: z.enum(['o', 'e']), a: z.string(), r: z.string(), i: z.string(), d: z.string() });
const Reserved = z.union([
  z.tuple([z.literal(1), z.string(), z.string(), z.string()]),
  z.tuple([
    z.literal(0),
    z.enum(['run', 'repository', 'installation']),
    z.string(),
    z.union([z.literal(0), z.literal(1)]),
  ]),
]);

export interface RedisLedgerOptions {
  redis: Redis;
  /** First part of every key; installations that share a Redis differ in it. */
  prefix?: string;
  /** How long one operation may take before it counts as failed. */
  timeoutMs?: number;
}

declare module 'ioredis' {
  // The library's own interface, which is declared with this parameter.
  interface RedisCommander<Context> {
    ledgerReserve(...args: string[]): Result<unknown, Context>;
    ledgerEnd(...args: string[]): Result<unknown, Context>;
    ledgerRecover(...args: string[]): Result<unknown, Context>;
  }
}

/** A ledger in Redis. Errors of every method: `redis_unavailable`. */
export function createRedisLedger({
  redis,
  prefix = 'cofferdam:ledger:',
  timeoutMs = 5_000,
}: RedisLedgerOptions): Ledger {
  // Known to Redis by their hash after the first time: the text is not sent and read again with each call.
  redis.defineCommand('ledgerReserve', { numberOfKeys: 1, lua: RESERVE });
  redis.defineCommand('ledgerEnd', { numberOfKeys: 1, lua: END });
  redis.defineCommand('ledgerRecover', { numberOfKeys: 1, lua: RECOVER });
  const callsKey = (runId: string): string => `${prefix}calls:${runId}`;
  const run = <T>(op: string, work: () => Promise<T>): Promise<T> => guarded({ op, work, timeoutMs });
  const end = async (
    op: string,
    { runId, callId }: { runId: string; callId: string },
    actual: number,
  ): Promise<void> => {
    checkAmount(actual, op);
    await run(op, () => redis.ledgerEnd(callsKey(runId), prefix, runId, callId, String(actual)));
  };

  return {
    reserve: async (request) => {
      checkReserve(request);
      const { runId, callId, caps, amount, atLeast = amount } = request;
      const limits = [caps.run, caps.repository, caps.installation].map(String);
      const args = [prefix, runId, callId, newEntry(request), String(atLeast), ...limits];
      const answer = await run('queue.ledger.reserve', () => redis.ledgerReserve(callsKey(runId), ...args));
      const reserved = Reserved.parse(answer);
      if (reserved[0] === 0) {
        return { ok: false, cap: reserved[1], left: Number(reserved[2]), held: reserved[3] === 1 };
      }
      const { a, r, i, d } = Entry.parse(JSON.parse(reserved[1]));
      const reservation = { runId, callId, repoKey: r, installationKey: i, day: d, amount: Number(a) };
      return { ok: true, reservation, spent: Number(reserved[2]), left: Number(reserved[3]) };
    },
    settle: (reservation, actual) => end('queue.ledger.settle', reservation, actual),
    release: (call) => end('queue.ledger.release', call, 0),
    spent: async (account) => {
      const keys = accountKeys(account);
      const standing = async (key: string): Promise<{ spent: number; reserved: number }> => {
        const [spent, reserved] = await redis.hmget(prefix + key, 'spent', 'reserved');
        return { spent: Number(spent ?? 0), reserved: Number(reserved ?? 0) };
      };
      const [ofRun, repository, installation] = await run('queue.ledger.spent', () =>
        Promise.all([standing(keys.run), standing(keys.repository), standing(keys.installation)]),
      );
      return { run: ofRun, repository, installation };
    },
    recover: async (runId) => {
      const answer = await run('queue.ledger.recover', () => redis.ledgerRecover(callsKey(runId), prefix, runId));
      const [calls, amount] = z.tuple([z.number(), z.string()]).parse(answer);
      return { calls, amount: Number(amount) };
    },
  };
}

function newEntry({ amount, repoKey, installationKey, day }: ReserveRequest & LedgerAccount): string {
  return JSON.stringify({ s: 'o', a: String(amount), r: repoKey, i: installationKey, d: day });
}

/** A client that waits for its Redis to come back would hold a model call for ever. */
async function guarded<T>({
  op,
  work,
  timeoutMs,
}: {
  op: string;
  work: () => Promise<T>;
  timeoutMs: number;
}): Promise<T> {
  try {
    return await within(work(), timeoutMs);
  } catch (error) {
    throw new CofferdamError('redis_unavailable', op, 'the ledger in Redis did not answer', error);
  }
}
