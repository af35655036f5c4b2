/*
 * `http://llm.cofferdam.internal/<provider>/…`: the only way of a run to a model. Trust: every byte of a request is the
 * hostile sandbox's. Nothing is forwarded before the worker has recorded it and holds its worst case, and nothing that
 * the policy did not write into the forwarded request reaches a provider.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { deny } from '../../domain/decision.ts';
import type { Wire } from '../../domain/policy.ts';
import type { LlmCall } from '../../policy/llm/judge.ts';
import { addNotices } from '../../policy/llm/notices.ts';
import { cost } from '../../policy/llm/prices.ts';
import type { PriceTable } from '../../policy/llm/prices.ts';
import { sendError, sendModels } from './answers.ts';
import { prepareExchange } from './exchange.ts';
import type { Exchanged, Prepared } from './exchange.ts';
import { chooseWire, judge, noteForeignKeys, parseTarget, readBody } from './intake.ts';
import type { IntakeContext } from './intake.ts';
import { LLM_LIMITS } from './port.ts';
import type { LlmEvent, LlmHandlerLimits, LlmProvider, LlmSettlement, LlmWorkerPort } from './port.ts';
import { fit, prepare, reserve } from './reservation.ts';
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
  /** Whether the last call was refused by the worker. */
  refused: { last: boolean };
}

/** Makes the handler for one run's gateway. */
export function createLlmHandler(options: LlmHandlerOptions): LlmHandler {
  const context: Context = {
    now: () => performance.now(),
    ...options,
    limits: { ...LLM_LIMITS, ...options.limits },
    stripped: new Set(),
    closed: new AbortController(),
    refused: { last: false },
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
      sendError(res, addressed(req, context).wire, {
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

/** Whom a request is for, and in whose words it is answered. */
function addressed(
  req: IncomingMessage,
  { providers }: Context,
): { method: string; target: ReturnType<typeof parseTarget>; provider: LlmProvider | undefined; wire: Wire } {
  const method = req.method ?? 'GET';
  const target = parseTarget(req.url ?? '/');
  const provider = providers.find(({ id }) => id === target.provider);
  return { method, target, provider, wire: provider ? chooseWire(provider, method, target.path) : 'openai-chat' };
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
  const { method, target, provider, wire } = addressed(req, context);
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
      `the request is larger than ${context.limits.maxBodyBytes} bytes, broke off, or is not in the gzip that it says`,
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

/** The worker could not answer: without its word nothing is forwarded. */
const UNACCOUNTED = {
  ok: false,
  reason: 'llm_unaccounted',
  say: 'the call was not made, since the budget cannot be asked: the operator has to look at the worker and its Redis',
} as const;

/** Reserve, send, settle. */
async function forward(call: LlmCall, at: Forwarding): Promise<void> {
  const { res, context, refuse } = at;
  const bytes = prepare(call, context.limits);
  if (call.kind === 'count') {
    const data = { provider: at.provider.id, model: call.model, byBytes: bytes.input, counted: null, forAgent: true };
    context.onEvent({ type: 'llm.count', data });
    await prepared(call, at).send(bytes.body);
    return;
  }
  const callId = randomUUID();
  const asked = reserve(call, {
    callId,
    ready: bytes,
    provider: at.provider,
    ...context,
    signal: context.closed.signal,
  });
  let early: Prepared | undefined;
  // While the worker works, once the question is out. Whoever was refused last time shall not open connections by asking.
  const opening = context.refused.last ? undefined : setImmediate(() => (early = prepared(call, at)));
  const { ready, answer } = await asked
    .catch(() => ({ ready: bytes, answer: UNACCOUNTED }))
    .finally(() => clearImmediate(opening));
  context.refused.last = !answer.ok;
  if (!answer.ok) {
    early?.drop();
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
    early?.drop();
    await settle({ outcome: 'released', cost: 0, status: 0, aborted: true });
    if (context.closed.signal.aborted) refuse('model access of this run has ended', deny('llm.closed', 'llm_closed'));
    return;
  }
  addNotices(call, answer.notices);
  const exchanged = await (early ?? prepared(call, at)).send(fit(call, ready, answer));
  await settle(settlement(call, { exchanged, granted: answer.granted, input: ready.input }));
}

function prepared(call: LlmCall, { provider, res, context }: Forwarding): Prepared {
  return prepareExchange({
    call,
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

/** The provider's usage decides, at the dearer of our price and its own word; without one the larger of reservation and own count is charged. */
function settlement(
  call: LlmCall,
  { exchanged, granted, input }: { exchanged: Exchanged; granted: number; input: number },
): Omit<LlmSettlement, 'callId' | 'ms'> {
  const { charged, usage, told = 0, textBytes, status, aborted, firstByteMs } = exchanged;
  const seen = { status, aborted, ...(firstByteMs === undefined ? {} : { firstByteMs }) };
  if (!charged) return { ...seen, outcome: 'released', cost: 0 };
  if (usage !== undefined) return { ...seen, outcome: 'usage', cost: Math.max(cost(call.row, usage), told), usage };
  const counted = { input, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output: Math.ceil(textBytes / 4) };
  // Text is about four bytes a token; only a provider that ignored its limit makes this the larger one.
  const beyond = counted.output > call.output * 2 ? cost(call.row, counted) : 0;
  return { ...seen, outcome: 'reserved', cost: Math.max(granted, beyond) };
}

function shorten(path: string): string {
  return (path.split('?')[0] ?? '').slice(0, 200);
}
