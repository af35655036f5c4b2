/*
 * `http://llm.cofferdam.internal/<provider>/…`: the only way of a run to a model. Trust: every byte of a request is the
 * hostile sandbox's. Nothing is forwarded before the worker has recorded it and holds its worst case, and nothing that
 * the policy did not write into the forwarded request reaches a provider.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { deny } from '../../domain/decision.ts';
import { affordableOutput, worstCase } from '../../policy/llm/bound.ts';
import { callInputBound, limitOutput } from '../../policy/llm/judge.ts';
import type { LlmCall } from '../../policy/llm/judge.ts';
import { countRequest } from '../../policy/llm/count.ts';
import { addNotices, takesNotices } from '../../policy/llm/notices.ts';
import { cost } from '../../policy/llm/prices.ts';
import type { PriceTable } from '../../policy/llm/prices.ts';
import { sendError, sendModels } from './answers.ts';
import { countInput } from './count.ts';
import { exchange } from './exchange.ts';
import type { Exchanged } from './exchange.ts';
import { chooseWire, judge, noteForeignKeys, parseTarget, readBody } from './intake.ts';
import type { IntakeContext } from './intake.ts';
import { LLM_LIMITS, NOTICE_BYTES } from './port.ts';
import type {
  LlmEvent,
  LlmHandlerLimits,
  LlmProvider,
  LlmReserveAnswer,
  LlmSettlement,
  LlmWorkerPort,
} from './port.ts';
import type { UpstreamRequest } from './upstream.ts';

export interface LlmHandlerOptions {
  providers: readonly LlmProvider[];
  /** Patterns of models that this run may use. */
  models: readonly string[];
  prices: PriceTable;
  /** Stands for user ids, cache keys and their kin. */
  runHash: string;
  ask: LlmWorkerPort;
  request: UpstreamRequest;
  onEvent: (event: LlmEvent) => void;
  limits?: Partial<LlmHandlerLimits>;
  /** What agents are configured with in place of a key; any other credential is recorded. */
  placeholderKey: string;
  /** Monotonic milliseconds. */
  now?: () => number;
}

export interface LlmHandler {
  (req: IncomingMessage, res: ServerResponse): void;
  /** Ends model access: calls under way are broken off and charged, new ones refused. */
  close(): void;
  /** Calls under way. */
  active(): number;
}

interface Context extends IntakeContext, Required<Omit<LlmHandlerOptions, 'limits' | 'placeholderKey'>> {
  closed: AbortController;
}

/** Makes the handler for one run's gateway. */
export function createLlmHandler(options: LlmHandlerOptions): LlmHandler {
  const context: Context = {
    now: () => performance.now(),
    ...options,
    limits: { ...LLM_LIMITS, ...options.limits },
    stripped: new Set(),
    closed: new AbortController(),
  };
  let active = 0;
  /** Of them those whose client is still there; the others settle, or are read to their end. */
  let served = 0;

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    active++;
    served++;
    res.once('close', () => served--);
    try {
      const { maxConcurrent } = context.limits;
      await handle(req, res, { context, crowded: served > maxConcurrent || active > 4 * maxConcurrent });
    } catch (error) {
      context.onEvent({
        type: 'llm.refuse',
        data: { problem: 'internal', error: error instanceof Error ? error.name : 'unknown' },
      });
      sendError(res, 'openai-chat', {
        status: 400,
        type: 'api_error',
        message: 'Cofferdam: the gateway failed on this request',
      });
    } finally {
      active--;
    }
  }

  const handler = (req: IncomingMessage, res: ServerResponse): void => void answer(req, res);
  return Object.assign(handler, { close: () => context.closed.abort(), active: () => active });
}

