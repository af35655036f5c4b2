import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startRedis } from '../../src/local/machine/redis.ts';
import { createRedisLedger } from '../../src/queue/redis-ledger.ts';
import { ledgerConformance } from '../conformance/ledger.ts';

let directory: string;
let server: ChildProcess;
const clients: Redis[] = [];
let ledgers = 0;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cofferdam-ledger-'));
  const args = ['--port', '0', '--unixsocket', join(directory, 's'), '--save', '', '--dir', directory];
  server = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  server.once('error', (error) => {
    throw new Error('redis-server is needed for this test; install the package redis-server', { cause: error });
  });
  // The client tries again until the socket is there.
  expect(await connect().ping()).toBe('PONG');
});

afterAll(async () => {
  for (const client of clients) client.disconnect();
  server.kill('SIGTERM');
  if (server.exitCode === null) await once(server, 'exit');
  rmSync(directory, { recursive: true, force: true });
});

function connect(): Redis {
  const client = new Redis(join(directory, 's'), { maxRetriesPerRequest: null });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

describe('ledger in Redis', () => {
  ledgerConformance(
    () => {
      const redis = clients[0] ?? connect();
      return Promise.resolve(createRedisLedger({ redis, prefix: `t${ledgers++}:` }));
    },
    { runs: 60 },
  );

  test('two workers with connections of their own share every cap', async () => {
    const one = createRedisLedger({ redis: connect(), prefix: 'shared:' });
    const two = createRedisLedger({ redis: connect(), prefix: 'shared:' });
    const caps = { run: 5_000, repository: 7_500, installation: 10_000 };
    const account = { repoKey: 'o/a', installationKey: 'i', day: '2026-11-24' };
    const asked = Array.from({ length: 64 }, (_, i) =>
      (i % 2 === 0 ? one : two).reserve({ ...account, runId: `r${i % 4}`, callId: `c${i}`, amount: 1_000, caps }),
    );
    expect((await Promise.all(asked)).filter((result) => result.ok)).toHaveLength(7);
    expect((await one.spent({ ...account, runId: 'r0' })).repository).toEqual({ spent: 0, reserved: 7_000 });
  });

  test('LLM-024 a Redis that stops in the middle of a run grants nothing meanwhile, and forgets nothing', async () => {
    const own = mkdtempSync(join(tmpdir(), 'cflr-'));
    const settings = { directory: own, appendOnly: true };
    let running = await startRedis(settings);
    try {
      const redis = new Redis(running.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
      redis.on('error', () => undefined);
      clients.push(redis);
      // A disk that others keep busy answers late, and says nothing about the ledger.
      const ledger = createRedisLedger({ redis, timeoutMs: 60_000 });
      const impatient = createRedisLedger({ redis, timeoutMs: 500 });
      const caps = { run: 1_000, repository: 1e6, installation: 1e6 };
      const account = { runId: 'r', repoKey: 'o/a', installationKey: 'i', day: '2026-11-24' };
      const one = await ledger.reserve({ ...account, callId: 'a', amount: 400, caps });
      const two = await ledger.reserve({ ...account, callId: 'b', amount: 300, caps });
      if (!one.ok || !two.ok) throw new Error('refused');
      await ledger.settle(one.reservation, 350);
      await running.stop();
      const asked = { ...account, callId: 'c', amount: 100, caps };
      await expect(impatient.reserve(asked)).rejects.toMatchObject({ code: 'redis_unavailable' });
      running = await startRedis(settings);
      await ledger.release(asked);
      expect((await ledger.spent(account)).run).toEqual({ spent: 350, reserved: 300 });
      await ledger.settle(two.reservation, 300);
      expect(await ledger.reserve({ ...asked, callId: 'd', amount: 351 })).toMatchObject({ ok: false, cap: 'run' });
      expect(await ledger.reserve({ ...asked, callId: 'e', amount: 350 })).toMatchObject({ ok: true, spent: 650 });
    } finally {
      await running.stop();
      rmSync(own, { recursive: true, force: true });
    }
  });

  test('an unreachable Redis is an error, never a grant', async () => {
    const redis = new Redis(join(directory, 'nobody'), { maxRetriesPerRequest: null });
    redis.on('error', () => undefined);
    clients.push(redis);
    const ledger = createRedisLedger({ redis, timeoutMs: 200 });
    const caps = { run: 1, repository: 1, installation: 1 };
    const request = {
      runId: 'r',
      repoKey: 'o/a',
      installationKey: 'i',
      day: '2026-11-24',
      callId: 'c',
      amount: 1,
      caps,
    };
    await expect(ledger.reserve(request)).rejects.toMatchObject({ code: 'redis_unavailable' });
  });
});
