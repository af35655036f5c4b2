import fc from 'fast-check';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { Redis } from 'ioredis';
import type { BookEntry } from '../../src/local/provider/books.ts';
import { startRedisServer } from '../queue/redis-server.ts';
import type { RedisServer } from '../queue/redis-server.ts';
import { play } from './llm-play.ts';
import type { Played } from './llm-play.ts';
import { schedule } from './llm-schedule.ts';
import type { Schedule } from './llm-schedule.ts';
import { employ, workerProcess } from './llm-worker.ts';
import type { Staff } from './llm-worker.ts';
import { openOracle, takeBooks, workerHere } from './llm-world.ts';
import type { Oracle, Scene, Worker } from './llm-world.ts';

/*
 * The cap is a cap: for any interleaving of calls, streams, aborts, provider errors, crashes and restarts, over several
 * workers on one Redis, what the provider really charged stays within every cap, nothing stays reserved, and the books
 * of both sides agree to the micro-dollar.
 */

/** `COFFERDAM_SCHEDULES=10000` is the full run. */
const SCHEDULES = Number(process.env['COFFERDAM_SCHEDULES'] ?? 300);
/** So many of them with workers and gateways in processes of their own, which are killed with SIGKILL. */
const WITH_PROCESSES = Math.max(3, Math.round(SCHEDULES / 100));
/** So many are played side by side: most of their time they wait. */
const LANES = 4;

