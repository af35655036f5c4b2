import { describe, expect, test } from 'vitest';
import type { DenyReason } from '../../src/domain/decision.ts';
import type { Wire } from '../../src/domain/policy.ts';
import { affordableOutput, inputBound, worstCase } from '../../src/policy/llm/bound.ts';
import { judgeCall, limitOutput, wildcard } from '../../src/policy/llm/judge.ts';
import type { Judged, LlmCall, LlmRules } from '../../src/policy/llm/judge.ts';
import { MAX_DEPTH, parseJsonObject } from '../../src/policy/llm/json.ts';
import { cost, findPrice, freezePrices, nameMatches, operatorRow } from '../../src/policy/llm/prices.ts';
import type { PriceRow } from '../../src/policy/llm/prices.ts';
import { planProvider } from '../../src/policy/llm/providers.ts';
import { readCharge, readUsage } from '../../src/policy/llm/usage.ts';

const row = operatorRow('m', { inputPerMTok: 3, outputPerMTok: 15, cacheReadPerMTok: 0.3, cacheWritePerMTok: 3.75 });

function rules(wire: Wire, over: Partial<LlmRules> = {}): LlmRules {
  return {
    provider: 'p',
    wire,
    models: ['m', 'claude-*'],
    prices: freezePrices([row], '2026-11-24'),
    maxOutput: 1_000,
    maxBodyBytes: 100_000,
    outputField: 'max_tokens',
    runHash: 'RUN',
    ...over,
  };
}

const PATH: Record<Wire, string> = {
  anthropic: '/v1/messages',
  'openai-chat': '/v1/chat/completions',
  'openai-responses': '/v1/responses',
  gemini: '/v1beta/models/m:generateContent',
};

const BASE: Record<Wire, Record<string, unknown>> = {
  anthropic: { model: 'm', max_tokens: 10, messages: [{ role: 'user', content: 'hi' }] },
  'openai-chat': { model: 'm', max_tokens: 10, messages: [{ role: 'user', content: 'hi' }] },
  'openai-responses': { model: 'm', max_output_tokens: 10, input: 'hi', store: false },
  gemini: { contents: [{ role: 'user', parts: [{ text: 'hi' }] }], generationConfig: { maxOutputTokens: 10 } },
};

function judge(
  wire: Wire,
  body: unknown,
  over: { path?: string; method?: string; headers?: Record<string, string>; rules?: Partial<LlmRules> } = {},
): Judged {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const { path = PATH[wire], method = 'POST', headers = {} } = over;
  return judgeCall({ method, path, headers, body: bytes }, rules(wire, over.rules));
}

function verdict(judged: Judged): DenyReason | 'allow' {
  return judged.decision.allow ? 'allow' : judged.decision.reason;
}

function accepted(judged: Judged): LlmCall {
  if (!('call' in judged)) throw new Error('say' in judged ? judged.say : 'answered here');
  return judged.call;
}

/** The body that goes on, for a request that differs from the smallest one. */
function forwarded(
  wire: Wire,
  extra: Record<string, unknown>,
  over: Parameters<typeof judge>[2] = {},
): Record<string, unknown> {
  return accepted(judge(wire, { ...BASE[wire], ...extra }, over)).body;
}

describe('bodies', () => {
  const deep = (n: number): string => '['.repeat(n) + ']'.repeat(n);
  test.each<[string, string | Uint8Array, DenyReason | 'allow']>([
    ['not JSON', '{', 'malformed'],
    ['nothing', '', 'malformed'],
    ['a list', '[]', 'malformed'],
    ['a string', '"x"', 'malformed'],
    ['two documents', '{}{}', 'malformed'],
    ['LLM-006 the model twice', '{"model":"m","model":"dear","max_tokens":1,"messages":[]}', 'malformed'],
    [
      'LLM-006 the model twice, once escaped',
      '{"model":"m","mod\\u0065l":"dear","max_tokens":1,"messages":[]}',
      'malformed',
    ],
    [
      'a key twice deep inside',
      '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a","content":"b"}]}',
      'malformed',
    ],
    [
      'the same key in two objects',
      '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}',
      'allow',
    ],
    ['a text that looks like keys', JSON.stringify({ ...BASE.anthropic, system: '{"a":1,"a":2} \\" "a":' }), 'allow'],
    ['deep nesting', `{"model":"m","max_tokens":1,"messages":${deep(MAX_DEPTH)}}`, 'malformed'],
    ['very deep nesting', `{"model":"m","max_tokens":1,"messages":${deep(40_000)}}`, 'malformed'],
    [
      'a byte order mark',
      Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(JSON.stringify(BASE.anthropic))]),
      'malformed',
    ],
    ['UTF-16', Buffer.from(JSON.stringify(BASE.anthropic), 'utf16le'), 'malformed'],
    ['broken UTF-8', Buffer.concat([Buffer.from('{"model":"m'), Buffer.from([0xff]), Buffer.from('"}')]), 'malformed'],
    ['too large', JSON.stringify({ ...BASE.anthropic, system: 'x'.repeat(100_000) }), 'too_large'],
  ])('%s: %#', (_name, body, expected) => {
    expect(verdict(judge('anthropic', body))).toBe(expected);
  });

  test('keys that only look alike are different keys', () => {
    expect(parseJsonObject(Buffer.from('{"a":1,"A":2,"\\u0061b":3}'))).toEqual({
      ok: true,
      value: { a: 1, A: 2, ab: 3 },
    });
  });

  test('names of object methods are plain unknown fields', () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const body = `{"model":"m","max_tokens":1,"messages":[],"${name}":{"stream":true}}`;
      expect(verdict(judge('anthropic', body))).toBe('llm_field');
    }
  });
});