async function handle(
  req: IncomingMessage,
  res: ServerResponse,
  at: { context: Context; crowded: boolean },
): Promise<void> {
  const { context } = at;
  // A dead connection is noticed where bytes are written; nothing else may come of it.
  req.on('error', () => undefined);
  res.on('error', () => undefined);
  const method = req.method ?? 'GET';
  const target = parseTarget(req.url ?? '/');
  const provider = context.providers.find(({ id }) => id === target.provider);
  const wire = provider === undefined ? 'openai-chat' : chooseWire(provider, method, target.path);
  const refuse = (say: string, decision = deny('llm.endpoint', 'llm_endpoint')): void => {
    context.onEvent({
      type: 'llm.refuse',
      decision,
      data: { provider: target.provider, method, path: shorten(target.path), say },
    });
    sendError(res, wire, {
      status: 400,
      type: 'invalid_request_error',
      message: `Cofferdam: ${say}`,
      close: !req.complete,
    });
  };
  if (method === 'HEAD') {
    // How some clients ask whether anybody is there.
    res.writeHead(200).end();
    return;
  }
  if (provider === undefined) {
    const known = context.providers.map(({ id }) => id).join(', ') || 'none';
    refuse(`no provider ${JSON.stringify(target.provider.slice(0, 32))} is configured (known: ${known})`);
    return;
  }
  if (context.closed.signal.aborted) {
    refuse('model access of this run has ended', deny('llm.closed', 'llm_closed'));
    return;
  }
  if (at.crowded) {
    sendError(res, wire, {
      status: 429,
      type: 'rate_limit_error',
      message: 'Cofferdam: too many calls at once',
      retryAfter: 1,
      close: !req.complete,
    });
    return;
  }
  noteForeignKeys(req, provider, context);
  const body = await readBody(req, context.limits.maxBodyBytes);
  if (body === undefined) {
    refuse(
      `the request is larger than ${context.limits.maxBodyBytes} bytes or broke off`,
      deny('llm.body', 'too_large'),
    );
    return;
  }
  const judged = judge({ method, path: target.path, headers: req.headers, body }, { provider, wire, context });
  if (!('call' in judged)) {
    if ('models' in judged)
      sendModels(res, { wire, provider, models: context.models, prices: context.prices, only: judged.model });
    else refuse(judged.say, judged.decision);
    return;
  }
  await forward(judged.call, { provider, res, context, refuse });
}

interface Forwarding {
  provider: LlmProvider;
  res: ServerResponse;
  context: Context;
  refuse: (say: string, decision: ReturnType<typeof deny>) => void;
}

/** Reserve, send, settle. */
async function forward(call: LlmCall, at: Forwarding): Promise<void> {
  const { res, context, refuse } = at;
  const bytes = prepare(call, context.limits);
  if (call.kind === 'count') {
    await send(call, bytes.body, at);
    return;
  }
  const callId = randomUUID();
  const { ready, answer } = await reserve(call, { callId, ready: bytes, at });
  if (!answer.ok) {
    refuse(answer.say, deny('llm.ledger', answer.reason));
    return;
  }
  const started = context.now();
  const settle = async (
    ended: Pick<LlmSettlement, 'outcome' | 'cost' | 'status' | 'aborted'> & Partial<LlmSettlement>,
  ): Promise<void> => {
    await context.ask.settle({ callId, ms: context.now() - started, ...ended });
  };
  if (res.destroyed || context.closed.signal.aborted) {
    await settle({ outcome: 'released', cost: 0, status: 0, aborted: true });
    if (context.closed.signal.aborted) refuse('model access of this run has ended', deny('llm.closed', 'llm_closed'));
    return;
  }
  addNotices(call, answer.notices);
  const exchanged = await send(call, fit(call, ready, answer), at);
  await settle(settlement(call, { exchanged, granted: answer.granted, input: ready.input }));
}

/** Below this a count, with its margin, is hardly tighter than the bytes. */
const COUNTED_FROM_TOKENS = 4_000;

/** Holds the worst case; where the bound by bytes does not fit, the provider is asked for its count and the call once more. */
async function reserve(
  call: LlmCall,
  { callId, ready, at }: { callId: string; ready: Ready; at: Forwarding },
): Promise<{ ready: Ready; answer: LlmReserveAnswer }> {
  const { provider, context } = at;
  const ask = ({ amount, atLeast, input, tellable }: Ready, loose: boolean): Promise<LlmReserveAnswer> =>
    context.ask.reserve({
      callId,
      provider: provider.id,
      wire: call.wire,
      model: call.model,
      main: call.main,
      stream: call.stream,
      amount,
      atLeast,
      inputTokens: input,
      outputTokens: call.output,
      tellable,
      loose,
    });
  const countable = ready.input >= COUNTED_FROM_TOKENS && countRequest(call) !== undefined;
  const first = await ask(ready, countable);
  if (first.ok || first.reason !== 'llm_budget' || !countable) return { ready, answer: first };
  const signal = context.closed.signal;
  const counted = await countInput(call, { provider, request: context.request, signal });
  context.onEvent({
    type: 'llm.count',
    data: { provider: provider.id, model: call.model, byBytes: ready.input, counted: counted ?? null },
  });
  const tighter = counted === undefined ? ready : bounded(call, { ready, input: counted, limits: context.limits });
  return { ready: tighter, answer: await ask(tighter, false) };
}

