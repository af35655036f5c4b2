import { calcPrice } from '@pydantic/genai-prices';
import { expect, test } from 'vitest';
import { priceTable } from '../../src/gateway/llm/prices.ts';
import { upstreamUrl } from '../../src/gateway/llm/upstream.ts';
import { cost, findPrice } from '../../src/policy/llm/prices.ts';
import type { Wire } from '../../src/domain/policy.ts';

const at = new Date('2026-11-24T12:00:00Z');
const providers = [
  { id: 'anthropic', wires: ['anthropic'] as const, baseUrl: 'https://api.anthropic.com/v1' },
  { id: 'openai', wires: ['openai-responses', 'openai-chat'] as const, baseUrl: 'https://api.openai.com/v1' },
  { id: 'google', wires: ['gemini'] as const, baseUrl: 'https://generativelanguage.googleapis.com/v1beta' },
  { id: 'corp', wires: ['anthropic'] as const, baseUrl: 'http://llm.corp.example' },
];
const table = priceTable({ providers, prices: { 'my-model': { inputPerMTok: 1.5, outputPerMTok: 6 } }, at });

test.each([
  ['anthropic', 'claude-sonnet-4-5'],
  ['anthropic', 'claude-sonnet-4-5-20250929'],
  ['anthropic', 'claude-sonnet-4-6'],
  ['anthropic', 'claude-opus-5'],
  ['openai', 'gpt-5'],
  ['openai', 'gpt-5.4'],
  ['openai', 'gpt-5.6-sol'],
  ['google', 'gemini-2.5-pro'],
])('LLM-009 %s %s costs what the price library says', (providerId, model) => {
  const row = findPrice(table, providerId, model);
  if (row === undefined) throw new Error('unpriced');
  for (const scale of [1, 100]) {
    const usage = {
      input: 3_000 * scale,
      cacheRead: 1_000 * scale,
      cacheWrite: 0,
      cacheWrite1h: 0,
      output: 77 * scale,
    };
    const library = calcPrice(
      { input_tokens: 4_000 * scale, cache_read_tokens: 1_000 * scale, output_tokens: 77 * scale },
      model,
      { providerId, timestamp: at },
    );
    expect(cost(row, usage)).toBe(Math.ceil(Number(((library?.total_price ?? 0) * 1e6).toFixed(3))));
  }
});

test('LLM-009 Anthropic’s cache writes have their two prices', () => {
  const row = findPrice(table, 'anthropic', 'claude-sonnet-5');
  expect(row?.rates).toEqual({ input: 2e6, output: 10e6, cacheRead: 0.2e6, cacheWrite: 2.5e6, cacheWrite1h: 4e6 });
});

test('LLM-006 what the library does not know is unpriced', () => {
  for (const model of [
    'claude-sonnet-9',
    'gpt-5',
    'CLAUDE-SONNET-4-5',
    'anthropic/claude-sonnet-4-5',
    'claude-opus-5-ultra',
  ]) {
    expect(findPrice(table, 'anthropic', model)).toBeUndefined();
  }
});

test('LLM-012 models that search without being asked to are unpriced: searches cost beside the tokens', () => {
  const provider = (id: string): (typeof providers)[number] => ({
    id,
    wires: ['openai-chat'] as never,
    baseUrl: 'http://x.example',
  });
  const own = { 'sonar-pro': { inputPerMTok: 30, outputPerMTok: 150 } };
  const prices = priceTable({ providers: [provider('openai'), provider('perplexity')], prices: own, at });
  const names = ['gpt-4o-search-preview', 'gpt-4o-mini-search-preview-2025-03-11', 'o3-deep-research'];
  for (const name of names) expect(findPrice(prices, 'openai', name), name).toBeUndefined();
  expect(findPrice(prices, 'openai', 'gpt-4o')).toBeDefined();
  expect(findPrice(prices, 'perplexity', 'sonar')).toBeUndefined();
  expect(findPrice(prices, 'perplexity', 'sonar-pro')?.source).toBe('operator');
});

test('LLM-011 where images are dearer than text, all of an answer is counted as images', () => {
  expect(findPrice(table, 'google', 'gemini-2.5-flash-image')?.rates.output).toBe(30e6);
  expect(findPrice(table, 'google', 'gemini-2.5-flash')?.rates.output).toBe(2.5e6);
});

test('a provider of the operator’s has the prices of its wire’s maker, and his own for the rest', () => {
  expect(findPrice(table, 'corp', 'claude-opus-5')?.rates).toEqual(
    findPrice(table, 'anthropic', 'claude-opus-5')?.rates,
  );
  expect(findPrice(table, 'corp', 'my-model')?.rates.input).toBe(1.5e6);
});

test('prices are those of the day on which the table was frozen', () => {
  const before = priceTable({ providers, prices: {}, at: new Date('2026-08-01T00:00:00Z') });
  const rate = (prices: typeof table): number | undefined => findPrice(prices, 'openai', 'gpt-5.6-sol')?.rates.input;
  expect([rate(before), rate(table)]).toEqual([5e6, 4e6]);
  expect(before.hash).not.toBe(table.hash);
  expect(table.date).toBe('2026-11-24');
});

test.each<[string, Wire, string, string]>([
  ['https://api.anthropic.com', 'anthropic', '/messages?beta=true', 'https://api.anthropic.com/v1/messages?beta=true'],
  ['http://10.0.0.1:8080/anthropic/', 'anthropic', '/messages', 'http://10.0.0.1:8080/anthropic/v1/messages'],
  ['http://llm.corp.example/v1', 'openai-chat', '/chat/completions', 'http://llm.corp.example/v1/chat/completions'],
  ['http://127.0.0.1:1234', 'openai-chat', '/chat/completions', 'http://127.0.0.1:1234/v1/chat/completions'],
  [
    'https://openrouter.example/api/v1',
    'openai-chat',
    '/chat/completions',
    'https://openrouter.example/api/v1/chat/completions',
  ],
  [
    'https://x.azure.example/openai/deployments/d?api-version=2025-01-01',
    'openai-chat',
    '/chat/completions',
    'https://x.azure.example/openai/deployments/d/chat/completions?api-version=2025-01-01',
  ],
  [
    'https://g.example',
    'gemini',
    '/models/m:streamGenerateContent?alt=sse',
    'https://g.example/v1beta/models/m:streamGenerateContent?alt=sse',
  ],
])('a call below %s (%s %s) goes to %s', (baseUrl, wire, path, expected) => {
  expect(upstreamUrl({ id: 'p', wires: [wire], baseUrl }, wire, path).href).toBe(expected);
});