describe('LLM-006 models', () => {
  test.each<[string, unknown, DenyReason | 'allow']>([
    ['allowed and priced', 'm', 'allow'],
    ['allowed and unpriced', 'claude-next', 'llm_unpriced'],
    ['not allowed', 'dear', 'llm_model_not_allowed'],
    ['another case', 'M', 'llm_model_not_allowed'],
    ['with a space', 'm ', 'llm_model_not_allowed'],
    ['a letter that looks the same', 'clаude-x', 'llm_model_not_allowed'],
    ['with a line end', 'claude-x\n', 'llm_model_not_allowed'],
    ['a router', 'auto', 'llm_model_not_allowed'],
    ['missing', undefined, 'llm_model_not_allowed'],
    ['null', null, 'llm_model_not_allowed'],
    ['a list', ['m'], 'llm_model_not_allowed'],
    ['empty', '', 'llm_model_not_allowed'],
  ])('%s', (_name, model, expected) => {
    expect(verdict(judge('anthropic', { ...BASE.anthropic, model }))).toBe(expected);
  });

  test('a router is refused even where every model is allowed', () => {
    for (const model of ['auto', 'openrouter/auto']) {
      expect(verdict(judge('openai-chat', { ...BASE['openai-chat'], model }, { rules: { models: ['*'] } }))).toBe(
        'llm_model_not_allowed',
      );
    }
  });

  test('fallback models are refused', () => {
    expect(verdict(judge('openai-chat', { ...BASE['openai-chat'], models: ['m', 'dear'] }))).toBe(
      'llm_model_not_allowed',
    );
  });

  test.each([
    ['claude-*', 'claude-x', true],
    ['claude-*', 'xclaude-x', false],
    ['*', 'anything', true],
    ['a*b*c', 'a-b-c', true],
    ['a*b*c', 'abc', true],
    ['a*b', 'ab', true],
    ['ab*ba', 'aba', false],
    ['a.c', 'abc', false],
    ['', 'x', false],
  ])('the pattern %j against %j: %s', (pattern, name, expected) => {
    expect(wildcard(pattern, name)).toBe(expected);
  });
});

