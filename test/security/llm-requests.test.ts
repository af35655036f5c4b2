/**
 * LLM, requests: what a hostile agent may not ask of a provider, against the real gateway process of a run. Denied means
 * that the provider saw nothing, that an event names the reason, and that an allowed call still goes through.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Wire } from '../../src/domain/policy.ts';
import { isModelHost, lintPolicy } from '../../src/policy/egress/lint.ts';
import { connectTo } from '../gateway/hermetic.ts';
import { BASE, openRun, PATH } from './llm-run.ts';
import type { Answer, LlmRun } from './llm-run.ts';

let at: LlmRun;
beforeAll(async () => {
  at = await openRun();
});
afterAll(async () => {
  await at[Symbol.asyncDispose]();
});

/** Nothing reached the provider, the answer is a 400 in words, one event has the reason, and the twin works. */
async function denied(ask: () => Promise<Answer>, reason: string | RegExp): Promise<void> {
  const seen = at.provider.calls.length;
  const refused = at.refusals().length;
  const answer = await ask();
  expect(answer.status).toBe(400);
  expect(answer.text).toContain('Cofferdam: ');
  await expect.poll(() => at.refusals().length).toBe(refused + 1);
  expect(at.refusals().at(-1)).toMatch(reason);
  expect(at.provider.calls).toHaveLength(seen);
  expect((await at.call('anthropic')).status).toBe(200);
  expect(at.provider.calls).toHaveLength(seen + 1);
}

const user = (...content: unknown[]): Record<string, unknown> => ({ messages: [{ role: 'user', content }] });
const tools = (...list: unknown[]): Record<string, unknown> => ({ tools: list });
const input = (...content: unknown[]): Record<string, unknown> => ({ input: [{ role: 'user', content }] });

describe('LLM-006 models', () => {
  test.each<[string, string, RegExp]>([
    ['unknown', '{"model":"other","max_tokens":1,"messages":[]}', /llm_model_not_allowed/],
    ['unpriced', '{"model":"unpriced","max_tokens":1,"messages":[]}', /llm_unpriced/],
    ['a newer one by its beginning', '{"model":"m-3","max_tokens":1,"messages":[]}', /llm_unpriced/],
    ['a router', '{"model":"auto","max_tokens":1,"messages":[]}', /llm_model_not_allowed/],
    ['in capitals', '{"model":"M","max_tokens":1,"messages":[]}', /llm_model_not_allowed/],
    ['with a vendor', '{"model":"other/m","max_tokens":1,"messages":[]}', /llm_model_not_allowed/],
    ['with a letter that looks like another', '{"model":"\\uff4d","max_tokens":1,"messages":[]}', /not_allowed/],
    ['with a blank', '{"model":"m ","max_tokens":1,"messages":[]}', /not_allowed/],
    ['none', '{"max_tokens":1,"messages":[]}', /llm_model_not_allowed/],
    ['a list', '{"model":["m"],"max_tokens":1,"messages":[]}', /llm_model_not_allowed/],
    ['twice', '{"model":"m","model":"m-2","max_tokens":1,"messages":[]}', /malformed/],
    ['twice, once escaped', '{"model":"m","mode\\u006c":"m-2","max_tokens":1,"messages":[]}', /malformed/],
    ['nested too deep', `{"model":"m","max_tokens":1,"messages":${'['.repeat(5000)}${']'.repeat(5000)}}`, /malformed/],
    ['cut short', '{"model":"m"', /malformed/],
  ])('%s', async (_name, body, reason) => {
    await denied(() => at.ask('/v1/messages', body), reason);
  });

  test('what is forwarded is written anew from what was read', async () => {
    const odd =
      '{ "stream" : false,\n "max_tokens":1e1, "model":"\\u006d","messages":[{"content":"\\u0068i","role":"user"}] }';
    expect((await at.ask('/v1/messages', odd)).status).toBe(200);
    expect(at.provider.calls.at(-1)?.rawBody).toBe(
      '{"stream":false,"max_tokens":10,"model":"m","messages":[{"content":"hi","role":"user"}]}',
    );
  });
});

