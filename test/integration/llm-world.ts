import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Redis } from 'ioredis';
import { createLlmHandler } from '../../src/gateway/llm/handler.ts';
import type { LlmReserve, LlmSettlement } from '../../src/gateway/llm/port.ts';
import type { Wire } from '../../src/domain/policy.ts';
import { startProvider } from '../../src/local/provider/server.ts';
import type { RunningProvider } from '../../src/local/provider/server.ts';
import type { Reply } from '../../src/local/provider/script.ts';
import type { BookEntry } from '../../src/local/provider/books.ts';
import { freezePrices } from '../../src/policy/llm/prices.ts';
import type { PriceTable } from '../../src/policy/llm/prices.ts';
import { createRedisLedger } from '../../src/queue/redis-ledger.ts';
import { createModelAccount } from '../../src/run/model-account.ts';
import type { Ledger } from '../../src/run/ledger.ts';
import type { Limits } from '../../src/domain/policy.ts';
import type { Schedule } from './llm-schedule.ts';

export const HOST_KEY = 'sk-the-key-of-the-host-0123456789';
const CARD = { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75, cacheWrite1h: 6 };
export const INSTALLATION = 'i';

/** Every call names a model of its own, so that its line in the provider's books is found again. */
export const PRICES: PriceTable = freezePrices(
  [
    {
      provider: 'corp',
      model: 'm',
      source: 'library',
      match: { regex: '^m-' },
      rates: {
        input: CARD.input * 1e6,
        output: CARD.output * 1e6,
        cacheRead: CARD.cacheRead * 1e6,
        cacheWrite: CARD.cacheWrite * 1e6,
        cacheWrite1h: CARD.cacheWrite1h * 1e6,
      },
      tiers: [],
    },
  ],
  '2026-11-24',
);

/** A provider whose answer to each model's name is laid down before the call. */
export interface Oracle {
  provider: RunningProvider;
  replies: Map<string, Reply>;
  stop(): Promise<void>;
}

export async function openOracle(): Promise<Oracle> {
  const replies = new Map<string, Reply>();
  const provider = await startProvider({
    apiKey: HOST_KEY,
    prices: { '*': CARD },
    script: ({ model }) => replies.get(model) ?? { text: 'unforeseen' },
  });
  return { provider, replies, stop: () => provider.stop() };
}

export interface WorldRun {
  id: string;
  repository: string;
}

/** What the audit holds of one call. */
export interface CallRecord {
  callId: string;
  model: string;
  settled: Pick<LlmSettlement, 'outcome' | 'cost'> | undefined;
}

/** How a client reaches the gateway of a run. */
export type Door = { host: string; port: number } | { socketPath: string };

/** A worker with its gateways, in this process or in one of its own. */
export interface Worker {
  open(run: WorldRun, limits: Limits): Promise<void>;
  door(run: string): Door | undefined;
  /** What the sweeper does for a run whose worker is gone. */
  recover(run: string): Promise<void>;
  crash(): Promise<void>;
  crashGateway(run: string): Promise<void>;
  closeModel(run: string): Promise<void>;
  dropRedis(): Promise<void>;
  /** Ends in good order, once all calls have been settled. */
  close(): Promise<void>;
}

/** What the workers of one schedule share. */
export interface Scene {
  prefix: string;
  oracle: Oracle;
  day: number;
  providerUp: boolean;
  auditFails: boolean;
  records: Map<string, CallRecord>;
}

export function limitsOf({ caps, maxTurns }: Schedule): Limits {
  return {
    maxCost: caps.run,
    repositoryDailyCost: caps.repository,
    installationDailyCost: caps.installation,
    timeoutMs: 600_000,
    maxTurns,
    stepMs: 600_000,
    idleMs: 600_000,
  };
}

function dayOf(index: number): string {
  return `2026-11-2${4 + index}`;
}

/** Notes what the audit says about calls; what it says is on disk before anything goes on. */
export function note(records: Map<string, CallRecord>, type: string, data: Record<string, unknown>): void {
  const callId = String(data['callId']);
  if (type === 'llm.reserve') {
    records.set(callId, { callId, model: (data as unknown as LlmReserve).model, settled: undefined });
  }
  const known = records.get(callId);
  if (type === 'llm.settle' && known !== undefined) known.settled = data as unknown as LlmSettlement;
}