describe('LLM-015 endpoints', () => {
  test.each<[Wire, string, string]>([
    ['anthropic', 'POST', '/v1/messages/batches'],
    ['anthropic', 'POST', '/v1/files'],
    ['anthropic', 'GET', '/v1/files'],
    ['anthropic', 'POST', '/v1/complete'],
    ['anthropic', 'POST', '/v1/skills'],
    ['anthropic', 'GET', '/v1/organizations/users'],
    ['anthropic', 'POST', '/v1/../v1/messages'],
    ['anthropic', 'POST', '/v1//messages'],
    ['anthropic', 'POST', '/v1/messages/'],
    ['anthropic', 'POST', '/v1/%6dessages'],
    ['anthropic', 'POST', '/v1/messages%2fbatches'],
    ['anthropic', 'POST', '/v2/messages'],
    ['anthropic', 'PUT', '/v1/messages'],
    ['anthropic', 'GET', '/v1/messages'],
    ['anthropic', 'POST', '/v1/models'],
    ['anthropic', 'POST', '/v1/messages;x=1'],
    ['anthropic', 'POST', '/v1/messages?beta=false'],
    ['anthropic', 'POST', '/v1/messages?callback_url=http://x'],
    ['openai-chat', 'POST', '/v1/completions'],
    ['openai-chat', 'POST', '/v1/embeddings'],
    ['openai-chat', 'POST', '/v1/images/generations'],
    ['openai-chat', 'POST', '/v1/batches'],
    ['openai-chat', 'POST', '/v1/fine_tuning/jobs'],
    ['openai-chat', 'POST', '/v1/assistants'],
    ['openai-chat', 'POST', '/v1/vector_stores'],
    ['openai-chat', 'POST', '/v1/responses'],
    ['openai-responses', 'GET', '/v1/responses/resp_1'],
    ['openai-responses', 'GET', '/v1/responses'],
    ['openai-responses', 'POST', '/v1/responses/resp_1/cancel'],
    ['openai-responses', 'DELETE', '/v1/responses/resp_1'],
    ['openai-responses', 'POST', '/v1/realtime/sessions'],
    ['openai-responses', 'POST', '/v1/conversations'],
    ['gemini', 'POST', '/v1beta/models/m:batchGenerateContent'],
    ['gemini', 'POST', '/v1beta/models/m:predictLongRunning'],
    ['gemini', 'POST', '/v1beta/cachedContents'],
    ['gemini', 'POST', '/upload/v1beta/files'],
    ['gemini', 'POST', '/v1beta/tunedModels/m:generateContent'],
    ['gemini', 'POST', '/v1beta/models/..%2fm:generateContent'],
  ])('%s %s %s is refused', (wire, method, path) => {
    expect(verdict(judge(wire, BASE[wire], { method, path }))).toBe('llm_endpoint');
  });

  test.each<[Wire, string, string]>([
    ['anthropic', '/v1/messages', '/messages'],
    ['anthropic', '/messages', '/messages'],
    ['anthropic', '/v1/messages?beta=true', '/messages?beta=true'],
    ['anthropic', '/v1/messages?key=stolen&beta=true', '/messages?beta=true'],
    ['openai-chat', '/chat/completions', '/chat/completions'],
    ['gemini', '/v1beta/models/m:streamGenerateContent?alt=sse&key=x', '/models/m:streamGenerateContent?alt=sse'],
    ['gemini', '/v1/models/m:generateContent', '/models/m:generateContent'],
  ])('%s %s goes on as %s', (wire, path, expected) => {
    expect(accepted(judge(wire, BASE[wire], { path })).path).toBe(expected);
  });
});

const image = { type: 'base64', media_type: 'image/png', data: 'aGVsbG8=' };
const userSays = (...content: unknown[]): Record<string, unknown> => ({ messages: [{ role: 'user', content }] });
const tools = (...list: unknown[]): Record<string, unknown> => ({ tools: list });
const parts = (...list: unknown[]): Record<string, unknown> => ({ contents: [{ role: 'user', parts: list }] });
const items = (...list: unknown[]): Record<string, unknown> => ({ input: list });

describe('LLM-012 tools that run at the provider', () => {
  test.each<[Wire, Record<string, unknown>]>([
    ...[
      'web_search_20250305',
      'web_fetch_20250910',
      'code_execution_20250825',
      'computer_20250124',
      'tool_search_tool_regex_20251119',
      'memory_20250818',
      'mcp_toolset',
      'future_tool',
    ].map((type): [Wire, Record<string, unknown>] => ['anthropic', tools({ type, name: 'x' })]),
    ['anthropic', { container: 'c1' }],
    ['anthropic', { container: { skills: [{ type: 'anthropic', skill_id: 'pdf' }] } }],
    ['anthropic', tools({ name: 'x', input_schema: {}, allowed_callers: ['code_execution_20250825'] })],
    ['anthropic', tools({ name: 'x', input_schema: {}, defer_loading: true })],
    ['anthropic', userSays({ type: 'server_tool_use', id: 'x', name: 'web_search', input: {} })],
    ['anthropic', userSays({ type: 'web_search_tool_result', tool_use_id: 'x', content: [] })],
    ['openai-chat', { web_search_options: {} }],
    ['openai-chat', { plugins: [{ id: 'web' }] }],
    ['openai-chat', { data_sources: [{ type: 'azure_search' }] }],
    ['openai-chat', tools({ type: 'web_search' })],
    ['openai-chat', tools({ function: { name: 'x' } })],
    ...[
      'web_search',
      'web_search_preview',
      'file_search',
      'code_interpreter',
      'computer_use_preview',
      'image_generation',
      'shell',
      'tool_search',
      'future',
    ].map((type): [Wire, Record<string, unknown>] => ['openai-responses', tools({ type })]),
    ['openai-responses', tools({ type: 'namespace', name: 'n', tools: [{ type: 'web_search' }] })],
    ['openai-responses', { tool_choice: { type: 'web_search' } }],
    ['openai-responses', items({ type: 'web_search_call', id: 'x', status: 'completed' })],
    ...[
      'googleSearch',
      'googleSearchRetrieval',
      'codeExecution',
      'urlContext',
      'computerUse',
      'fileSearch',
      'googleMaps',
    ].map((name): [Wire, Record<string, unknown>] => ['gemini', tools({ [name]: {} })]),
    ['gemini', parts({ executableCode: { code: 'x' } })],
  ])('%s %j', (wire, extra) => {
    expect(verdict(judge(wire, { ...BASE[wire], ...extra }))).toBe('llm_server_tool');
  });

  test.each<[Wire, Record<string, unknown>]>([
    ['anthropic', { mcp_servers: [{ type: 'url', url: 'https://x', name: 'x' }] }],
    ['openai-chat', tools({ type: 'mcp', server_url: 'https://x' })],
    ['openai-responses', tools({ type: 'mcp', server_label: 'x', server_url: 'https://x' })],
    ['openai-responses', items({ type: 'mcp_call', id: 'x' })],
    ['gemini', tools({ mcpServers: [{ url: 'https://x' }] })],
  ])('LLM-013 remote MCP: %s %j', (wire, extra) => {
    expect(verdict(judge(wire, { ...BASE[wire], ...extra }))).toBe('llm_server_tool');
  });

  test('a tool of the provider in the snake_case that the API would take too', () => {
    expect(verdict(judge('gemini', { ...BASE.gemini, tools: [{ google_search: {} }] }))).toBe('llm_field');
  });
});