describe('LLM-008 outputs', () => {
  test.each<[Wire, Record<string, unknown>, Record<string, unknown>]>([
    ['openai-chat', { n: 64 }, { n: 1, max_tokens: 100 }],
    ['openai-chat', { max_tokens: 10_000_000 }, { max_tokens: 64_000 }],
    ['openai-chat', { max_tokens: 500, max_completion_tokens: 9e9 }, { max_tokens: 500 }],
    ['openai-chat', { max_tokens: undefined, max_completion_tokens: 9e9 }, { max_tokens: 64_000 }],
    ['openai-responses', { max_output_tokens: null }, { max_output_tokens: 64_000 }],
    [
      'anthropic',
      { thinking: { type: 'enabled', budget_tokens: 9e9 }, max_tokens: 2_000 },
      { max_tokens: 2_000, thinking: { type: 'enabled', budget_tokens: 1_999 } },
    ],
    [
      'gemini',
      { generationConfig: { candidateCount: 8, maxOutputTokens: 9e9 } },
      { generationConfig: { candidateCount: 1, maxOutputTokens: 64_000 } },
    ],
  ])('%s %j', async (wire, extra, forwarded) => {
    expect((await at.call(wire, extra)).status).toBe(200);
    expect(at.provider.calls.at(-1)?.body).toMatchObject(forwarded);
  });

  test.each([0, -1, '100', 0.5])('%s tokens', async (max_tokens) => {
    await denied(() => at.call('anthropic', { max_tokens }), 'llm_field');
  });
});

describe('LLM-012 LLM-013 LLM-014 LLM-019 what a provider would do by itself', () => {
  const file = { type: 'file', file_id: 'f' };
  test.each<[string, Wire, Record<string, unknown>, string]>([
    ['web search', 'anthropic', tools({ type: 'web_search_20250305', name: 'web_search' }), 'llm_server_tool'],
    ['web fetch', 'anthropic', tools({ type: 'web_fetch_20250910', name: 'web_fetch' }), 'llm_server_tool'],
    ['code', 'anthropic', tools({ type: 'code_execution_20250825', name: 'c' }), 'llm_server_tool'],
    ['a computer', 'anthropic', tools({ type: 'computer_20250124', name: 'c' }), 'llm_server_tool'],
    ['a container', 'anthropic', { container: { skills: [{ skill_id: 'pdf' }] } }, 'llm_server_tool'],
    ['MCP', 'anthropic', { mcp_servers: [{ type: 'url', url: 'https://evil.test', name: 'x' }] }, 'llm_server_tool'],
    ['web search', 'openai-chat', { web_search_options: {} }, 'llm_server_tool'],
    ['a plug-in', 'openai-chat', { plugins: [{ id: 'web' }] }, 'llm_server_tool'],
    ['web search', 'openai-responses', tools({ type: 'web_search' }), 'llm_server_tool'],
    ['code', 'openai-responses', tools({ type: 'code_interpreter', container: { type: 'auto' } }), 'llm_server_tool'],
    [
      'MCP',
      'openai-responses',
      tools({ type: 'mcp', server_label: 'x', server_url: 'https://evil.test' }),
      'llm_server_tool',
    ],
    ['search', 'gemini', tools({ googleSearch: {} }), 'llm_server_tool'],
    ['search, spelled otherwise', 'gemini', tools({ google_search: {} }), 'llm_field'],
    ['URLs', 'gemini', tools({ urlContext: {} }), 'llm_server_tool'],
    [
      'an image by URL',
      'anthropic',
      user({ type: 'image', source: { type: 'url', url: 'https://evil.test/a' } }),
      'llm_url_source',
    ],
    [
      'a document by URL',
      'anthropic',
      user({ type: 'document', source: { type: 'url', url: 'https://evil.test/a' } }),
      'llm_url_source',
    ],
    ['a stored file', 'anthropic', user({ type: 'document', source: file }), 'llm_url_source'],
    [
      'an image by URL',
      'openai-chat',
      user({ type: 'image_url', image_url: { url: 'https://evil.test/a' } }),
      'llm_url_source',
    ],
    [
      'a file by URL',
      'openai-responses',
      input({ type: 'input_file', file_url: 'https://evil.test/a' }),
      'llm_url_source',
    ],
    ['a file', 'gemini', { contents: [{ parts: [{ fileData: { fileUri: 'gs://evil/a' } }] }] }, 'llm_url_source'],
    ['background work', 'openai-responses', { background: true }, 'llm_field'],
    ['a stored answer', 'openai-responses', { store: true }, 'llm_field'],
    ['an earlier answer', 'openai-responses', { previous_response_id: 'r' }, 'llm_field'],
    ['a conversation', 'openai-responses', { conversation: 'c' }, 'llm_field'],
    ['a stored prompt', 'openai-responses', { prompt: { id: 'p' } }, 'llm_field'],
    ['cached content', 'gemini', { cachedContent: 'cachedContents/x' }, 'llm_field'],
    ['other models', 'openai-chat', { models: ['dear'] }, 'llm_model_not_allowed'],
    ['a web hook', 'openai-responses', { webhook: 'https://evil.test' }, 'llm_field'],
    ['a field of next year', 'anthropic', { future_field: 1 }, 'llm_field'],
    ['audio', 'openai-chat', { audio: { voice: 'x', format: 'wav' } }, 'llm_field'],
  ])('%s: %s', async (_name, wire, extra, reason) => {
    await denied(() => at.call(wire, extra), reason);
  });
});

