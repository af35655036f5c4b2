import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CofferdamError } from '../../src/domain/errors.ts';
import { GitHubError } from '../../src/github/failure.ts';
import { openRedis } from '../../src/queue/connection.ts';
import { createTriggerQueue, type TriggerQueue } from '../../src/queue/triggers.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { eventually, startRedisServer, type RedisServer } from '../queue/redis-server.ts';
import { newRunId, trigger } from '../queue/requests.ts';

let server: RedisServer;
let prefixes = 0;
const opened: { close(): Promise<void> }[] = [];
const log = createLogger({ level: 'silent' });

beforeAll(async () => {
  server = await startRedisServer();
});
afterAll(async () => {
  for (const one of opened) await one.close();
  await server.stop();
});

async function open(prefix = `t${prefixes++}`, bound?: number): Promise<TriggerQueue> {
  const queue = createTriggerQueue({
    redis: await server.open(),
    prefix,
    log,
    ...(bound === undefined ? {} : { bound }),
  });
  opened.push(queue);
  return queue;
}

describe('triggers', () => {
  it('GH-009 hands a delivery over once, however often it arrives', async () => {
    const queue = await open();
    const seen: string[] = [];
    const answers = await Promise.all(Array.from({ length: 20 }, () => queue.enqueue(trigger({ deliveryId: 'a-1' }))));
    expect(answers.filter((answer) => answer === 'accepted').length).toBeGreaterThan(0);
    opened.unshift(queue.work((one) => (seen.push(one.deliveryId), Promise.resolve())));
    await eventually(() => seen.length > 0, 'the trigger is handled');
    await eventually(async () => (await queue.enqueue(trigger({ deliveryId: 'a-1' }))) === 'duplicate', 'it is known');
    await queue.enqueue(trigger({ deliveryId: 'a-2' }));
    await eventually(() => seen.includes('a-2'), 'the next one is handled');
    expect(seen).toEqual(['a-1', 'a-2']);
  });

  it('GH-009 knows a replayed delivery after Redis was killed', async () => {
    const queue = await open('restart');
    const seen: string[] = [];
    opened.unshift(queue.work((one) => (seen.push(one.deliveryId), Promise.resolve())));
    await queue.enqueue(trigger({ deliveryId: 'b-1', key: 'k' }));
    await eventually(() => seen.length === 1, 'the trigger is handled');
    const mine = [newRunId()];
    expect(await queue.claim(trigger({ deliveryId: 'b-1', key: 'k' }), mine)).toEqual(mine);
    await eventually(async () => (await queue.enqueue(trigger({ deliveryId: 'b-1' }))) === 'duplicate', 'it is known');
    await server.restart();
    const again = await open('restart');
    expect(await again.enqueue(trigger({ deliveryId: 'b-1' }))).toBe('duplicate');
    expect(await again.claim(trigger({ deliveryId: 'b-2', key: 'k' }), [newRunId()])).toBeNull();
    expect(seen).toEqual(['b-1']);
  });

  it('GH-009 knows a delivery that is done at the moment at which it comes again', async () => {
    const prefix = 'meanwhile';
    const redis = await server.open();
    const queue = createTriggerQueue({ redis, prefix, log });
    const handled: string[] = [];
    const begin = Promise.withResolvers<undefined>();
    const worker = queue.work(async ({ deliveryId }) => {
      handled.push(deliveryId);
      await begin.promise;
    });
    opened.unshift(worker, queue);
    expect(await queue.enqueue(trigger({ deliveryId: 'd-1' }))).toBe('accepted');
    await eventually(() => handled.length === 1, 'it is handled');
    const exists = redis.exists.bind(redis);
    // Behind its look at what was done before, this one is done and out of the queue.
    redis.exists = async (...keys: unknown[]) => {
      const seen = await exists(...(keys as string[]));
      begin.resolve(undefined);
      await eventually(async () => (await exists(`${prefix}:triggers:d-d-1`)) === 0, 'it is done');
      return seen;
    };
    expect(await queue.enqueue(trigger({ deliveryId: 'd-1' }))).toBe('duplicate');
    redis.exists = exists;
    begin.resolve(undefined);
    await eventually(async () => (await exists(`${prefix}:triggers:d-d-1`)) === 0, 'it is done');
    expect(await queue.enqueue(trigger({ deliveryId: 'd-1' }))).toBe('duplicate');
    expect(handled).toEqual(['d-1']);
  });

  it('gives an event to one delivery, and to that one again after a crash', async () => {
    const queue = await open();
    const [first, second] = [newRunId(), newRunId()];
    expect(await queue.claim(trigger({ deliveryId: 'c-1' }), [first])).toEqual([first]);
    expect(await queue.claim(trigger({ deliveryId: 'c-2' }), [second])).toBeNull();
    expect(await queue.claim(trigger({ deliveryId: 'c-1' }), [second])).toEqual([first]);
  });

  it('GH-015 waits as long as GitHub says, which costs no attempt, for whoever asked lately', async () => {
    const queue = await open();
    const tries = { now: 0, old: 0 };
    opened.unshift(
      queue.work((one) => {
        const key = one.deliveryId === 'now' ? 'now' : 'old';
        tries[key] += 1;
        if (key === 'now' && tries.now > 8) return Promise.resolve();
        throw new GitHubError({ kind: 'limited', op: 'github.react', status: 403, retryAfterMs: 20 });
      }),
    );
    const happenedAt = new Date().toISOString();
    await queue.enqueue({ ...trigger({ deliveryId: 'now', key: 'now' }), happenedAt });
    await queue.enqueue({ ...trigger({ deliveryId: 'old', key: 'old' }), happenedAt: '2026-01-01T00:00:00Z' });
    await eventually(() => tries.now === 9 && tries.old > 0, 'it comes through');
    await eventually(async () => (await queue.enqueue(trigger({ deliveryId: 'now' }))) === 'duplicate', 'it is done');
    expect(tries.old).toBeLessThanOrEqual(6);
  });

  it('tries a failure of GitHub again, and a refusal not', async () => {
    const queue = await open();
    const tries = { github: 0, config: 0 };
    opened.unshift(
      queue.work((one) => {
        const code = one.deliveryId === 'd-github' ? 'github' : 'config';
        tries[code] += 1;
        if (code === 'github' && tries.github === 2) return Promise.resolve();
        return Promise.reject(new CofferdamError(code, 'test', 'no'));
      }),
    );
    await queue.enqueue(trigger({ deliveryId: 'd-config' }));
    await queue.enqueue(trigger({ deliveryId: 'd-github' }));
    await eventually(() => tries.github === 2, 'the second try');
    expect(tries.config).toBe(1);
  });

  it('RES-013 refuses what is above the bound', async () => {
    const queue = await open(undefined, 3);
    const answers: string[] = [];
    for (let index = 0; index < 10; index += 1)
      answers.push(await queue.enqueue(trigger({ deliveryId: `e-${index}` })));
    expect(answers).toEqual(Array.from({ length: 10 }, (_, index) => (index < 3 ? 'accepted' : 'full')));
  });
});

it('refuses a Redis that may forget what was spent, and takes one that may not', async () => {
  const admin = await server.open();
  try {
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    // Without a limit nothing is dropped.
    (await openRedis(server.socket)).disconnect();
    await admin.config('SET', 'maxmemory', '100mb');
    await expect(openRedis(server.socket)).rejects.toMatchObject({
      code: 'config',
      message: expect.stringMatching(/allkeys-lru.*set maxmemory-policy to noeviction/) as string,
    });
    await admin.config('SET', 'maxmemory-policy', 'noeviction');
    (await openRedis(server.socket)).disconnect();
  } finally {
    await admin.config('SET', 'maxmemory', '0');
  }
});

it('says what to do when Redis is not there', async () => {
  await expect(openRedis('/nonexistent/socket', { timeoutMs: 300 })).rejects.toMatchObject({
    code: 'redis_unavailable',
  });
  const failed = await openRedis('redis://user:hunter2@127.0.0.1:1', { timeoutMs: 300 }).catch(
    (error: unknown) => error,
  );
  expect(String(failed)).not.toContain('hunter2');
});