describe('LLM-014 sources that the provider would fetch', () => {
  test.each<[Wire, Record<string, unknown>]>([
    ['anthropic', userSays({ type: 'image', source: { type: 'url', url: 'https://x' } })],
    ['anthropic', userSays({ type: 'document', source: { type: 'url', url: 'https://x' } })],
    ['anthropic', userSays({ type: 'image', source: { type: 'file', file_id: 'f' } })],
    ['anthropic', userSays({ type: 'image', source: { type: 's3', uri: 's3://x' } })],
    ['anthropic', userSays({ type: 'container_upload', file_id: 'f' })],
    [
      'anthropic',
      userSays({
        type: 'tool_result',
        tool_use_id: 'x',
        content: [{ type: 'image', source: { type: 'url', url: 'https://x' } }],
      }),
    ],
    ['openai-chat', userSays({ type: 'image_url', image_url: { url: 'https://x/y.png' } })],
    ['openai-chat', userSays({ type: 'image_url', image_url: { url: 'data:text/html;base64,aaaa' } })],
    ['openai-chat', userSays({ type: 'file', file: { file_id: 'f' } })],
    ['openai-responses', items({ role: 'user', content: [{ type: 'input_image', image_url: 'https://x' }] })],
    ['openai-responses', items({ role: 'user', content: [{ type: 'input_image', file_id: 'f' }] })],
    ['openai-responses', items({ role: 'user', content: [{ type: 'input_file', file_url: 'https://x' }] })],
    [
      'openai-responses',
      items({ type: 'function_call_output', call_id: 'c', output: [{ type: 'input_image', image_url: 'https://x' }] }),
    ],
    ['gemini', parts({ fileData: { fileUri: 'https://x', mimeType: 'image/png' } })],
  ])('%s %j', (wire, extra) => {
    expect(verdict(judge(wire, { ...BASE[wire], ...extra }))).toBe('llm_url_source');
  });

  test('an address where base64 belongs is refused', () => {
    const source = { ...image, data: 'https://x/y.png' };
    expect(verdict(judge('anthropic', { ...BASE.anthropic, ...userSays({ type: 'image', source }) }))).toBe(
      'llm_field',
    );
  });
});

describe('LLM-019 state and work that outlive the call', () => {
  test.each<[Wire, Record<string, unknown>]>([
    ['openai-chat', { store: true }],
    ['openai-responses', { store: true }],
    ['openai-responses', { background: true }],
    ['openai-responses', { previous_response_id: 'resp_1' }],
    ['openai-responses', { conversation: 'conv_1' }],
    ['openai-responses', { prompt: { id: 'pmpt_1' } }],
    ['openai-responses', items({ type: 'item_reference', id: 'x' })],
    ['openai-responses', { include: ['file_search_call.results'] }],
    ['gemini', { cachedContent: 'cachedContents/x' }],
    ['anthropic', { speed: 'fast' }],
    ['anthropic', { inference_geo: 'us' }],
    ['openai-chat', { audio: { voice: 'x' } }],
    ['openai-chat', { modalities: ['text', 'audio'] }],
    ['openai-chat', userSays({ type: 'input_audio', input_audio: { data: 'x', format: 'wav' } })],
    ['gemini', { generationConfig: { responseModalities: ['AUDIO'] } }],
    ['gemini', parts({ inlineData: { mimeType: 'audio/wav', data: 'aaaa' } })],
    ['anthropic', { webhook_url: 'https://x' }],
    ['openai-chat', { best_of: 4 }],
  ])('%s %j', (wire, extra) => {
    expect(verdict(judge(wire, { ...BASE[wire], ...extra }))).toBe('llm_field');
  });
});

