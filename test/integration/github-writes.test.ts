/** What an installation writes, counted at the stand-in: several workers, one Redis, and hours that pass at once. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GitHubError } from '../../src/github/failure.ts';
import type { GitHub } from '../../src/github/github.ts';
import type { WriteKind } from '../../src/github/writes.ts';
import { createWriteSlots, WRITE_LIMITS } from '../../src/queue/write-slots.ts';
import { secondaryLimit } from '../../src/local/github/faults.ts';
import { stage, type Stage } from '../github/stage.ts';
import { virtualClock, type VirtualClock } from '../github/virtual-clock.ts';
import { startRedisServer, type RedisServer } from '../queue/redis-server.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let redis: RedisServer;
let prefixes = 0;

beforeAll(async () => {
  redis = await startRedisServer();
});
afterAll(() => redis.stop());

interface Storm {
  here: Stage;
  clock: VirtualClock;
  workers: GitHub[];
  /** When each write reached GitHub, in milliseconds. */
  written: number[];
  write: (options: { worker?: number; kind: WriteKind; body: string }) => Promise<'done' | GitHubError>;
  bodies: () => string[];
}

/** Workers, each with a connection to Redis of its own, on an issue. */
async function storm(here: Stage, count = 3, writeGapMs = 1_000): Promise<Storm> {
  const clock = virtualClock();
  const written: number[] = [];
  const prefix = `w${prefixes++}`;
  const issue = await here.shop.openIssue({ title: 'storm' });
  const fetch: typeof globalThis.fetch = (input, init) => {
    if (init?.method !== 'GET' && !new Request(input).url.endsWith('/access_tokens')) written.push(clock.now());
    return clock.during(async () => {
      const response = await globalThis.fetch(input, init);
      return new Response(await response.arrayBuffer(), response);
    });
  };
  const workers: GitHub[] = [];
  for (let at = 0; at < count; at += 1) {
    const counted = createWriteSlots({ redis: await redis.open(), prefix, now: () => clock.now() });
    const slots: typeof counted = (id) => ({
      take: (ask) => clock.during(() => counted(id).take(ask)),
      hold: (ms) => clock.during(() => counted(id).hold(ms)),
    });
    workers.push(here.connect({ clock, slots, fetch, writeGapMs, maxWaitMs: 120_000 }));
  }
  return {
    here,
    clock,
    workers,
    written,
    bodies: () => here.shop.comments(issue.number).map(({ body }) => body),
    async write({ worker = 0, kind, body }) {
      const { id } = here.shop.repository;
      const repository = workers[worker % count]?.repository(
        { installationId: here.installationId, owner: 'octo-owner', name: 'shop', id },
        { writes: kind },
      );
      try {
        await repository?.createComment(issue.number, body);
        return 'done';
      } catch (thrown) {
        if (thrown instanceof GitHubError) return thrown;
        throw thrown;
      }
    },
  };
}

/** The most that lie in any window of this length. */
function most(moments: readonly number[], window: number): number {
  const sorted = [...moments].sort((a, b) => a - b);
  return Math.max(...sorted.map((from, at) => sorted.slice(at).filter((one) => one < from + window).length));
}

