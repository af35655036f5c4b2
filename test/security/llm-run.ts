import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { runId } from '../../src/domain/ids.ts';
import type { Digest } from '../../src/domain/ids.ts';
import { WIRES } from '../../src/domain/policy.ts';
import type { Limits, Wire } from '../../src/domain/policy.ts';
import { startProvider } from '../../src/local/provider/server.ts';
import type { RunningProvider } from '../../src/local/provider/server.ts';
import type { Reply, Script } from '../../src/local/provider/script.ts';
import { createGateways } from '../../src/main/gateway-client.ts';
import { freezePrices, operatorRow } from '../../src/policy/llm/prices.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import type { Gateway } from '../../src/run/ports.ts';

/*
 * A run as a worker has it, with the real gateway process behind its Unix socket, before a provider that keeps its own
 * books: the sink at which every case is judged.
 */

const HOST_KEY = 'sk-the-key-of-the-host-0123456789';
const CARD = { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75, cacheWrite1h: 6 };
const ROW = { inputPerMTok: 3, outputPerMTok: 15, cacheReadPerMTok: 0.3, cacheWritePerMTok: 3.75 };

export interface Answer {
  status: number;
  text: string;
  /** The connection broke before the answer's end. */
  broken: boolean;
}

export interface AskOptions {
  headers?: Record<string, string | string[]>;
  method?: string;
  /** Leaves once so many bytes of the answer are there. */
  leaveAfter?: number;
}

export interface LlmRun extends AsyncDisposable {
  provider: RunningProvider;
  gateway: Gateway;
  events: AuditEntry[];
  socket: string;
  /** Path below the provider, such as `/v1/messages`. */
  ask(path: string, body: unknown, options?: AskOptions): Promise<Answer>;
  /** The smallest call of a wire, with more or other fields. */
  call(wire: Wire, extra?: Record<string, unknown>, options?: AskOptions & { stream?: boolean }): Promise<Answer>;
  standing(): Promise<{ spent: number; reserved: number }>;
  /** Resolves once nothing is reserved any more. */
  quiet(): Promise<void>;
  refusals(): string[];
}

export const PATH: Record<Wire, (stream: boolean) => string> = {
  anthropic: () => '/v1/messages',
  'openai-chat': () => '/v1/chat/completions',
  'openai-responses': () => '/v1/responses',
  gemini: (stream) => `/v1beta/models/m:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
};

export const BASE: Record<Wire, Record<string, unknown>> = {
  anthropic: { model: 'm', max_tokens: 100, messages: [{ role: 'user', content: 'hi' }] },
  'openai-chat': { model: 'm', max_tokens: 100, messages: [{ role: 'user', content: 'hi' }] },
  'openai-responses': { model: 'm', max_output_tokens: 100, input: 'hi' },
  gemini: { contents: [{ role: 'user', parts: [{ text: 'hi' }] }], generationConfig: { maxOutputTokens: 100 } },
};

export async function openRun(
  options: { reply?: Reply | Script; limits?: Partial<Limits>; baseUrl?: string } = {},
): Promise<LlmRun> {
  const { reply = { text: 'hello' } } = options;
  const provider = await startProvider({
    apiKey: HOST_KEY,
    prices: { m: CARD, 'm-2': CARD },
    script: typeof reply === 'function' ? reply : () => reply,
  });
  const dataDir = mkdtempSync(join(tmpdir(), 'cflr-'));
  const ledger = createMemoryLedger();
  const events: AuditEntry[] = [];
  const account = { repository: 'o/a', installation: 'i' };
  const id = runId(crypto.getRandomValues(new Uint8Array(12)));
  const host = createGateways({
    dataDir,
    ledger,
    caFile: undefined,
    llm: {
      providers: [{ id: 'corp', wires: [...WIRES], baseUrl: options.baseUrl ?? provider.url, key: HOST_KEY }],
      models: ['m', 'm-*', 'unpriced'],
      prices: freezePrices([operatorRow('m', ROW), operatorRow('m-2', ROW)], '2026-11-24'),
    },
  });
  const gateway = await host.open({
    runId: id,
    policy: { rules: [{ host: 'allowed.test', source: 'test' }], deny: [], gitRepositories: [] },
    git: {},
    llm: true,
    limits: {
      maxCost: 10_000_000,
      repositoryDailyCost: 1e9,
      installationDailyCost: 1e9,
      timeoutMs: 600_000,
      maxTurns: 1_000,
      stepMs: 60_000,
      idleMs: 60_000,
      ...options.limits,
    },
    account,
    audit: {
      file: '',
      append: (entry) => Promise.resolve(void events.push(entry)),
      head: () => 'sha256:0' as Digest,
      seal: () => Promise.reject(new Error('not here')),
      close: () => Promise.resolve(),
    },
    signal: new AbortController().signal,
  });
  const socket = join(gateway.socketDir, 'gateway.sock');
  const standing = async (): Promise<{ spent: number; reserved: number }> => {
    const day = new Date().toISOString().slice(0, 10);
    return (await ledger.spent({ runId: id, repoKey: account.repository, installationKey: 'i', day })).run;
  };
  const asking = (path: string, body: unknown, how: AskOptions = {}): Promise<Answer> => ask(socket, path, body, how);
  return {
    provider,
    gateway,
    events,
    socket,
    ask: asking,
    call: (wire, extra = {}, { stream = true, ...how } = {}) =>
      asking(PATH[wire](stream), { ...BASE[wire], ...(wire === 'gemini' ? {} : { stream }), ...extra }, how),
    standing,
    quiet: async () => {
      while ((await standing()).reserved > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    refusals: () =>
      events.flatMap(({ type, decision }) =>
        type === 'llm.refuse' && decision?.allow === false ? [decision.reason] : [],
      ),
    [Symbol.asyncDispose]: async () => {
      await gateway.close();
      await provider.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function ask(socketPath: string, path: string, body: unknown, how: AskOptions): Promise<Answer> {
  return new Promise((resolve) => {
    let text = '';
    let status = 0;
    const request = httpRequest({
      socketPath,
      path: `http://llm.cofferdam.internal/corp${path}`,
      method: how.method ?? 'POST',
      headers: { 'content-type': 'application/json', host: 'llm.cofferdam.internal', ...how.headers },
      agent: false,
    });
    request.once('response', (response) => {
      status = response.statusCode ?? 0;
      response.on('data', (chunk: Buffer) => {
        // What is said at length is not kept.
        if (text.length < 2 ** 20) text += chunk.toString('latin1');
        if (how.leaveAfter !== undefined && text.length >= how.leaveAfter) request.destroy();
      });
      response.on('error', () => undefined);
      response.once('close', () => resolve({ status, text, broken: !response.complete }));
    });
    request.on('error', () => undefined);
    request.once('close', () => setTimeout(() => resolve({ status, text, broken: true }), 50));
    request.end(typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body));
  });
}