describe('LLM-008 limits of the output', () => {
  test.each<[Wire, Record<string, unknown>, Record<string, unknown>]>([
    ['anthropic', { max_tokens: 1e9 }, { max_tokens: 1_000 }],
    ['anthropic', { max_tokens: undefined }, { max_tokens: 1_000 }],
    ['anthropic', { max_tokens: 500.7 }, { max_tokens: 500 }],
    ['openai-chat', { max_tokens: 700, max_completion_tokens: 2e9 }, { max_tokens: 700 }],
    ['openai-chat', { max_tokens: undefined, max_completion_tokens: 500 }, { max_tokens: 500 }],
    ['openai-chat', { max_tokens: undefined, n: 64 }, { max_tokens: 1_000, n: 1 }],
    ['openai-chat', { stream: true }, { stream_options: { include_usage: true } }],
    [
      'openai-chat',
      { stream: true, stream_options: { include_usage: false } },
      { stream_options: { include_usage: true } },
    ],
    ['openai-responses', { max_output_tokens: 1e9 }, { max_output_tokens: 1_000 }],
    ['openai-responses', { max_output_tokens: null }, { max_output_tokens: 1_000, store: false }],
    [
      'gemini',
      { generationConfig: { maxOutputTokens: 1e9, candidateCount: 8 } },
      { generationConfig: { maxOutputTokens: 1_000, candidateCount: 1 } },
    ],
    ['gemini', { generationConfig: undefined }, { generationConfig: { maxOutputTokens: 1_000 } }],
  ])('%s %j goes on as %j', (wire, extra, expected) => {
    expect(forwarded(wire, extra)).toMatchObject(expected);
  });

  test.each(['0', '-1', '"100"', '1e999', 'true'])('%s tokens are refused', (value) => {
    expect(verdict(judge('anthropic', JSON.stringify(BASE.anthropic).replace('10', value)))).toBe('llm_field');
  });

  test('where both names are known to the server, both go on, and both are lowered', () => {
    const body = { ...BASE['openai-chat'], max_tokens: 1e9, max_completion_tokens: 2e9 };
    const call = accepted(judge('openai-chat', body, { rules: { outputField: 'max_completion_tokens' } }));
    expect(call.body).toMatchObject({ max_tokens: 1_000, max_completion_tokens: 1_000 });
    limitOutput(call, 30);
    expect(call.body).toMatchObject({ max_tokens: 30, max_completion_tokens: 30 });
  });

  test('a limit under its older name is lowered, too', () => {
    const body = { ...BASE['openai-chat'], max_tokens: undefined, max_completion_tokens: 500 };
    const call = accepted(judge('openai-chat', body));
    limitOutput(call, 30);
    expect(call.body).toMatchObject({ max_tokens: 30 });
    expect(call.body).not.toHaveProperty('max_completion_tokens');
  });

  test('a smaller grant lowers every limit, and thinking within it', () => {
    const call = accepted(
      judge(
        'anthropic',
        { ...BASE.anthropic, max_tokens: 1e9, thinking: { type: 'enabled', budget_tokens: 1e9 } },
        { rules: { maxOutput: 8_000 } },
      ),
    );
    expect(call.body).toMatchObject({ max_tokens: 8_000, thinking: { budget_tokens: 7_999 } });
    limitOutput(call, 2_000);
    expect(call.body).toMatchObject({ max_tokens: 2_000, thinking: { budget_tokens: 1_999 } });
    expect(call.output).toBe(2_000);
  });
});

