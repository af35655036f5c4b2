import { fork } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunId } from '../../src/domain/ids.ts';
import type { RunRequest } from '../../src/domain/run.ts';
import { createRunRecords } from '../../src/queue/records.ts';
import { startRunWorker, type RunWorker, type RunWorkerOptions } from '../../src/queue/run-worker.ts';
import { createRunQueue, StopRequest, type RunQueue } from '../../src/queue/runs.ts';
import type { RunRecord } from '../../src/run/ports.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { eventually, startRedisServer, type RedisServer } from '../queue/redis-server.ts';
import { request } from '../queue/requests.ts';

let server: RedisServer;
let prefixes = 0;
const workers: RunWorker[] = [];
const queues: RunQueue[] = [];

beforeAll(async () => {
  server = await startRedisServer();
});
afterAll(async () => {
  for (const worker of workers) await worker.close({ stop: true });
  for (const queue of queues) await queue.close();
  await server.stop();
});

async function open(prefix = `r${prefixes++}`, limits = {}): Promise<RunQueue> {
  const redis = await server.open();
  const records = createRunRecords({ redis, prefix });
  const queue = createRunQueue({
    redis,
    prefix,
    records,
    installation: 'i',
    limits,
    log: createLogger({ level: 'silent' }),
  });
  queues.push(queue);
  return queue;
}

async function start(queue: RunQueue, patch: Partial<RunWorkerOptions> = {}): Promise<RunWorker> {
  const worker = await startRunWorker({
    queue,
    worker: `w${workers.length}`,
    concurrency: 1,
    execute: () => Promise.resolve({ state: 'succeeded' }),
    finalise: () => Promise.resolve('failed'),
    stopPollMs: 50,
    ...patch,
  });
  workers.push(worker);
  return worker;
}

/** Runs that go on until the test ends them. */
function manual(): {
  execute: RunWorkerOptions['execute'];
  begun: RunId[];
  end(runId: RunId | undefined): void;
  most: number;
} {
  const open_ = new Map<string, () => void>();
  const state = {
    begun: [] as RunId[],
    most: 0,
    end: (runId: RunId | undefined) => open_.get(runId ?? '')?.(),
    execute: (one: RunRequest, { signal }: { signal: AbortSignal }) =>
      new Promise<{ state: 'succeeded' | 'cancelled' }>((resolve) => {
        state.begun.push(one.runId);
        const done = (result: 'succeeded' | 'cancelled') => {
          open_.delete(one.runId);
          resolve({ state: result });
        };
        open_.set(one.runId, () => done('succeeded'));
        signal.addEventListener('abort', () => done('cancelled'));
        state.most = Math.max(state.most, open_.size);
      }),
  };
  return state;
}

async function stateOf(queue: RunQueue, runId: RunId): Promise<RunRecord['state'] | undefined> {
  return (await queue.options.records.load(runId))?.state;
}