describe('the writes of an installation', () => {
  it.each([
    ['a second apart', 1_000, 60],
    ['as fast as they come', 0, WRITE_LIMITS.minute],
  ])('GH-013 of three workers in a storm, %s, keep both limits, and no result is lost', async (_name, gap, minute) => {
    await using here = await stage();
    const { write, written, clock, bodies } = await storm(here, 3, gap);
    const results = Array.from({ length: 600 }, (_, at) => write({ worker: at, kind: 'result', body: `r${at}` }));
    expect(await Promise.all(results)).toEqual(results.map(() => 'done'));
    expect(new Set(bodies()).size).toBe(600);
    expect(written).toHaveLength(600);
    expect(most(written, MINUTE)).toBe(minute);
    expect(most(written, HOUR)).toBe(WRITE_LIMITS.hour);
    // The storm was real: without the count the pace alone would have let it through in three and a half minutes.
    expect(clock.now() - (written[0] ?? 0)).toBeGreaterThan(HOUR);
  });

  it('drops progress first, keeps room for answers, and the last of it for results', async () => {
    await using here = await stage();
    const { write, written, clock } = await storm(here, 1);
    const hour: Record<string, number> = {};
    const refused: GitHubError[] = [];
    for (const kind of ['progress', 'answer', 'publication', 'result'] as const) {
      // Fifteen a minute: only the hour's limit matters.
      const count = kind === 'progress' ? 300 : kind === 'answer' ? 200 : 110;
      for (let at = 0; at < count; at += 1) {
        await clock.sleep(3_000);
        const one = await write({ kind, body: `${kind} ${at}` });
        if (one instanceof GitHubError) refused.push(one);
        else hour[kind] = (hour[kind] ?? 0) + 1;
      }
    }
    expect(hour).toEqual({ progress: 250, answer: 150, publication: 100, result: 110 });
    expect(new Set(refused.map(({ kind }) => kind))).toEqual(new Set(['limited']));
    expect(refused.every(({ retryAfterMs = 0 }) => retryAfterMs > 0)).toBe(true);
    expect(most(written, HOUR)).toBe(WRITE_LIMITS.hour);
    expect(clock.now()).toBeGreaterThan((written[0] ?? 0) + HOUR);
  });

  it('GH-015 wait for as long as GitHub tells one worker to, on all of them', async () => {
    await using here = await stage();
    const { write, written, clock } = await storm(here, 2);
    here.standIn.fault(secondaryLimit('issues/create-comment', 90));
    const told = await write({ worker: 0, kind: 'answer', body: 'a' });
    expect(told).toMatchObject({ kind: 'limited', retryAfterMs: 90_000 });
    const from = clock.now();
    expect(await write({ worker: 1, kind: 'progress', body: 'p' })).toMatchObject({ kind: 'limited' });
    expect(await write({ worker: 1, kind: 'result', body: 'r' })).toBe('done');
    expect((written.at(-1) ?? 0) - from).toBeGreaterThanOrEqual(88_000);
  });

  it('of one installation take nothing from another’s', async () => {
    const slots = createWriteSlots({ redis: await redis.open(), prefix: `w${prefixes++}`, now: () => 1 });
    const all = { share: 1, gapMs: 0, maxWaitMs: 0 };
    for (let at = 0; at < WRITE_LIMITS.minute; at += 1)
      expect(await slots(1).take(all)).toMatchObject({ granted: true });
    expect(await slots(1).take(all)).toEqual({ granted: false, waitMs: MINUTE });
    expect(await slots(2).take(all)).toEqual({ granted: true, waitMs: 0 });
  });

  it('are counted by the clock of Redis, which all workers share', async () => {
    const prefix = `w${prefixes++}`;
    const one = createWriteSlots({ redis: await redis.open(), prefix });
    const other = createWriteSlots({ redis: await redis.open(), prefix });
    const all = { share: 1, gapMs: 0, maxWaitMs: 0 };
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, at) => (at % 2 === 0 ? one : other)(7).take(all)),
    );
    expect(answers.filter((answer) => answer.granted)).toHaveLength(WRITE_LIMITS.minute);
  });

  it('go on at this process’s pace when nobody can count them', async () => {
    await using here = await stage();
    const lost = await startRedisServer();
    const slots = createWriteSlots({ redis: await lost.open(), prefix: 'w' });
    await lost.stop();
    const issue = await here.shop.openIssue({ title: 'x' });
    const at = { installationId: here.installationId, owner: 'octo-owner', name: 'shop' };
    await here.connect({ slots }).repository(at).createComment(issue.number, 'said all the same');
    expect(here.shop.comments(issue.number)).toHaveLength(1);
  });
});