describe('fields that are replaced, stripped or kept', () => {
  test.each<[Wire, Record<string, unknown>, Record<string, unknown>]>([
    ['anthropic', { metadata: { user_id: 'u' } }, { metadata: { user_id: 'RUN' } }],
    [
      'openai-chat',
      { user: 'u', safety_identifier: 's', prompt_cache_key: 'k' },
      { user: 'RUN', safety_identifier: 'RUN', prompt_cache_key: 'RUN' },
    ],
    ['openai-responses', { user: 'u', prompt_cache_key: 'k' }, { user: 'RUN', prompt_cache_key: 'RUN' }],
  ])('%s %j goes on as %j', (wire, extra, expected) => {
    expect(forwarded(wire, extra)).toMatchObject(expected);
  });

  test.each<[Wire, Record<string, unknown>]>([
    ['anthropic', { service_tier: 'auto' }],
    ['openai-chat', { service_tier: 'priority' }],
    ['openai-chat', { metadata: { a: 'b' } }],
    ['openai-chat', { prediction: { type: 'content', content: 'x' } }],
    ['openai-responses', { service_tier: 'priority' }],
    ['openai-responses', { client_metadata: { a: 'b' } }],
    ['gemini', { labels: { a: 'b' } }],
  ])('%s %j is left out', (wire, extra) => {
    const call = accepted(judge(wire, { ...BASE[wire], ...extra }));
    expect(Object.keys(call.body)).toEqual(Object.keys(BASE[wire]));
    expect(call.found.stripped).toEqual(Object.keys(extra));
  });

  test('LLM-015 beta values that are not known to be harmless are left out', () => {
    const headers = {
      'anthropic-beta':
        'mcp-client-2025-04-04, interleaved-thinking-2025-05-14,files-api-2025-04-14,context-1m-2025-08-07',
    };
    const call = accepted(judge('anthropic', BASE.anthropic, { headers }));
    expect(call.headers['anthropic-beta']).toBe('interleaved-thinking-2025-05-14');
    expect(call.droppedBetas).toEqual(['mcp-client-2025-04-04', 'files-api-2025-04-14', 'context-1m-2025-08-07']);
  });

  test.each([
    { 'anthropic-version': '2099-01-01' },
    { 'content-encoding': 'zstd' },
    { 'content-encoding': 'gzip, gzip' },
    { 'content-type': 'text/plain' },
    { 'content-type': 'multipart/form-data; boundary=x' },
  ])('the headers %j are refused', (headers) => {
    expect(verdict(judge('anthropic', BASE.anthropic, { headers: headers }))).toBe('llm_field');
  });

  test('what agents really send goes through whole', () => {
    const conversation = {
      system: [{ type: 'text', text: 's', cache_control: { type: 'ephemeral' } }],
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'q' },
            { type: 'image', source: image },
          ],
        },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 't', signature: 'x' },
            { type: 'tool_use', id: 'i', name: 'bash', input: { command: 'ls', deep: [{ a: null }] } },
          ],
        },
        {
          role: 'user',
          content: [
            {
              type: 'tool_result',
              tool_use_id: 'i',
              content: 'ok',
              is_error: false,
              cache_control: { type: 'ephemeral', ttl: '1h' },
            },
          ],
        },
      ],
      tools: [{ name: 'bash', description: 'd', input_schema: { type: 'object' }, eager_input_streaming: true }],
      tool_choice: { type: 'auto' },
      temperature: 1,
    };
    const call = accepted(judge('anthropic', { ...BASE.anthropic, ...conversation }));
    expect(call.body).toEqual({ ...BASE.anthropic, ...conversation });
    expect([call.main, call.found.cache, call.found.images, call.found.mediaBytes]).toEqual([
      true,
      '1h',
      1,
      image.data.length,
    ]);
  });
});