describe('the run queue', () => {
  it('does a run and keeps how it ended', async () => {
    const queue = await open();
    await start(queue, {
      execute: () => Promise.resolve({ state: 'unverified', branch: 'b', pull: { number: 3, url: 'u' } }),
    });
    const one = request();
    expect(await queue.enqueue(one)).toEqual({ queued: true, place: { ahead: 0 } });
    await eventually(async () => (await stateOf(queue, one.runId)) === 'unverified', 'the run is over');
    expect(await queue.options.records.load(one.runId)).toMatchObject({
      branch: 'b',
      pull: { number: 3 },
      request: one,
    });
    expect(await queue.options.records.ofThread({ owner: 'Octo', name: 'REPO', number: 1 })).toHaveLength(1);
  });

  it('enqueues a run once', async () => {
    const queue = await open();
    const runs = manual();
    await start(queue, { execute: runs.execute });
    const one = request();
    await queue.enqueue(one);
    await eventually(() => runs.begun.length === 1, 'it begins');
    expect(await queue.enqueue(one)).toEqual({ queued: false, limit: null });
    runs.end(one.runId);
    await eventually(async () => (await stateOf(queue, one.runId)) === 'succeeded', 'it ends');
    expect(await queue.enqueue(one)).toEqual({ queued: false, limit: null });
    expect(runs.begun).toEqual([one.runId]);
  });

  it('does one run at a time on a thread or branch, in their order, and others beside it', async () => {
    const queue = await open();
    const runs = manual();
    await start(queue, { execute: runs.execute, concurrency: 4 });
    const [a1, a2, a3] = [request({ number: 1 }), request({ number: 1 }), request({ number: 1 })];
    const [b1, b2] = [request({ number: 7, branch: 'x' }), request({ number: 8, branch: 'x' })];
    for (const one of [a1, a2, a3, b1, b2]) await queue.enqueue(one);
    await eventually(() => runs.begun.length === 2, 'two lanes begin');
    expect(await queue.place(a3.runId)).toEqual({ ahead: 2, behind: a1.runId });
    expect(new Set(runs.begun)).toEqual(new Set([a1.runId, b1.runId]));
    runs.end(a1.runId);
    await eventually(() => runs.begun.length === 3, 'the next of the thread');
    expect(runs.begun[2]).toBe(a2.runId);
    runs.end(b1.runId);
    await eventually(() => runs.begun.includes(b2.runId), 'the next of the branch');
    runs.end(a2.runId);
    await eventually(() => runs.begun.includes(a3.runId), 'the last of the thread');
  });

  it('RES-013 is fair: a storm in one repository does not keep the others waiting', async () => {
    const queue = await open();
    const begun: string[] = [];
    const storm = Array.from({ length: 30 }, (_, n) => request({ repo: 'big/storm', number: n + 1, actorId: n }));
    for (const one of storm) await queue.enqueue(one);
    const others = [1, 2, 3].map((number) => request({ repo: 'small/quiet', number }));
    expect(await queue.preview(others[0] as RunRequest)).toMatchObject({ place: { ahead: 1 } });
    for (const one of others) await queue.enqueue(one);
    expect(await queue.preview(others[0] as RunRequest)).toEqual({ known: true });
    expect(await queue.place(others[0]?.runId as RunId)).toEqual({ ahead: 1 });
    await start(queue, {
      execute: (one) => (begun.push(one.repo.name), Promise.resolve({ state: 'succeeded' })),
    });
    await eventually(() => begun.length === 33, 'all are done');
    expect(begun.slice(0, 6)).toEqual(['storm', 'quiet', 'storm', 'quiet', 'storm', 'quiet']);
  });

  it('GH-013 takes people of one repository in turn, whoever came first', async () => {
    const queue = await open();
    const by = (id: number, number: number) => {
      const one = request();
      return { ...one, source: { ...one.source, number }, actor: { ...one.actor, id, login: `p${id}` } };
    };
    const storm = Array.from({ length: 10 }, (_, at) => by(1, 100 + at));
    for (const one of storm) expect(await queue.enqueue(one)).toMatchObject({ queued: true });
    const others = [by(2, 200), by(2, 201)];
    for (const one of others) expect(await queue.enqueue(one)).toMatchObject({ queued: true });
    const runs = manual();
    const { begun } = runs;
    await start(queue, { execute: runs.execute });
    for (let at = 0; at < 12; at += 1) {
      await eventually(() => begun.length === at + 1, `run ${at} begins`);
      runs.end(begun[at]);
    }
    const places = others.map(({ runId }) => begun.indexOf(runId));
    expect(places[0]).toBeLessThanOrEqual(2);
    expect(places[1]).toBeLessThanOrEqual(5);
    expect(begun).toHaveLength(12);
  });

  it('GH-013 RES-013 is bounded: in all, per repository, per person', async () => {
    const queue = await open(undefined, { total: 6, perRepository: 4, perPerson: 2 });
    const ask = async (repo: string, actorId: number, number: number) => {
      const one = request({ repo, actorId, number });
      const preview = await queue.preview(one);
      const queued = await queue.enqueue(one);
      expect('limit' in preview ? preview.limit : null).toBe(queued.queued ? null : queued.limit);
      return queued.queued ? 'queued' : queued.limit;
    };
    expect(await ask('a/a', 1, 1)).toBe('queued');
    expect(await ask('a/a', 1, 2)).toBe('queued');
    expect(await ask('a/a', 1, 3)).toBe('person');
    expect(await ask('a/a', 2, 3)).toBe('queued');
    expect(await ask('a/a', 3, 4)).toBe('queued');
    expect(await ask('a/a', 4, 5)).toBe('repository');
    expect(await ask('b/b', 1, 1)).toBe('queued');
    expect(await ask('b/b', 1, 2)).toBe('queued');
    expect(await ask('c/c', 9, 1)).toBe('total');
  });

  it('stops a waiting run, one behind another, and a running one', async () => {
    const queue = await open();
    const runs = manual();
    const reasons: unknown[] = [];
    await start(queue, {
      execute: (one, control) => {
        control.signal.addEventListener('abort', () => reasons.push(control.signal.reason));
        return runs.execute(one, control);
      },
    });
    const [running, behind, waiting, last] = [request(), request(), request({ number: 2 }), request({ number: 3 })];
    await queue.enqueue(running);
    await eventually(() => runs.begun.length === 1, 'the first begins');
    for (const one of [behind, waiting, last]) await queue.enqueue(one);
    const stop = { by: 'ann', keep: true };
    expect(await queue.cancel(behind.runId, stop)).toBe('removed');
    expect(await queue.cancel(waiting.runId, stop)).toBe('removed');
    expect(await queue.cancel(running.runId, stop)).toBe('signalled');
    await eventually(() => runs.begun.includes(last.runId), 'the last one begins');
    expect(await Promise.all([running, behind, waiting].map((one) => stateOf(queue, one.runId)))).toEqual(
      Array(3).fill('cancelled'),
    );
    expect(reasons[0]).toBeInstanceOf(StopRequest);
    expect(reasons[0]).toMatchObject({ by: 'ann', keep: true });
    expect(await queue.cancel(running.runId, stop)).toBe('unknown');
    expect(runs.begun).toEqual([running.runId, last.runId]);
  });

  it('does not begin a run that is stopped at that moment, and begins none while it ends', async () => {
    const queue = await open();
    const { records } = queue.options;
    const runs = manual();
    const [stopped, waiting] = [request(), request({ number: 2 })];
    // Stopped behind another one of its lane, whose end handed it over, between two looks of the worker.
    const stopOf = queue.stopOf.bind(queue);
    queue.stopOf = async (runId) => {
      const stop = await stopOf(runId);
      if (runId === stopped.runId) await queue.end(stopped, { state: 'cancelled' });
      return stop;
    };
    const worker = await start(queue, { execute: runs.execute });
    await queue.enqueue(stopped);
    await eventually(async () => (await records.load(stopped.runId))?.state === 'cancelled', 'it is stopped');
    let closed: Promise<void> | undefined;
    queue.stopOf = async (runId) => {
      closed ??= worker.close({ stop: true });
      return stopOf(runId);
    };
    await queue.enqueue(waiting);
    await eventually(() => closed !== undefined, 'the worker ends');
    await closed;
    expect([runs.begun, await stateOf(queue, stopped.runId), await stateOf(queue, waiting.runId)]).toEqual([
      [],
      'cancelled',
      'queued',
    ]);
    queue.stopOf = stopOf;
    const next = await start(queue, { execute: runs.execute });
    await eventually(() => runs.begun.includes(waiting.runId), 'another one begins it');
    runs.end(waiting.runId);
    await next.close();
    expect(await stateOf(queue, waiting.runId)).toBe('succeeded');
  });

  it('tells its runs that it is shut down, and to keep what is there', async () => {
    const queue = await open();
    const one = request();
    let begun = false;
    let why: unknown;
    const worker = await start(queue, {
      execute: (_request, { signal }) =>
        new Promise((resolve) => {
          begun = true;
          signal.addEventListener('abort', () => {
            why = signal.reason;
            resolve({ state: 'partial' });
          });
        }),
    });
    await queue.enqueue(one);
    await eventually(() => begun, 'it runs');
    await worker.close({ stop: true });
    expect(why).toMatchObject({ shutdown: true, keep: true });
  });

  it('keeps all that is written into a record at the same time, and never leaves a final state', async () => {
    const queue = await open();
    const { records } = queue.options;
    const one = request();
    await queue.enqueue(one);
    const held = { host: 'h', diffHash: 'sha256:0', files: 1, keptAt: '' };
    const writes = [{ step: 'verify' }, { held }, { branch: 'b' }, { maxCost: 7 }, { state: 'failed' }] as const;
    const late = Array.from({ length: 20 }, () => records.update(one.runId, { state: 'running' }));
    await Promise.all([...writes.map((patch) => records.update(one.runId, patch)), ...late]);
    expect(await records.load(one.runId)).toMatchObject(Object.assign({}, ...writes));
  });

  it('knows the newest stop of a thread, whichever was told first', async () => {
    const queue = await open();
    const thread = { owner: 'Octo', name: 'repo', number: 1 };
    const at = (second: number) => `2026-01-01T00:00:0${second}Z`;
    expect(await queue.stopSince(thread, at(0))).toBeNull();
    await queue.stopBefore(thread, { by: 'ann', keep: true, at: at(5) });
    await queue.stopBefore(thread, { by: 'bob', keep: false, at: at(3) });
    expect(await queue.stopSince({ ...thread, owner: 'octo' }, at(4))).toMatchObject({ by: 'ann', keep: true });
    expect(await queue.stopSince(thread, at(5))).toBeNull();
    expect(await queue.stopSince({ ...thread, number: 2 }, at(0))).toBeNull();
  });

  it('records a run that throws as failed, and goes on', async () => {
    const queue = await open();
    await start(queue, { execute: () => Promise.reject(new Error('no')) });
    const [one, two] = [request(), request()];
    await queue.enqueue(one);
    await queue.enqueue(two);
    await eventually(async () => (await stateOf(queue, two.runId)) === 'failed', 'both ended');
    expect(await stateOf(queue, one.runId)).toBe('failed');
  });
});

