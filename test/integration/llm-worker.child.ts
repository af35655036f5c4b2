import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Digest, RunId } from '../../src/domain/ids.ts';
import type { Limits } from '../../src/domain/policy.ts';
import { createGateways } from '../../src/main/gateway-client.ts';
import { openRedis } from '../../src/queue/connection.ts';
import { createRedisLedger } from '../../src/queue/redis-ledger.ts';
import type { Ledger } from '../../src/run/ledger.ts';
import type { Gateway } from '../../src/run/ports.ts';
import { HOST_KEY, INSTALLATION, PRICES } from './llm-world.ts';
import type { WorldRun } from './llm-world.ts';

/*
 * A worker of its own process, with the gateway processes that it starts: what a schedule kills with SIGKILL. It does
 * what it is told by message; what it records is in a file before anything goes on.
 */

export type Order =
  | { do: 'open'; prefix: string; run: WorldRun; limits: Limits }
  | { do: 'recover'; prefix: string; run: string }
  | { do: 'closeModel'; run: string }
  | { do: 'dropRedis' }
  | { do: 'close' };

export type Answer = { ok: true; socketPath?: string; pid?: number } | { ok: false; message: string };

const [, , redisSocket = '', directory = '', providerUrl = ''] = process.argv;
const redis = await openRedis(redisSocket, { timeoutMs: 20_000 });
const gateways = new Map<string, Gateway>();

async function obey(order: Order): Promise<Answer> {
  switch (order.do) {
    case 'open':
      return await open(order);
    case 'recover':
      await ledgerOf(order.prefix).recover(order.run);
      return { ok: true };
    case 'closeModel':
      await gateways.get(order.run)?.closeModel('stopped');
      return { ok: true };
    case 'dropRedis':
      redis.stream.destroy();
      return { ok: true };
    case 'close':
      await Promise.all([...gateways.values()].map((gateway) => gateway.close()));
      gateways.clear();
      return { ok: true };
  }
}

async function open({ prefix, run, limits }: Order & { do: 'open' }): Promise<Answer> {
  const file = join(directory, `${run.id}.jsonl`);
  const host = createGateways({
    dataDir: directory,
    ledger: ledgerOf(prefix),
    llm: {
      providers: [
        {
          id: 'corp',
          wires: ['anthropic', 'openai-chat', 'openai-responses', 'gemini'],
          baseUrl: providerUrl,
          key: HOST_KEY,
        },
      ],
      models: ['*'],
      prices: PRICES,
    },
    caFile: undefined,
  });
  const before = children();
  const gateway = await host.open({
    runId: run.id as RunId,
    policy: { rules: [], deny: [], gitRepositories: [] },
    git: {},
    llm: true,
    limits,
    account: { repository: run.repository, installation: INSTALLATION },
    audit: {
      file,
      append: ({ type, data }) => {
        appendFileSync(file, `${JSON.stringify({ type, data })}\n`);
        return Promise.resolve();
      },
      head: () => 'sha256:0' as Digest,
      seal: () => Promise.reject(new Error('not here')),
      close: () => Promise.resolve(),
    },
    signal: new AbortController().signal,
  });
  gateways.set(run.id, gateway);
  const pid = children().find((child) => !before.includes(child));
  return { ok: true, socketPath: join(gateway.socketDir, 'gateway.sock'), ...(pid === undefined ? {} : { pid }) };
}

function ledgerOf(prefix: string): Ledger {
  return createRedisLedger({ redis, prefix, timeoutMs: 60_000 });
}

function children(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}

// One order after the other, so that the process which a gateway started is told apart.
let queue = Promise.resolve();
process.on('message', ({ id, order }: { id: number; order: Order }) => {
  queue = queue.then(async () => {
    const answer = await obey(order).catch((error: unknown): Answer => ({ ok: false, message: String(error) }));
    process.send?.({ id, answer });
  });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