describe('LLM-009 prices', () => {
  const tiered: PriceRow = {
    ...row,
    tiers: [{ above: 200_000, input: 6e6, output: 22.5e6, cacheRead: 0.6e6, cacheWrite: 7.5e6, cacheWrite1h: 12e6 }],
  };
  test.each([
    ['plain', row, { input: 1_000, output: 100 }, 3_000 + 1_500],
    ['cache read', row, { input: 100, cacheRead: 1_000, output: 0 }, 300 + 300],
    ['cache write for 5 minutes', row, { cacheWrite: 1_000 }, 3_750],
    ['cache write for an hour', row, { cacheWrite1h: 1_000 }, 6_000],
    ['rounded up once', row, { cacheRead: 1 }, 1],
    ['just below the tier', tiered, { input: 200_000, output: 10 }, 600_150],
    ['above the tier', tiered, { input: 200_001, output: 10 }, 1_200_006 + 225],
    ['above the tier by its cache', tiered, { input: 1, cacheRead: 200_000 }, 6 + 120_000],
  ])('%s', (_name, priced, usage, expected) => {
    expect(cost(priced, { input: 0, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output: 0, ...usage })).toBe(
      expected,
    );
  });

  test('a missing cache price counts as 2 × input for a write and 1 × for a read', () => {
    expect(operatorRow('x', { inputPerMTok: 1.5, outputPerMTok: 6 }).rates).toEqual({
      input: 1_500_000,
      output: 6_000_000,
      cacheRead: 1_500_000,
      cacheWrite: 3_000_000,
      cacheWrite1h: 3_000_000,
    });
  });

  test.each([
    [{ starts_with: 'claude-x' }, 'claude-x', true],
    [{ starts_with: 'claude-x' }, 'claude-x-20260101', true],
    [{ starts_with: 'claude-x' }, 'claude-x-latest', true],
    [{ starts_with: 'claude-x' }, 'claude-x@20260101', true],
    [{ starts_with: 'claude-x-2025' }, 'claude-x-20250514', true],
    [{ starts_with: 'claude-x' }, 'claude-x-ultra', false],
    [{ starts_with: 'claude-x' }, 'Claude-x', false],
    [{ equals: 'gpt-5' }, 'gpt-5-pro', false],
    [{ contains: 'claude' }, 'claude', false],
    [{ or: [{ equals: 'a' }, { regex: '^b\\d$' }] }, 'b1', true],
    [{ and: [{ equals: 'a' }, { equals: 'b' }] }, 'a', false],
  ])('%j names %s: %s', (match, model, expected) => {
    expect(nameMatches(match, model)).toBe(expected);
  });

  test('the operator’s price beats the library’s, and that of one provider the general one', () => {
    const library: PriceRow = { ...row, provider: 'p', source: 'library' };
    const table = freezePrices(
      [
        operatorRow('p/m', { inputPerMTok: 1, outputPerMTok: 1 }),
        operatorRow('m', { inputPerMTok: 2, outputPerMTok: 2 }),
        library,
      ],
      'd',
    );
    expect(findPrice(table, 'p', 'm')?.rates.input).toBe(1e6);
    expect(findPrice(table, 'q', 'm')?.rates.input).toBe(2e6);
    expect(findPrice(freezePrices([library], 'd'), 'q', 'm')).toBeUndefined();
  });

  test('a table’s hash tells every change', () => {
    expect(freezePrices([row], 'd').hash).not.toBe(freezePrices([tiered], 'd').hash);
  });
});

describe('bounds', () => {
  const found = { images: 0, documents: 0, mediaBytes: 0, cache: 'none' as const, outputs: [], stripped: [] };

  test('a byte is a token, media by their own ceiling (LLM-011)', () => {
    const none = inputBound({ wire: 'anthropic', bytes: 1_000, found, tools: false });
    expect(none).toBeGreaterThanOrEqual(1_000);
    const picture = inputBound({
      wire: 'anthropic',
      bytes: 1_000_000,
      found: { ...found, images: 1, mediaBytes: 999_000 },
      tools: false,
    });
    expect(picture - none).toBeGreaterThan(1_600);
    expect(picture).toBeLessThan(100_000);
  });

  test.each([
    ['none', 'anthropic', 3],
    ['5m', 'anthropic', 3.75],
    ['1h', 'anthropic', 6],
    ['none', 'openai-chat', 3.75],
  ] as const)('cache %s at %s: the dearest way to bill the input', (cache, wire, dollars) => {
    expect(worstCase({ row, wire, input: 1_000, output: 10, cache })).toBe(dollars * 1_000 + 150);
  });

  test('the worst case is never below any usage within its bounds', () => {
    const tier = { above: 50, input: 1e6, output: 30e6, cacheRead: 1e6, cacheWrite: 1e6, cacheWrite1h: 1e6 };
    const priced = { ...row, tiers: [tier] };
    for (const input of [0, 1, 50, 51, 100]) {
      const worst = worstCase({ row: priced, wire: 'openai-chat', input: 100, output: 10, cache: '1h' });
      for (const key of ['input', 'cacheRead', 'cacheWrite', 'cacheWrite1h'] as const) {
        const usage = { input: 0, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output: 10, [key]: input };
        expect(cost(priced, usage)).toBeLessThanOrEqual(worst);
      }
    }
  });

  test.each([
    [150, 10],
    [149, 9],
    [15, 1],
    [14, 0],
    [0, 0],
  ])('%s micro-dollars besides the input pay for %s tokens', (amount, expected) => {
    const priced = { row, wire: 'anthropic' as const, input: 100, cache: 'none' as const };
    expect(affordableOutput({ ...priced, amount: 300 + amount, wanted: 10 })).toBe(expected);
    expect(affordableOutput({ ...priced, amount: 299, wanted: 10 })).toBe(-1);
  });
});