describe('LLM-015 endpoints', () => {
  test.each([
    ['POST', '/v1/files'],
    ['POST', '/v1/messages/batches'],
    ['POST', '/v1/batches'],
    ['POST', '/v1/fine_tuning/jobs'],
    ['POST', '/v1/vector_stores'],
    ['POST', '/v1/assistants'],
    ['GET', '/v1/realtime'],
    ['POST', '/v1/skills'],
    ['GET', '/v1/organizations/users'],
    ['POST', '/v1/images/generations'],
    ['POST', '/v1/embeddings'],
    ['POST', '/v1/complete'],
    ['POST', '/v1/../v1/messages'],
    ['POST', '/v1//messages'],
    ['POST', '/v1/%6dessages'],
    ['POST', '/v2/messages'],
    ['POST', '/v1/messages?beta=true&webhook=https://evil.test'],
    ['DELETE', '/v1/messages'],
    ['POST', '/v1beta/models/m:batchGenerateContent'],
    ['POST', '/v1beta/models/..%2fm:generateContent'],
    ['POST', '/upload/v1beta/files'],
  ])('%s %s', async (method, path) => {
    await denied(() => at.ask(path, BASE.anthropic, { method }), 'llm_endpoint');
  });

  test('another version of the API is refused, values of beta headers that nobody vouches for are left out', async () => {
    await denied(() => at.call('anthropic', {}, { headers: { 'anthropic-version': '2099-01-01' } }), 'llm_field');
    const betas =
      'files-api-2025-04-14,code-execution-2025-05-22,interleaved-thinking-2025-05-14,mcp-client-2025-04-04';
    await at.call('anthropic', {}, { headers: { 'anthropic-beta': betas } });
    expect(at.provider.calls.at(-1)?.headers['anthropic-beta']).toBe('interleaved-thinking-2025-05-14');
  });
});

test('LLM-016 keys of the agent’s own reach nobody, and are told', async () => {
  const evil = 'attacker-key-0123456789';
  const headers = { authorization: `Bearer ${evil}`, 'x-api-key': evil, cookie: evil, 'openai-project': evil };
  const seen = at.provider.calls.length;
  for (const wire of Object.keys(BASE) as Wire[]) {
    expect((await at.ask(`${PATH[wire](false)}?key=${evil}`, BASE[wire], { headers })).status).toBe(200);
  }
  const sink = at.provider.calls.slice(seen).map(({ headers: got, path, rawBody }) => [got, path, rawBody]);
  expect(sink).toHaveLength(4);
  expect(JSON.stringify(sink)).not.toContain(evil);
  await expect.poll(() => at.events.filter(({ type }) => type === 'llm.foreign_key').length).toBeGreaterThanOrEqual(4);
  expect(JSON.stringify(at.events)).not.toContain(evil);
});

test('LLM-017 providers are not reached beside the model endpoint, and no policy can open them', async () => {
  const hosts = [
    'api.anthropic.com',
    'api.openai.com',
    'generativelanguage.googleapis.com',
    'openrouter.ai',
    'api.mistral.ai',
  ];
  for (const host of hosts) {
    expect((await connectTo(at.socket, `${host}:443`)).status, host).toBe(403);
    expect(isModelHost(host), host).toBe(true);
    const rules = [{ host, source: 'a line' }];
    expect(lintPolicy({ rules, deny: [], gitRepositories: [] })).toHaveLength(1);
  }
});

describe('RES-009 odd requests', () => {
  test.each<[string, string | Uint8Array, Record<string, string>, RegExp]>([
    ['UTF-16', Buffer.from(JSON.stringify(BASE.anthropic), 'utf16le'), {}, /malformed/],
    ['broken UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), {}, /malformed/],
    ['said to be packed', JSON.stringify(BASE.anthropic), { 'content-encoding': 'gzip' }, /too_large/],
    ['packed in what is not read', JSON.stringify(BASE.anthropic), { 'content-encoding': 'zstd' }, /llm_field/],
    ['another type', JSON.stringify(BASE.anthropic), { 'content-type': 'text/plain' }, /llm_field/],
    ['33 MiB', Buffer.alloc(33 * 2 ** 20, ' '), {}, /too_large/],
  ])('%s', async (_name, body, headers, reason) => {
    await denied(() => at.ask('/v1/messages', body, { headers }), reason);
  });
});