describe('CRA-003 crashes', () => {
  it('ends the run of a killed worker once, and begins the next of its lane', async () => {
    const prefix = 'killed';
    const queue = await open(prefix);
    const [lost, next] = [request(), request()];
    await queue.enqueue(lost);
    await queue.enqueue(next);
    const child = fork(new URL('../queue/doomed-worker.ts', import.meta.url), [server.socket, prefix]);
    await new Promise((resolve) => child.once('message', resolve));
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    expect(await stateOf(queue, lost.runId)).toBe('running');
    const finalised: string[] = [];
    const runs = manual();
    const patch: Partial<RunWorkerOptions> = {
      execute: runs.execute,
      sweepMs: 100,
      finalise: (record, why) => {
        finalised.push(`${record.request.runId} ${why}`);
        return Promise.resolve(finalised.length === 1 ? Promise.reject(new Error('GitHub is away')) : 'failed');
      },
    };
    await start(queue, patch);
    await start(await open(prefix), patch);
    await eventually(() => runs.begun.length === 1, 'the next run begins');
    expect(runs.begun).toEqual([next.runId]);
    expect(await stateOf(queue, lost.runId)).toBe('failed');
    // The first try failed and was repeated; after success it is not.
    expect(finalised).toEqual(Array(2).fill(`${lost.runId} worker_lost`));
    runs.end(next.runId);
  });

  it('finds a run that fell between two steps of being enqueued', async () => {
    const queue = await open();
    const one = request();
    const { records } = queue.options;
    const record: RunRecord = {
      request: one,
      installation: 'i',
      step: 'spec',
      state: 'queued',
      worker: '',
      updatedAt: '',
    };
    await records.create(record);
    await queue.line.enter(one, { total: 9, perRepository: 9, perPerson: 9 });
    await start(queue, { sweepMs: 50 });
    await eventually(async () => (await stateOf(queue, one.runId)) === 'succeeded', 'it was done');
  });

  it('keeps what waits over a restart of Redis', async () => {
    const queue = await open();
    const waiting = [request({ number: 1 }), request({ number: 1 }), request({ number: 2 })];
    for (const one of waiting) await queue.enqueue(one);
    await server.restart();
    await start(queue);
    for (const one of waiting) {
      await eventually(async () => (await stateOf(queue, one.runId)) === 'succeeded', 'it was done');
    }
  });

  it('does not take the others for dead when nobody could be heard', async () => {
    const prefix = 'unheard';
    const queue = await open(prefix);
    const runs = manual();
    const heartbeatMs = 1_000;
    await start(queue, { execute: runs.execute, heartbeatMs });
    const one = request();
    await queue.enqueue(one);
    await eventually(() => runs.begun.length === 1, 'it begins');
    const other = await start(await open(prefix), { heartbeatMs });
    queue.options.redis.disconnect();
    await server.restart(heartbeatMs * 4);
    // Its own sign of life is there again, the one of the first worker not yet.
    const redis = await server.open();
    await eventually(async () => (await redis.exists(`${prefix}:alive:w${workers.length - 1}`)) > 0, 'one is back');
    const first = await redis.exists(`${prefix}:alive:w${workers.length - 2}`);
    const ended = await other.sweep();
    await queue.options.redis.connect();
    expect([first, ended]).toEqual([0, 0]);
    await eventually(async () => (await redis.exists(`${prefix}:alive:w${workers.length - 2}`)) > 0, 'both are');
    expect(await stateOf(queue, one.runId)).toBe('running');
    runs.end(one.runId);
    await eventually(async () => (await stateOf(queue, one.runId)) === 'succeeded', 'it was done');
  });

  it('does not go on with a run that another worker has ended meanwhile', async () => {
    const prefix = 'paused';
    const queue = await open(prefix);
    const runs = manual();
    const reasons: unknown[] = [];
    await start(queue, {
      heartbeatMs: 200,
      execute: (one, control) => {
        control.signal.addEventListener('abort', () => reasons.push(control.signal.reason));
        return runs.execute(one, control);
      },
    });
    const [one, kept] = [request(), request({ number: 2 })];
    await queue.enqueue(one);
    await eventually(() => runs.begun.length === 1, 'it begins');
    queue.options.redis.disconnect();
    await start(await open(prefix), { heartbeatMs: 200, sweepMs: 50 });
    const { records } = queues.at(-1)?.options ?? queue.options;
    await eventually(async () => (await records.load(one.runId))?.state === 'failed', 'another worker ends it');
    const before = [...reasons];
    await queue.options.redis.connect();
    expect(before).toEqual([]);
    await eventually(() => reasons.length === 1, 'it is told');
    expect(reasons[0]).toMatchObject({ by: 'another worker', keep: false });
    expect(await stateOf(queue, one.runId)).toBe('failed');
    // The twin: what nobody has ended is not cut off.
    await queue.enqueue(kept);
    await eventually(async () => (await stateOf(queue, kept.runId)) === 'succeeded' || runs.begun.length === 2, 'next');
    runs.end(kept.runId);
    await eventually(async () => (await stateOf(queue, kept.runId)) === 'succeeded', 'it was done');
    expect(reasons).toHaveLength(1);
  });

  it('does not end a run whose worker lives', async () => {
    const prefix = 'alive';
    const queue = await open(prefix);
    const runs = manual();
    await start(queue, { execute: runs.execute });
    const one = request();
    await queue.enqueue(one);
    await eventually(() => runs.begun.length === 1, 'it begins');
    const other = await start(await open(prefix));
    for (let round = 0; round < 10; round += 1) expect(await other.sweep()).toBe(0);
    expect(await stateOf(queue, one.runId)).toBe('running');
    runs.end(one.runId);
  });
});