interface Ready {
  body: Buffer;
  tellable: boolean;
  /** Upper bound of the input tokens, with room for what the host has to say. */
  input: number;
  amount: number;
  atLeast: number;
}

function prepare(call: LlmCall, limits: LlmHandlerLimits): Ready {
  const body = serialise(call);
  // Only a step of the agent's work: who asks for a title would not act on it.
  const tellable = call.main && takesNotices(call);
  const input = callInputBound(call, body.length + (tellable ? NOTICE_BYTES : 0));
  return { body, tellable, input, ...amounts(call, input, limits) };
}

/** The same call with a count of its input; what the host has to say comes on top. */
function bounded(
  call: LlmCall,
  { ready, input, limits }: { ready: Ready; input: number; limits: LlmHandlerLimits },
): Ready {
  const tighter = Math.min(ready.input, input + (ready.tellable ? NOTICE_BYTES : 0));
  return { ...ready, input: tighter, ...amounts(call, tighter, limits) };
}

function amounts(call: LlmCall, input: number, limits: LlmHandlerLimits): { amount: number; atLeast: number } {
  const priced = { row: call.row, wire: call.wire, input, cache: call.found.cache };
  return {
    amount: worstCase({ ...priced, output: call.output }),
    atLeast: worstCase({ ...priced, output: Math.min(call.output, limits.minOutputTokens) }),
  };
}

/** A smaller grant lowers the output limit; the input's bound stays, since fewer digits make no longer body. */
function fit(call: LlmCall, ready: Ready, { granted, notices }: { granted: number; notices: string[] }): Buffer {
  if (granted >= ready.amount) return notices.length === 0 ? ready.body : serialise(call);
  const { row, wire, found, output } = call;
  const affordable = affordableOutput({
    row,
    wire,
    input: ready.input,
    cache: found.cache,
    amount: granted,
    wanted: output,
  });
  limitOutput(call, Math.max(1, affordable));
  return serialise(call);
}

function serialise(call: LlmCall): Buffer {
  return Buffer.from(JSON.stringify(call.body));
}

function send(call: LlmCall, body: Buffer, { provider, res, context }: Forwarding): Promise<Exchanged> {
  return exchange({
    call,
    body,
    provider,
    res,
    request: context.request,
    limits: context.limits,
    now: context.now,
    onUpstream: (data) =>
      context.onEvent({ type: 'llm.upstream', data: { provider: provider.id, model: call.model, ...data } }),
    signal: context.closed.signal,
  });
}

/** The provider's usage decides; without one the larger of reservation and own count is charged. */
function settlement(
  call: LlmCall,
  { exchanged, granted, input }: { exchanged: Exchanged; granted: number; input: number },
): Omit<LlmSettlement, 'callId' | 'ms'> {
  const { charged, usage, textBytes, status, aborted, firstByteMs } = exchanged;
  const seen = { status, aborted, ...(firstByteMs === undefined ? {} : { firstByteMs }) };
  if (!charged) return { ...seen, outcome: 'released', cost: 0 };
  if (usage !== undefined) return { ...seen, outcome: 'usage', cost: cost(call.row, usage), usage };
  const counted = { input, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output: Math.ceil(textBytes / 4) };
  // Text is about four bytes a token; only a provider that ignored its limit makes this the larger one.
  const beyond = counted.output > call.output * 2 ? cost(call.row, counted) : 0;
  return { ...seen, outcome: 'reserved', cost: Math.max(granted, beyond) };
}

function shorten(path: string): string {
  return (path.split('?')[0] ?? '').slice(0, 200);
}
