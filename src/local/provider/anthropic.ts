import { bearer, contentText, count, isObject, objects, pieces, spread, sse, text } from './codec.ts';
import type { Answer, Codec, Frame, Json } from './codec.ts';
import type { ReadRequest, TokenCounts } from './script.ts';

/** Anthropic Messages, from the provider's side. */
export const anthropic: Codec = {
  key: (headers) => {
    const own = headers['x-api-key'];
    return typeof own === 'string' ? own : bearer(headers);
  },
  read,
  usage,
  whole: (answer) => ({ ...message(answer), content: content(answer), ...stop(answer), usage: answer.reported }),
  frames,
  textFrame: (piece) =>
    sse({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: piece } }, 'content_block_delta'),
  error: (status, message) => ({ type: 'error', error: { type: errorType(status), message } }),
};

function read(body: Json): ReadRequest {
  const messages = objects(body['messages']);
  const blocks = messages.flatMap((m) => objects(m['content']));
  return {
    model: text(body['model']),
    stream: body['stream'] === true,
    tools: objects(body['tools']).map((tool) => ({
      name: text(tool['name']),
      schema: isObject(tool['input_schema']) ? tool['input_schema'] : {},
      freeform: false,
    })),
    texts: [contentText(body['system']), ...messages.map((m) => contentText(m['content']))],
    rounds: messages.filter((m) => objects(m['content']).some((block) => block['type'] === 'tool_use')).length,
    results: blocks.filter((b) => b['type'] === 'tool_result').map((b) => contentText(b['content'])),
    maxTokens: count(body['max_tokens']),
    wantsUsage: true,
  };
}

function usage(counts: TokenCounts): Json {
  return {
    input_tokens: counts.input,
    cache_creation_input_tokens: counts.cacheWrite + counts.cacheWrite1h,
    cache_read_input_tokens: counts.cacheRead,
    cache_creation: { ephemeral_5m_input_tokens: counts.cacheWrite, ephemeral_1h_input_tokens: counts.cacheWrite1h },
    output_tokens: counts.output,
    service_tier: 'standard',
  };
}

function message(answer: Answer): Json {
  return { id: `msg_${answer.id}`, type: 'message', role: 'assistant', model: answer.model };
}

function stop(answer: Answer): Json {
  const reason = answer.truncated ? 'max_tokens' : answer.calls.length > 0 ? 'tool_use' : 'end_turn';
  return { stop_reason: reason, stop_sequence: null };
}

function content(answer: Answer): Json[] {
  return [
    ...(answer.text === '' ? [] : [{ type: 'text', text: answer.text }]),
    ...answer.calls.map((call, i) => ({
      type: 'tool_use',
      id: `toolu_${answer.id}_${i}`,
      name: call.name,
      input: call.args,
    })),
  ];
}

function frames(answer: Answer): Frame[] {
  const out: { sse: string; content?: boolean; carriesUsage?: true }[] = [];
  const push = (data: Json & { type: string }, extra: { content?: boolean; carriesUsage?: true } = {}): void => {
    out.push({ sse: sse(data, data.type), ...extra });
  };
  // The first frame tells the input; the output in it is what the real API sends there, a placeholder.
  const early = isObject(answer.reported) ? { ...answer.reported, output_tokens: 1 } : answer.reported;
  push({
    type: 'message_start',
    message: { ...message(answer), content: [], stop_reason: null, stop_sequence: null, usage: early },
  });
  push({ type: 'ping' });
  content(answer).forEach((block, index) => {
    const isText = block['type'] === 'text';
    push({
      type: 'content_block_start',
      index,
      content_block: isText ? { type: 'text', text: '' } : { ...block, input: {} },
    });
    const whole = isText ? text(block['text']) : JSON.stringify(block['input']);
    for (const piece of pieces(whole)) {
      const delta = isText ? { type: 'text_delta', text: piece } : { type: 'input_json_delta', partial_json: piece };
      push({ type: 'content_block_delta', index, delta }, { content: true });
    }
    push({ type: 'content_block_stop', index });
  });
  const late = isObject(answer.reported) ? { output_tokens: answer.reported['output_tokens'] } : answer.reported;
  push({ type: 'message_delta', delta: stop(answer), usage: late }, { carriesUsage: true });
  push({ type: 'message_stop' });
  return spread(out);
}

function errorType(status: number): string {
  const types: Record<number, string> = {
    400: 'invalid_request_error',
    401: 'authentication_error',
    403: 'permission_error',
    404: 'not_found_error',
    413: 'request_too_large',
    429: 'rate_limit_error',
    529: 'overloaded_error',
  };
  return types[status] ?? 'api_error';
}
