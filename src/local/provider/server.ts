import { createServer } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Wire } from '../../domain/policy.ts';
import { answerCall } from './answer.ts';
import { anthropic } from './anthropic.ts';
import { tokens } from './books.ts';
import type { BookEntry, PriceCard } from './books.ts';
import { isObject } from './codec.ts';
import type { Codec, Json } from './codec.ts';
import { gemini } from './gemini.ts';
import { openaiChat } from './openai-chat.ts';
import { openaiResponses } from './openai-responses.ts';
import type { Script, ScriptCall } from './script.ts';

const CODECS: Record<Wire, Codec> = {
  anthropic,
  'openai-chat': openaiChat,
  'openai-responses': openaiResponses,
  gemini,
};

/** One request as it arrived, for tests that look at what was forwarded. */
interface SeenCall extends ScriptCall {
  path: string;
  headers: IncomingHttpHeaders;
  body: Json;
  rawBody: string;
}

export interface ProviderOptions {
  script: Script;
  /** Requests with any other key are answered 401. */
  apiKey: string;
  /** By model; `*` is the card of every other model. A model without a card is answered 404. */
  prices: Record<string, PriceCard>;
  port?: number;
  host?: string;
}

export interface RunningProvider {
  /** Without a trailing slash; the OpenAI wires live under `/v1`, as do Anthropic's. */
  url: string;
  calls: SeenCall[];
  books: BookEntry[];
  /** Sum of the books in micro-dollars. */
  charged(): number;
  stop(): Promise<void>;
}

/**
 * Starts a model provider whose model is a script. It speaks Anthropic Messages, OpenAI Chat Completions and Responses
 * and Gemini generateContent, streamed and whole, and keeps books of what it charges.
 */
export async function startProvider(options: ProviderOptions): Promise<RunningProvider> {
  const calls: SeenCall[] = [];
  const books: BookEntry[] = [];
  const server = createServer((req, res) => {
    serve(req, res, { options, calls, books }).catch((error: unknown) => {
      if (res.headersSent) res.destroy();
      else json(res, 500, { error: { message: error instanceof Error ? error.message : String(error) } });
    });
  });
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${options.host ?? '127.0.0.1'}:${port}`,
    calls,
    books,
    charged: () => books.reduce((sum, entry) => sum + entry.cost, 0),
    stop: () => stop(server),
  };
}

interface State {
  options: ProviderOptions;
  calls: SeenCall[];
  books: BookEntry[];
}

async function serve(req: IncomingMessage, res: ServerResponse, state: State): Promise<void> {
  const url = new URL(req.url ?? '/', 'http://provider.invalid');
  if (req.method === 'HEAD') {
    res.writeHead(200).end();
    return;
  }
  const wire = wireOf(url.pathname);
  const codec = CODECS[wire ?? 'openai-chat'];
  if (codec.key(req.headers, url) !== state.options.apiKey) {
    json(res, 401, codec.error(401, 'invalid API key'));
    return;
  }
  if (req.method === 'GET' && /\/models$/.test(url.pathname)) {
    const data = Object.keys(state.options.prices).map((id) => ({ id, object: 'model', type: 'model' }));
    json(res, 200, { object: 'list', data, has_more: false });
    return;
  }
  const rawBody = await readAll(req);
  const body = parse(rawBody);
  if (req.method !== 'POST' || body === undefined) {
    json(res, req.method === 'POST' ? 400 : 404, codec.error(400, 'not a call that this provider knows'));
    return;
  }
  if (/(?:\/count_tokens|:countTokens)$/.test(url.pathname)) {
    const counted = tokens(rawBody.length);
    json(res, 200, wire === 'gemini' ? { totalTokens: counted } : { input_tokens: counted });
    return;
  }
  if (wire === undefined) {
    json(res, 404, codec.error(404, `no such endpoint: ${url.pathname}`));
    return;
  }
  const read = codec.read(body, url);
  const index = state.calls.length;
  const call: SeenCall = {
    ...read,
    wire,
    index,
    main: read.tools.length > 0,
    path: req.url ?? '/',
    headers: req.headers,
    body,
    rawBody,
  };
  state.calls.push(call);
  const card = state.options.prices[read.model] ?? state.options.prices['*'];
  if (card === undefined) {
    json(res, 404, codec.error(404, `model not found: ${read.model}`));
    return;
  }
  const entry: BookEntry = { index, model: read.model, usage: nothing(), cost: 0, outcome: 'open' };
  state.books.push(entry);
  await answerCall({ call, codec, card, entry, script: state.options.script, res });
}

function nothing(): BookEntry['usage'] {
  return { input: 0, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output: 0 };
}

function wireOf(path: string): Wire | undefined {
  if (/\/messages(?:\/count_tokens)?$/.test(path)) return 'anthropic';
  if (/\/chat\/completions$/.test(path)) return 'openai-chat';
  if (/\/responses$/.test(path)) return 'openai-responses';
  return /\/models\/[^/]+:\w+$/.test(path) ? 'gemini' : undefined;
}

async function readAll(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function parse(raw: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(raw);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function json(res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

async function stop(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