describe('usage', () => {
  const none = { input: 0, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output: 0 };
  test.each<[string, Wire, Record<string, unknown>, Record<string, number> | undefined]>([
    [
      'additive',
      'anthropic',
      { input_tokens: 1200, cache_creation_input_tokens: 300, cache_read_input_tokens: 150, output_tokens: 5 },
      { input: 1200, cacheRead: 150, cacheWrite: 300, output: 5 },
    ],
    [
      'an hour apart',
      'anthropic',
      {
        input_tokens: 1,
        cache_creation_input_tokens: 30,
        cache_creation: { ephemeral_1h_input_tokens: 20 },
        output_tokens: 5,
      },
      { input: 1, cacheWrite: 10, cacheWrite1h: 20, output: 5 },
    ],
    [
      'a part above its whole',
      'anthropic',
      {
        input_tokens: 1,
        cache_creation_input_tokens: 10,
        cache_creation: { ephemeral_1h_input_tokens: 20 },
        output_tokens: 5,
      },
      undefined,
    ],
    ['no output', 'anthropic', { input_tokens: 1 }, undefined],
    [
      'inclusive',
      'openai-chat',
      {
        prompt_tokens: 100,
        completion_tokens: 5,
        prompt_tokens_details: { cached_tokens: 40, cache_write_tokens: 10 },
      },
      { input: 50, cacheRead: 40, cacheWrite: 10, output: 5 },
    ],
    [
      'more cached than sent',
      'openai-chat',
      { prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: { cached_tokens: 40 } },
      undefined,
    ],
    [
      'null details',
      'openai-chat',
      { prompt_tokens: 10, completion_tokens: 5, prompt_tokens_details: null },
      { input: 10, output: 5 },
    ],
    [
      'responses',
      'openai-responses',
      { input_tokens: 10, output_tokens: 5, input_tokens_details: { cached_tokens: 4 } },
      { input: 6, cacheRead: 4, output: 5 },
    ],
    [
      'thoughts are output',
      'gemini',
      { promptTokenCount: 10, candidatesTokenCount: 80, thoughtsTokenCount: 10, cachedContentTokenCount: 4 },
      { input: 6, cacheRead: 4, output: 90 },
    ],
    [
      'reasoning that only the total has is output',
      'openai-chat',
      {
        prompt_tokens: 32,
        completion_tokens: 9,
        total_tokens: 246,
        completion_tokens_details: { reasoning_tokens: 205 },
      },
      { input: 32, output: 214 },
    ],
    [
      'a total that says the same',
      'openai-responses',
      { input_tokens: 10, output_tokens: 5, total_tokens: 15 },
      { input: 10, output: 5 },
    ],
    [
      'a total of words',
      'openai-chat',
      { prompt_tokens: 10, completion_tokens: 5, total_tokens: 'fifteen' },
      undefined,
    ],
    [
      'thoughts that only the total has',
      'gemini',
      { promptTokenCount: 10, toolUsePromptTokenCount: 2, candidatesTokenCount: 8, totalTokenCount: 50 },
      { input: 12, output: 38 },
    ],
  ])('%s', (_name, wire, usage, expected) => {
    expect(readUsage(wire, JSON.parse(JSON.stringify(usage)) as never)).toEqual(
      expected === undefined ? undefined : { ...none, ...expected },
    );
  });
});

test.each<[string, Wire, Record<string, unknown>, number | undefined]>([
  ['dollars', 'openai-chat', { cost: 0.0125 }, 12_500],
  ['a floating-point sum', 'openai-responses', { cost: 0.1 + 0.2 }, 300_000],
  ['less than a micro-dollar', 'openai-chat', { cost: 0.000_000_2 }, 1],
  ['nothing said', 'openai-chat', {}, undefined],
  ['negative', 'openai-chat', { cost: -1 }, undefined],
  ['text', 'openai-chat', { cost: '1' }, undefined],
  ['a wire whose makers do not say it', 'anthropic', { cost: 1 }, undefined],
])('what a provider says that it charged: %s', (_name, wire, usage, expected) => {
  expect(readCharge(wire, JSON.parse(JSON.stringify(usage)) as never)).toBe(expected);
});

describe('providers', () => {
  test('known ids need no wire and no address', () => {
    expect(planProvider('openai', {})).toMatchObject({
      ok: true,
      plan: { wires: ['openai-responses', 'openai-chat'] },
    });
    expect(planProvider('anthropic', { baseUrl: 'http://x' })).toMatchObject({
      ok: true,
      plan: { baseUrl: 'http://x', wires: ['anthropic'] },
    });
  });
  test('others are told what is missing', () => {
    expect(planProvider('corp', {})).toMatchObject({
      ok: false,
      problem: expect.stringContaining('set wire') as string,
    });
    expect(planProvider('corp', { wire: 'gemini' })).toMatchObject({
      ok: false,
      problem: expect.stringContaining('set baseUrl') as string,
    });
  });
});
