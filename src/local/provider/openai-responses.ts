import { argsText, bearer, contentText, count, isObject, objects, pieces, spread, sse, text } from './codec.ts';
import type { Answer, Codec, Frame, Json } from './codec.ts';
import type { OfferedTool, ReadRequest, TokenCounts } from './script.ts';

/** OpenAI Responses, from the provider's side. */
export const openaiResponses: Codec = {
  key: (headers) => bearer(headers),
  read,
  usage,
  whole: (answer) => response(answer, answer.truncated ? 'incomplete' : 'completed', output(answer)),
  frames,
  textFrame: (piece) =>
    sse(
      {
        type: 'response.output_text.delta',
        item_id: 'msg_endless',
        output_index: 0,
        content_index: 0,
        delta: piece,
        sequence_number: 1,
      },
      'response.output_text.delta',
    ),
  error: (status, message) => ({
    error: { message, type: status === 429 ? 'rate_limit_exceeded' : 'invalid_request_error', param: null, code: null },
  }),
};

const CALLS = new Set(['function_call', 'custom_tool_call', 'local_shell_call']);

function read(body: Json): ReadRequest {
  const input = body['input'];
  const items = typeof input === 'string' ? [{ type: 'message', content: input }] : objects(input);
  const isCall = items.map((item) => CALLS.has(text(item['type'])));
  return {
    model: text(body['model']),
    stream: body['stream'] === true,
    tools: objects(body['tools']).flatMap(tool),
    texts: [text(body['instructions']), ...items.map((item) => contentText(item['content']))],
    rounds: isCall.filter((call, i) => call && isCall[i - 1] !== true).length,
    results: items.filter((item) => /_output$/.test(text(item['type']))).map((item) => contentText(item['output'])),
    maxTokens: count(body['max_output_tokens']),
    wantsUsage: true,
  };
}

function tool(offered: Json): OfferedTool[] {
  if (offered['type'] === 'function') {
    const schema = offered['parameters'];
    return [{ name: text(offered['name']), schema: isObject(schema) ? schema : {}, freeform: false }];
  }
  return offered['type'] === 'custom' ? [{ name: text(offered['name']), schema: {}, freeform: true }] : [];
}

function usage(counts: TokenCounts): Json {
  const inputs = counts.input + counts.cacheRead + counts.cacheWrite + counts.cacheWrite1h;
  return {
    input_tokens: inputs,
    input_tokens_details: { cached_tokens: counts.cacheRead },
    output_tokens: counts.output,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: inputs + counts.output,
  };
}

function response(answer: Answer, status: string, items: Json[]): Json {
  return {
    id: `resp_${answer.id}`,
    object: 'response',
    created_at: 1_700_000_000,
    status,
    model: answer.model,
    output: items,
    parallel_tool_calls: true,
    tool_choice: 'auto',
    tools: [],
    store: false,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    usage: status === 'in_progress' ? null : answer.reported,
  };
}

function messageItem(answer: Answer, status: string, content: Json[]): Json {
  return { id: `msg_${answer.id}`, type: 'message', role: 'assistant', status, content };
}

function output(answer: Answer): Json[] {
  const said = { type: 'output_text', text: answer.text, annotations: [], logprobs: [] };
  return [
    ...(answer.text === '' ? [] : [messageItem(answer, 'completed', [said])]),
    ...answer.calls.map((call, i) => {
      const base = {
        id: `fc_${answer.id}_${i}`,
        call_id: `call_${answer.id}_${i}`,
        name: call.name,
        status: 'completed',
      };
      return typeof call.args === 'string'
        ? { ...base, type: 'custom_tool_call', input: call.args }
        : { ...base, type: 'function_call', arguments: argsText(call) };
    }),
  ];
}

interface Draft {
  sse: string;
  content?: boolean;
  carriesUsage?: true;
}

function frames(answer: Answer): Frame[] {
  const out: Draft[] = [];
  const push = (data: Json & { type: string }, extra: Omit<Draft, 'sse'> = {}): void => {
    out.push({ sse: sse({ ...data, sequence_number: out.length }, data.type), ...extra });
  };
  push({ type: 'response.created', response: response(answer, 'in_progress', []) });
  push({ type: 'response.in_progress', response: response(answer, 'in_progress', []) });
  output(answer).forEach((item, index) => {
    if (item['type'] === 'message') messageFrames(answer, index, push);
    else callFrames(item, index, push);
  });
  const type = answer.truncated ? 'response.incomplete' : 'response.completed';
  const status = answer.truncated ? 'incomplete' : 'completed';
  push({ type, response: response(answer, status, output(answer)) }, { carriesUsage: true });
  return spread(out);
}

type Push = (data: Json & { type: string }, extra?: Omit<Draft, 'sse'>) => void;

function messageFrames(answer: Answer, index: number, push: Push): void {
  const at = { item_id: `msg_${answer.id}`, output_index: index, content_index: 0 };
  const part = (said: string): Json => ({ type: 'output_text', text: said, annotations: [], logprobs: [] });
  push({ type: 'response.output_item.added', output_index: index, item: messageItem(answer, 'in_progress', []) });
  push({ type: 'response.content_part.added', ...at, part: part('') });
  for (const delta of pieces(answer.text)) {
    push({ type: 'response.output_text.delta', ...at, delta, logprobs: [] }, { content: true });
  }
  push({ type: 'response.output_text.done', ...at, text: answer.text, logprobs: [] });
  push({ type: 'response.content_part.done', ...at, part: part(answer.text) });
  const item = messageItem(answer, 'completed', [part(answer.text)]);
  push({ type: 'response.output_item.done', output_index: index, item });
}

function callFrames(item: Json, index: number, push: Push): void {
  const custom = item['type'] === 'custom_tool_call';
  const field = custom ? 'input' : 'arguments';
  const event = custom ? 'response.custom_tool_call_input' : 'response.function_call_arguments';
  const at = { item_id: item['id'], output_index: index };
  push({
    type: 'response.output_item.added',
    output_index: index,
    item: { ...item, status: 'in_progress', [field]: '' },
  });
  for (const delta of pieces(text(item[field]))) push({ type: `${event}.delta`, ...at, delta }, { content: true });
  push({ type: `${event}.done`, ...at, [field]: item[field] });
  push({ type: 'response.output_item.done', output_index: index, item });
}
