import { createServer, request as httpRequest } from 'node:http';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Wire } from '../../src/domain/policy.ts';
import { createLlmHandler } from '../../src/gateway/llm/handler.ts';
import type { LlmHandler } from '../../src/gateway/llm/handler.ts';
import type {
  LlmEvent,
  LlmHandlerLimits,
  LlmReserve,
  LlmSettlement,
  LlmWorkerPort,
} from '../../src/gateway/llm/port.ts';
import { startProvider } from '../../src/local/provider/server.ts';
import type { PriceCard } from '../../src/local/provider/books.ts';
import type { RunningProvider } from '../../src/local/provider/server.ts';
import type { Reply, Script } from '../../src/local/provider/script.ts';
import { freezePrices, operatorRow } from '../../src/policy/llm/prices.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import type { Ledger, Reservation } from '../../src/run/ledger.ts';

export const HOST_KEY = 'sk-the-key-of-the-host-0123456789';
export const PLACEHOLDER = 'placeholder';
/** Dollars per million tokens; the same card on both sides. */
const CARD = { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75, cacheWrite1h: 6 };

const account = { runId: 'r1', repoKey: 'o/a', installationKey: 'i', day: '2026-11-24' };

export interface Lane {
  url: string;
  provider: RunningProvider;
  handler: LlmHandler;
  ledger: Ledger;
  reserves: LlmReserve[];
  settlements: LlmSettlement[];
  events: LlmEvent[];
  /** Spent and reserved by the run. */
  standing(): Promise<{ spent: number; reserved: number }>;
  /** How many clients are connected. */
  connections(): Promise<number>;
  /** Resolves once no call is under way and all are settled. */
  quiet(): Promise<void>;
  stop(): Promise<void>;
}

export interface LaneOptions {
  wire?: Wire;
  reply?: Reply | Script;
  /** The run's cap in micro-dollars. */
  cap?: number;
  limits?: Partial<LlmHandlerLimits>;
  models?: string[];
  /** Words of the host for a call that can carry some. */
  notices?: () => string[];
  ask?: (port: LlmWorkerPort) => LlmWorkerPort;
  /** Instead of the scripted provider. */
  baseUrl?: string;
  key?: string;
  card?: PriceCard;
  /** Shared with other lanes. */
  ledger?: Ledger;
  runId?: string;
}

/** A gateway's model endpoint on a port of its own, before a scripted provider, with a ledger behind it. */
export async function openLane(options: LaneOptions = {}): Promise<Lane> {
  const { wire = 'anthropic', reply = { text: 'hello' }, cap = 10_000_000 } = options;
  const provider = await startProvider({
    apiKey: HOST_KEY,
    prices: { m: options.card ?? CARD },
    script: typeof reply === 'function' ? reply : () => reply,
  });
  const ledger = options.ledger ?? createMemoryLedger();
  const payer = { ...account, runId: options.runId ?? account.runId };
  const open = new Map<string, Reservation>();
  const lists = { reserves: [] as LlmReserve[], settlements: [] as LlmSettlement[], events: [] as LlmEvent[] };
  const port: LlmWorkerPort = {
    reserve: async (call) => {
      lists.reserves.push(call);
      const caps = { run: cap, repository: 1e12, installation: 1e12 };
      const { callId, amount, atLeast } = call;
      const result = await ledger.reserve({ ...payer, callId, amount, atLeast, caps });
      if (!result.ok) return { ok: false, reason: 'llm_budget', say: `the budget of the ${result.cap} is used up` };
      open.set(callId, result.reservation);
      const notices = call.tellable ? (options.notices?.() ?? []) : [];
      return { ok: true, granted: result.reservation.amount, notices };
    },
    settle: async (settlement) => {
      lists.settlements.push(settlement);
      const reservation = open.get(settlement.callId);
      open.delete(settlement.callId);
      if (reservation !== undefined) await ledger.settle(reservation, settlement.cost);
    },
  };
  const row = operatorRow('m', {
    inputPerMTok: CARD.input,
    outputPerMTok: CARD.output,
    cacheReadPerMTok: CARD.cacheRead,
    cacheWritePerMTok: CARD.cacheWrite,
  });
  const handler = createLlmHandler({
    providers: [{ id: 'corp', wires: [wire], baseUrl: options.baseUrl ?? provider.url, key: options.key ?? HOST_KEY }],
    models: options.models ?? ['m'],
    prices: freezePrices([row], account.day),
    runHash: 'run-hash',
    ask: options.ask?.(port) ?? port,
    request: (url, { method, headers, signal }) => httpRequest(url, { method, headers, signal }),
    onEvent: (event) => lists.events.push(event),
    placeholderKey: PLACEHOLDER,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: listening } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${listening}/corp`,
    provider,
    handler,
    ledger,
    ...lists,
    standing: async () => (await ledger.spent(payer)).run,
    connections: () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
      }),
    quiet: async () => {
      while (handler.active() > 0 || open.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    stop: async () => {
      handler.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
      await provider.stop();
    },
  };
}

/** A provider that answers as it is told, on a port of its own. */
export async function answering(answer: RequestListener): Promise<{ url: string; stop: () => Promise<void> }> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

export const PATHS: Record<Wire, { whole: string; stream: string }> = {
  anthropic: { whole: '/v1/messages', stream: '/v1/messages' },
  'openai-chat': { whole: '/v1/chat/completions', stream: '/v1/chat/completions' },
  'openai-responses': { whole: '/v1/responses', stream: '/v1/responses' },
  gemini: { whole: '/v1beta/models/m:generateContent', stream: '/v1beta/models/m:streamGenerateContent?alt=sse' },
};

/** The smallest call of a wire. */
export function smallest(wire: Wire, stream: boolean, output = 100): Record<string, unknown> {
  const messages = [{ role: 'user', content: 'hi' }];
  switch (wire) {
    case 'anthropic':
      return { model: 'm', max_tokens: output, messages, stream };
    case 'openai-chat':
      return { model: 'm', max_tokens: output, messages, stream };
    case 'openai-responses':
      return { model: 'm', max_output_tokens: output, input: 'hi', stream };
    case 'gemini':
      return { contents: [{ role: 'user', parts: [{ text: 'hi' }] }], generationConfig: { maxOutputTokens: output } };
  }
}

export async function post(
  url: string,
  body: unknown,
  init: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Response> {
  return await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': PLACEHOLDER, ...init.headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(init.signal === undefined ? {} : { signal: init.signal }),
  });
}

export async function call(lane: Lane, wire: Wire, stream: boolean, output?: number): Promise<Response> {
  return await post(lane.url + PATHS[wire][stream ? 'stream' : 'whole'], smallest(wire, stream, output));
}