let server: RedisServer;
let reader: Redis;
let oracle: Oracle;
let directory: string;
let played = 0;
const idle: Staff[] = [];
const employed: Staff[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cflc-'));
  server = await startRedisServer();
  reader = await server.open();
  oracle = await openOracle();
});
afterAll(async () => {
  for (const { child } of employed) child.kill('SIGKILL');
  await oracle.stop();
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

function newScene(): Scene {
  const prefix = `m-${played++}-`;
  return { prefix, oracle, day: 0, providerUp: true, auditFails: false, records: new Map() };
}

/** What happened in all schedules of a test: shows that they were no idle ones. */
interface Tally {
  reserved: number;
  byUsage: number;
  byReservation: number;
  released: number;
  /** Ended by a sweeper or at the end of a gateway. */
  recovered: number;
  /** Requests that the provider saw. */
  requests: number;
  charged: number;
  /** Caps with less left than any call needs. */
  exhausted: number;
}
const newTally = (): Tally => ({
  reserved: 0,
  byUsage: 0,
  byReservation: 0,
  released: 0,
  recovered: 0,
  requests: 0,
  charged: 0,
  exhausted: 0,
});

const Entry = z.object({ s: z.string(), a: z.string(), c: z.string().optional(), r: z.string(), d: z.string() });
interface Ended {
  state: string;
  charged: number;
  /** Names of the three sums that the call counts in. */
  sums: string[];
}

/** The ledger's own entries of all runs, by call. */
async function entriesOf(scene: Scene, runs: Played['runs']): Promise<Map<string, Ended>> {
  const entries = new Map<string, Ended>();
  for (const { id } of runs) {
    for (const [callId, text] of Object.entries(await reader.hgetall(`${scene.prefix}calls:${id}`))) {
      const { s, c = '0', r, d } = Entry.parse(JSON.parse(text));
      const sums = [`run:${id}`, `day:${d}:repository:${r}`, `day:${d}:installation:i`];
      entries.set(callId, { state: s, charged: Number(c), sums });
    }
  }
  return entries;
}

function total(amounts: Iterable<{ amount: number; sums: string[] }>): Map<string, number> {
  const totals = new Map<string, number>();
  for (const { amount, sums } of amounts) for (const key of sums) totals.set(key, (totals.get(key) ?? 0) + amount);
  return totals;
}

/** Line by line: what the provider charged against what the ledger holds for that call. */
function compare(books: BookEntry[], entries: Map<string, Ended>, scene: Scene, swept: boolean): Map<string, number> {
  const byModel = new Map([...scene.records.values()].map((record) => [record.model, record]));
  expect(byModel.size, 'one reservation for each call of the agent').toBe(scene.records.size);
  expect(new Set(books.map(({ model }) => model)).size, 'one request for each call of the agent').toBe(books.length);
  const charges = books.map(({ model, cost }) => {
    const record = byModel.get(model);
    const entry = entries.get(record?.callId ?? '');
    // Recorded and reserved before it was sent, in every case.
    if (record === undefined || entry === undefined) throw new Error(`${model} was never reserved`);
    expect(cost, model).toBeLessThanOrEqual(entry.charged);
    if (record.settled?.outcome === 'usage') {
      expect(record.settled.cost, model).toBe(cost);
      if (!swept) expect(entry.charged, model).toBe(cost);
    }
    return { amount: cost, sums: entry.sums };
  });
  return total(charges);
}

async function balance(
  { caps }: Schedule,
  { scene, played: { runs, swept }, tally }: { scene: Scene; played: Played; tally: Tally },
): Promise<void> {
  const books = await takeBooks(oracle, scene.prefix);
  const entries = await entriesOf(scene, runs);
  expect([...entries.values()].filter(({ state }) => state !== 'e')).toEqual([]);
  const real = compare(books, entries, scene, swept.size > 0);
  const counted = total([...entries.values()].map(({ charged, sums }) => ({ amount: charged, sums })));
  for (const [key, amount] of counted) {
    const [spent, reserved] = await reader.hmget(scene.prefix + key, 'spent', 'reserved');
    expect([key, Number(spent), Number(reserved)]).toEqual([key, amount, 0]);
    const cap = key.startsWith('run:') ? caps.run : key.includes(':repository:') ? caps.repository : caps.installation;
    expect(amount, key).toBeLessThanOrEqual(cap);
    expect(real.get(key) ?? 0, key).toBeLessThanOrEqual(cap);
    if (cap - amount < 200) tally.exhausted += 1;
  }
  for (const { settled } of scene.records.values()) {
    if (settled === undefined) tally.recovered += 1;
    else if (settled.outcome === 'usage') tally.byUsage += 1;
    else tally[settled.outcome === 'reserved' ? 'byReservation' : 'released'] += 1;
  }
  tally.reserved += scene.records.size;
  tally.requests += books.length;
  tally.charged += books.reduce((sum, { cost }) => sum + cost, 0);
  const keys = await reader.keys(`${scene.prefix}*`);
  if (keys.length > 0) await reader.del(...keys);
}

/** Of the rarest of what has to happen there are a few in 300 schedules, and by chance none: then more are played, up to as many again. */
const AGAIN = 10;

/** Plays random schedules, `lanes` side by side, and checks the books after each; then more, while one of `wanted` has not happened. */
async function playAll(
  { schedules, lanes, wanted }: { schedules: number; lanes: number; wanted: readonly (keyof Tally)[] },
  hireFor: (scene: Scene) => () => Promise<Worker>,
): Promise<Tally> {
  const tally = newTally();
  const several = fc.array(schedule, { minLength: lanes, maxLength: lanes });
  const one = async (chosen: Schedule): Promise<void> => {
    const scene = newScene();
    await balance(chosen, { scene, played: await play(chosen, { scene, hire: hireFor(scene) }), tally });
  };
  const property = fc.asyncProperty(several, async (all) => void (await Promise.all(all.map(one))));
  const rounds = Math.ceil(schedules / lanes);
  await fc.assert(property, { numRuns: rounds, endOnFailure: true });
  const isIdle = (): boolean => wanted.some((what) => tally[what] === 0);
  for (let again = 0; again < AGAIN && isIdle(); again += 1)
    await fc.assert(property, { numRuns: Math.ceil(rounds / AGAIN), endOnFailure: true });
  process.stdout.write(`${schedules} schedules: ${JSON.stringify(tally)}\n`);
  for (const what of wanted) expect(tally[what], what).toBeGreaterThan(0);
  return tally;
}

test(
  `LLM-001 LLM-002 LLM-023 LLM-024 in ${SCHEDULES} random schedules over three workers no cap is exceeded`,
  { timeout: 7_200_000 },
  async () => {
    const wanted = Object.keys(newTally()) as (keyof Tally)[];
    const hireFor = (scene: Scene) => async () => workerHere(await server.open(), scene);
    await playAll({ schedules: SCHEDULES, lanes: LANES, wanted }, hireFor);
  },
);

test(
  `LLM-001 LLM-002 LLM-024 nor in ${WITH_PROCESSES} with workers and gateways as processes that are killed`,
  { timeout: 7_200_000 },
  async () => {
    const wanted = ['requests', 'byUsage'] as const;
    await playAll({ schedules: WITH_PROCESSES, lanes: 1, wanted }, (scene) => async () => {
      const staff = idle.pop() ?? (await employ({ redis: server.socket, directory, providerUrl: oracle.provider.url }));
      if (!employed.includes(staff)) employed.push(staff);
      return workerProcess({ staff, scene, directory, back: (free) => idle.push(free) });
    });
  },
);
