import { contentText, count, isObject, objects, pieces, spread, sse, text } from './codec.ts';
import type { Answer, Codec, Frame, Json } from './codec.ts';
import type { ReadRequest, TokenCounts } from './script.ts';

/** Gemini generateContent, from the provider's side. Model and streaming are in the path. */
export const gemini: Codec = {
  key: (headers, url) => {
    const own = headers['x-goog-api-key'];
    return typeof own === 'string' ? own : (url.searchParams.get('key') ?? undefined);
  },
  read,
  usage,
  whole: (answer) => chunk(answer, parts(answer), true),
  frames,
  textFrame: (piece) => sse({ candidates: [{ content: { role: 'model', parts: [{ text: piece }] }, index: 0 }] }),
  error: (status, message) => ({ error: { code: status, message, status: grpcStatus(status) } }),
};

function read(body: Json, url: URL): ReadRequest {
  const path = /\/models\/([^/:]+):(\w+)$/.exec(url.pathname);
  const contents = objects(body['contents']);
  const allParts = contents.flatMap((content) => objects(content['parts']));
  const config = body['generationConfig'];
  const system = body['systemInstruction'];
  return {
    model: decodeURIComponent(path?.[1] ?? ''),
    stream: path?.[2] === 'streamGenerateContent',
    tools: objects(body['tools'])
      .flatMap((tool) => objects(tool['functionDeclarations']))
      .map((fn) => ({ name: text(fn['name']), schema: schemaOf(fn), freeform: false })),
    texts: [
      isObject(system) ? contentText(system['parts']) : '',
      ...contents.map((content) => contentText(content['parts'])),
    ],
    rounds: contents.filter((c) => objects(c['parts']).some((part) => isObject(part['functionCall']))).length,
    results: allParts
      .map((part) => part['functionResponse'])
      .filter(isObject)
      .map((response) => JSON.stringify(response['response'])),
    maxTokens: isObject(config) ? count(config['maxOutputTokens']) : undefined,
    wantsUsage: true,
  };
}

function schemaOf(fn: Json): Json {
  const schema = fn['parametersJsonSchema'] ?? fn['parameters'];
  return isObject(schema) ? schema : {};
}

function usage(counts: TokenCounts): Json {
  const prompt = counts.input + counts.cacheRead + counts.cacheWrite + counts.cacheWrite1h;
  return {
    promptTokenCount: prompt,
    candidatesTokenCount: counts.output,
    totalTokenCount: prompt + counts.output,
    ...(counts.cacheRead > 0 ? { cachedContentTokenCount: counts.cacheRead } : {}),
  };
}

function parts(answer: Answer): Json[] {
  return [
    ...(answer.text === '' ? [] : [{ text: answer.text }]),
    ...answer.calls.map((call) => ({ functionCall: { name: call.name, args: call.args } })),
  ];
}

function chunk(answer: Answer, content: Json[], last: boolean): Json {
  const candidate = { content: { role: 'model', parts: content }, index: 0 };
  return {
    candidates: [last ? { ...candidate, finishReason: answer.truncated ? 'MAX_TOKENS' : 'STOP' } : candidate],
    ...(last && answer.reported !== undefined ? { usageMetadata: answer.reported } : {}),
    modelVersion: answer.model,
    responseId: answer.id,
  };
}

function frames(answer: Answer): Frame[] {
  const said = pieces(answer.text).map((piece) => ({
    sse: sse(chunk(answer, [{ text: piece }], false)),
    content: true,
  }));
  const called = answer.calls.map((call) => ({
    sse: sse(chunk(answer, [{ functionCall: { name: call.name, args: call.args } }], false)),
    content: true,
  }));
  return spread([...said, ...called, { sse: sse(chunk(answer, [], true)), carriesUsage: true }]);
}

function grpcStatus(status: number): string {
  const names: Record<number, string> = {
    400: 'INVALID_ARGUMENT',
    401: 'UNAUTHENTICATED',
    403: 'PERMISSION_DENIED',
    404: 'NOT_FOUND',
    429: 'RESOURCE_EXHAUSTED',
    503: 'UNAVAILABLE',
  };
  return names[status] ?? 'INTERNAL';
}
