import { argsText, bearer, contentText, count, isObject, objects, pieces, spread, sse, text } from './codec.ts';
import type { Answer, Codec, Frame, Json } from './codec.ts';
import type { ReadRequest, TokenCounts } from './script.ts';

/** OpenAI Chat Completions, from the provider's side. `api-key` is how Azure's variant carries the key. */
export const openaiChat: Codec = {
  key: (headers) => {
    const azure = headers['api-key'];
    return bearer(headers) ?? (typeof azure === 'string' ? azure : undefined);
  },
  read,
  usage,
  whole: (answer) => ({
    ...envelope(answer, 'chat.completion'),
    choices: [
      {
        index: 0,
        message: {
          role: 'assistant',
          content: answer.text === '' ? null : answer.text,
          ...(answer.calls.length === 0 ? {} : { tool_calls: toolCalls(answer) }),
        },
        logprobs: null,
        finish_reason: finish(answer),
      },
    ],
    usage: answer.reported,
  }),
  frames,
  textFrame: (piece) =>
    sse({
      id: 'chatcmpl-endless',
      object: 'chat.completion.chunk',
      created: 0,
      model: 'endless',
      choices: [{ index: 0, delta: { content: piece }, finish_reason: null }],
    }),
  error: (status, message) => ({
    error: { message, type: status === 429 ? 'rate_limit_exceeded' : 'invalid_request_error', param: null, code: null },
  }),
};

function read(body: Json): ReadRequest {
  const messages = objects(body['messages']);
  const options = body['stream_options'];
  return {
    model: text(body['model']),
    stream: body['stream'] === true,
    tools: objects(body['tools']).flatMap((tool) => {
      const fn = tool['function'];
      if (!isObject(fn)) return [];
      return [
        {
          name: text(fn['name']),
          schema: isObject(fn['parameters']) ? fn['parameters'] : {},
          freeform: false,
        },
      ];
    }),
    texts: messages.map((m) => contentText(m['content'])),
    rounds: messages.filter((m) => objects(m['tool_calls']).length > 0).length,
    results: messages.filter((m) => m['role'] === 'tool').map((m) => contentText(m['content'])),
    maxTokens: count(body['max_completion_tokens']) ?? count(body['max_tokens']),
    wantsUsage: isObject(options) && options['include_usage'] === true,
  };
}

function usage(counts: TokenCounts): Json {
  const cached = counts.cacheRead;
  const prompt = counts.input + cached + counts.cacheWrite + counts.cacheWrite1h;
  return {
    prompt_tokens: prompt,
    completion_tokens: counts.output,
    total_tokens: prompt + counts.output,
    prompt_tokens_details: { cached_tokens: cached, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  };
}

function envelope(answer: Answer, object: string): Json {
  return { id: `chatcmpl-${answer.id}`, object, created: 1_700_000_000, model: answer.model };
}

function finish(answer: Answer): string {
  return answer.truncated ? 'length' : answer.calls.length > 0 ? 'tool_calls' : 'stop';
}

function toolCalls(answer: Answer): Json[] {
  return answer.calls.map((call, i) => ({
    id: `call_${answer.id}_${i}`,
    type: 'function',
    function: { name: call.name, arguments: argsText(call) },
  }));
}

function frames(answer: Answer): Frame[] {
  const out: { sse: string; content?: boolean; carriesUsage?: true }[] = [];
  const base = envelope(answer, 'chat.completion.chunk');
  const push = (delta: Json, content = false, finishReason: string | null = null): void => {
    out.push({ sse: sse({ ...base, choices: [{ index: 0, delta, finish_reason: finishReason }] }), content });
  };
  push({ role: 'assistant', content: '' });
  for (const piece of pieces(answer.text)) push({ content: piece }, true);
  toolCalls(answer).forEach((call, index) => {
    const fn = call['function'] as { name: string; arguments: string };
    push({ tool_calls: [{ index, ...call, function: { name: fn.name, arguments: '' } }] });
    for (const piece of pieces(fn.arguments)) {
      push({ tool_calls: [{ index, function: { arguments: piece } }] }, true);
    }
  });
  push({}, false, finish(answer));
  if (answer.wantsUsage && answer.reported !== undefined) {
    out.push({ sse: sse({ ...base, choices: [], usage: answer.reported }), carriesUsage: true });
  }
  out.push({ sse: 'data: [DONE]\n\n' });
  return spread(out);
}