interface Desk {
  door: Door;
  closeModel(): void;
  /** Breaks everything off, as the end of the process would. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** A worker inside this process; its crash is the end of its connections and of every answer. */
export function workerHere(redis: Redis, scene: Scene): Worker {
  const ledger = createRedisLedger({ redis, prefix: scene.prefix, timeoutMs: 60_000 });
  const desks = new Map<string, Desk>();
  return {
    open: async (run, limits) => void desks.set(run.id, await openDesk({ run, limits, ledger, scene })),
    door: (run) => desks.get(run)?.door,
    recover: async (run) => void (await ledger.recover(run)),
    crash: async () => {
      const all = [...desks.values()];
      desks.clear();
      // What is on its way to Redis may arrive or not.
      redis.disconnect();
      await Promise.all(all.map((desk) => desk.kill()));
    },
    crashGateway: async (run) => {
      const desk = desks.get(run);
      desks.delete(run);
      await desk?.kill();
      // The worker sees its gateway end, and counts what that left open.
      if (desk !== undefined) await ledger.recover(run);
    },
    closeModel: (run) => Promise.resolve(desks.get(run)?.closeModel()),
    dropRedis: () => Promise.resolve(void redis.stream.destroy()),
    close: async () => {
      for (const desk of desks.values()) await desk.close();
      desks.clear();
      redis.disconnect();
    },
  };
}

async function openDesk(options: { run: WorldRun; limits: Limits; ledger: Ledger; scene: Scene }): Promise<Desk> {
  const { run, limits, ledger, scene } = options;
  const state = { dead: false };
  const account = createModelAccount({
    ledger,
    account: { runId: run.id, repoKey: run.repository, installationKey: INSTALLATION },
    limits,
    audit: async ({ type, data }) => {
      if (state.dead) throw new Error('dead');
      await new Promise((resolve) => setImmediate(resolve));
      if (scene.auditFails && type.startsWith('llm.')) {
        scene.auditFails = false;
        throw new Error('the disk is full');
      }
      note(scene.records, type, data ?? {});
    },
    now: () => `${dayOf(scene.day)}T12:00:00.000Z`,
    elapsedMs: () => 0,
    onCapped: () => undefined,
    waitMs: 10,
  });
  const alive = async <T>(work: () => Promise<T>): Promise<T> => {
    const living = (): void => {
      if (state.dead) throw new Error('dead');
    };
    living();
    const value = await work();
    // The answer of a worker that has died meanwhile reaches nobody.
    living();
    return value;
  };
  const handler = createLlmHandler({
    providers: [
      {
        id: 'corp',
        wires: ['anthropic', 'openai-chat', 'openai-responses', 'gemini'],
        baseUrl: scene.oracle.provider.url,
        key: HOST_KEY,
      },
    ],
    models: ['*'],
    prices: PRICES,
    runHash: 'run-hash',
    placeholderKey: 'placeholder',
    limits: { drainMs: 30, minOutputTokens: 50 },
    ask: { reserve: (call) => alive(() => account.reserve(call)), settle: (end) => alive(() => account.settle(end)) },
    request: (url, { method, headers, signal }) => {
      // A port that nobody listens on.
      if (!scene.providerUp) url.port = '1';
      return httpRequest(url, { method, headers, signal });
    },
    onEvent: () => undefined,
  });
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  };
  return {
    door: { host: '127.0.0.1', port },
    closeModel: () => {
      account.close();
      handler.close();
    },
    kill: async () => {
      state.dead = true;
      handler.close();
      await stop();
    },
    close: async () => {
      while (handler.active() > 0) await new Promise((resolve) => setTimeout(resolve, 2));
      // A run whose end cannot be recorded ends all the same.
      await account.finish().catch(() => undefined);
      await stop();
    },
  };
}

const PATHS: Record<Wire, (model: string, stream: boolean) => string> = {
  anthropic: () => '/v1/messages',
  'openai-chat': () => '/v1/chat/completions',
  'openai-responses': () => '/v1/responses',
  gemini: (model, stream) => `/v1beta/models/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
};

export interface Asked {
  door: Door;
  model: string;
  wire: Wire;
  stream: boolean;
  output: number;
  cache: 'none' | '5m' | '1h';
  leaves: number | undefined;
}

/** One call of the agent. How it ends for the agent is not the question here; never rejects. */
export function ask(asked: Asked): Promise<void> {
  const { door, model, wire, stream, leaves } = asked;
  const path = `/corp${PATHS[wire](model, stream)}`;
  const headers = { 'content-type': 'application/json', host: 'llm.cofferdam.internal' };
  const unix = 'socketPath' in door;
  return new Promise((resolve) => {
    const request = httpRequest({
      ...door,
      path: unix ? `http://llm.cofferdam.internal${path}` : path,
      method: 'POST',
      headers,
      agent: false,
    });
    request.once('response', (response) => {
      response.resume();
      response.on('error', () => undefined);
    });
    request.on('error', () => undefined);
    request.once('close', resolve);
    request.end(JSON.stringify(bodyOf(asked)));
    if (leaves !== undefined) setTimeout(() => request.destroy(), leaves);
  });
}

function bodyOf({ model, wire, stream, output, cache }: Asked): Record<string, unknown> {
  const mark = cache === 'none' ? {} : { cache_control: { type: 'ephemeral', ttl: cache } };
  switch (wire) {
    case 'anthropic': {
      const messages = [{ role: 'user', content: [{ type: 'text', text: 'hi there, it is us', ...mark }] }];
      return { model, max_tokens: output, stream, messages };
    }
    case 'openai-chat':
      return { model, max_tokens: output, stream, messages: [{ role: 'user', content: 'hi there, it is us' }] };
    case 'openai-responses':
      return { model, max_output_tokens: output, stream, input: 'hi there, it is us' };
    case 'gemini': {
      const contents = [{ role: 'user', parts: [{ text: 'hi there, it is us' }] }];
      return { contents, generationConfig: { maxOutputTokens: output } };
    }
  }
}

/** Lines of the provider's books for the models of one schedule, which are taken out of them. */
export async function takeBooks({ provider, replies }: Oracle, prefix: string): Promise<BookEntry[]> {
  const mine = ({ model }: { model: string }): boolean => model.startsWith(prefix);
  // A request that was on its way when its gateway died may still be read.
  do await new Promise((resolve) => setTimeout(resolve, 3));
  while (provider.books.some((entry) => mine(entry) && entry.outcome === 'open'));
  const books = provider.books.filter(mine);
  remove(provider.books, mine);
  remove(provider.calls, mine);
  for (const model of replies.keys()) if (model.startsWith(prefix)) replies.delete(model);
  return books;
}

function remove<T>(list: T[], which: (entry: T) => boolean): void {
  const rest = list.filter((entry) => !which(entry));
  list.splice(0, list.length, ...rest);
}
