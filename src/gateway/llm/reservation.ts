/* What is held for a call before it goes out, and how its body is made to fit into what was granted. */
import { affordableOutput, worstCase } from '../../policy/llm/bound.ts';
import { canCount } from '../../policy/llm/count.ts';
import { callInputBound, limitOutput } from '../../policy/llm/judge.ts';
import type { LlmCall } from '../../policy/llm/judge.ts';
import { takesNotices } from '../../policy/llm/notices.ts';
import { countInput } from './count.ts';
import { NOTICE_BYTES } from './port.ts';
import type { LlmEvent, LlmHandlerLimits, LlmProvider, LlmReserveAnswer, LlmWorkerPort } from './port.ts';
import type { UpstreamRequest } from './upstream.ts';

/** A call that may be asked for; amounts in micro-dollars. */
interface Ready {
  body: Buffer;
  tellable: boolean;
  /** Upper bound of the input tokens, with room for what the host has to say. */
  input: number;
  amount: number;
  atLeast: number;
}

/** Below this a count, with its margin, is hardly tighter than the bytes. */
const COUNTED_FROM_TOKENS = 4_000;

/** Holds the worst case; where the bound by bytes does not fit, the provider is asked for its count and the call once more. */
export async function reserve(
  call: LlmCall,
  at: {
    callId: string;
    ready: Ready;
    provider: LlmProvider;
    ask: LlmWorkerPort;
    request: UpstreamRequest;
    limits: LlmHandlerLimits;
    onEvent: (event: LlmEvent) => void;
    signal: AbortSignal;
  },
): Promise<{ ready: Ready; answer: LlmReserveAnswer }> {
  const { callId, ready, provider, limits } = at;
  const ask = ({ amount, atLeast, input, tellable }: Ready, loose: boolean): Promise<LlmReserveAnswer> =>
    at.ask.reserve({
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
  const countable = ready.input >= COUNTED_FROM_TOKENS && canCount(call.wire);
  const first = await ask(ready, countable);
  if (first.ok || first.reason !== 'llm_budget' || !countable) return { ready, answer: first };
  const counted = await countInput(call, at);
  at.onEvent({
    type: 'llm.count',
    data: { provider: provider.id, model: call.model, byBytes: ready.input, counted: counted ?? null },
  });
  const tighter = counted === undefined ? ready : bounded(call, { ready, input: counted, limits });
  return { ready: tighter, answer: await ask(tighter, false) };
}

/** The body as it goes out, and what it can cost. */
export function prepare(call: LlmCall, limits: LlmHandlerLimits): Ready {
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
export function fit(call: LlmCall, ready: Ready, { granted, notices }: { granted: number; notices: string[] }): Buffer {
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
