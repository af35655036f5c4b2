import type { RequestListener } from 'node:http';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import type { Wire } from '../../src/domain/policy.ts';
import { answering, call, HOST_KEY, openLane } from './llm-fixture.ts';
import type { Lane, LaneOptions } from './llm-fixture.ts';

/* Answers in forms that no agent asked for: what is passed on, and what is charged. */

const undo: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function lane(options: LaneOptions): Promise<Lane> {
  const opened = await openLane(options);
  undo.push(() => opened.stop());
  return opened;
}

async function upstream(answer: RequestListener): Promise<string> {
  const { url, stop } = await answering(answer);
  undo.push(stop);
  return url;
}

describe('a running count before the end', () => {
  const chat = (finish: string | null, usage: unknown): unknown => ({
    choices: [{ index: 0, delta: { content: 'x' }, finish_reason: finish }],
    usage,
  });
  const ofChat = (tokens: number): unknown => ({ prompt_tokens: 10, completion_tokens: tokens });
  const gemini = (finish: string | undefined, usageMetadata: unknown): unknown => ({
    candidates: [{ content: { parts: [{ text: 'x' }] }, finishReason: finish }],
    usageMetadata,
  });
  const ofGemini = (tokens: number): unknown => ({ promptTokenCount: 10, candidatesTokenCount: tokens });

  test.each<[string, Wire, unknown[], Record<string, unknown>]>([
    ['is not the usage', 'openai-chat', [chat(null, ofChat(1)), chat('stop', null)], { outcome: 'reserved' }],
    [
      'is followed by the usage in the last frame',
      'openai-chat',
      [chat(null, ofChat(1)), chat('stop', ofChat(7))],
      { outcome: 'usage', usage: { output: 7 } },
    ],
    [
      'is followed by the usage after it',
      'openai-chat',
      [chat(null, ofChat(1)), chat('stop', null), chat(null, ofChat(8))],
      { outcome: 'usage', usage: { output: 8 } },
    ],
    [
      'is not the usage',
      'gemini',
      [gemini(undefined, ofGemini(1)), gemini('STOP', undefined)],
      { outcome: 'reserved' },
    ],
    [
      'is followed by the usage',
      'gemini',
      [gemini(undefined, ofGemini(1)), gemini('STOP', ofGemini(9))],
      { outcome: 'usage', usage: { output: 9 } },
    ],
  ])('%s (%s)', async (_name, wire, events, settled) => {
    const baseUrl = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.end(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(''));
    });
    const at = await lane({ wire, baseUrl });
    await (await call(at, wire, true)).text();
    await at.quiet();
    expect(at.settlements).toMatchObject([settled]);
  });
});

test.each([true, false])(
  'what an aggregator says that it charged counts where it is more (stream: %s)',
  async (stream) => {
    const told = [0.002, 0.000_001];
    const baseUrl = await upstream((_req, res) => {
      const usage = { prompt_tokens: 100, completion_tokens: 7, total_tokens: 107, cost: told.shift() };
      const body = { choices: [{ index: 0, delta: {}, message: {}, finish_reason: 'stop' }], usage };
      res.writeHead(200, { 'content-type': stream ? 'text/event-stream' : 'application/json' });
      res.end(stream ? `data: ${JSON.stringify(body)}\n\ndata: [DONE]\n\n` : JSON.stringify(body));
    });
    const at = await lane({ wire: 'openai-chat', baseUrl });
    for (let i = 0; i < 2; i++) await (await call(at, 'openai-chat', stream)).text();
    await at.quiet();
    // 100 × 3 + 7 × 15
    expect(at.settlements.map(({ cost }) => cost)).toEqual([2_000, 405]);
  },
);

describe('packed although identity was asked for', () => {
  const usage = { input_tokens: 1_000, output_tokens: 7 };
  const whole = JSON.stringify({ type: 'message', content: [], usage });
  test.each<[string, (text: string) => Buffer]>([
    ['zstd', (text) => zstdCompressSync(text)],
    ['br', (text) => brotliCompressSync(text)],
    ['deflate', (text) => deflateSync(text)],
  ])('%s is unpacked and settled on its usage', async (encoding, pack) => {
    const baseUrl = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': encoding }).end(pack(whole));
    });
    const at = await lane({ baseUrl });
    expect(await (await call(at, 'anthropic', false)).json()).toMatchObject({ usage });
    await at.quiet();
    expect(at.settlements).toMatchObject([{ outcome: 'usage', cost: 3_105 }]);
  });

  test('what nothing here unpacks goes on as it is and costs the reservation', async () => {
    const baseUrl = await upstream((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'x-odd' }).end('\0odd');
    });
    const at = await lane({ baseUrl });
    const response = await call(at, 'anthropic', false);
    expect([response.headers.get('content-encoding'), await response.text()]).toEqual(['x-odd', '\0odd']);
    await at.quiet();
    expect(at.settlements).toMatchObject([{ outcome: 'reserved' }]);
  });

  test.each(['gzip', 'x-odd'])('an error hides no key in it (%s)', async (encoding) => {
    const said = JSON.stringify({ error: { message: `your key ${HOST_KEY} may not` } });
    const baseUrl = await upstream((_req, res) => {
      res.writeHead(404, { 'content-type': 'application/json', 'content-encoding': encoding });
      res.end(encoding === 'gzip' ? gzipSync(said) : said);
    });
    const response = await call(await lane({ baseUrl }), 'anthropic', false);
    expect([response.status, await response.text()]).toEqual([
      404,
      encoding === 'gzip' ? said.replace(HOST_KEY, '[key]') : '',
    ]);
  });
});

test.each([
  [504, 'reserved'],
  [524, 'reserved'],
  [503, 'released'],
])('somebody on the way who stopped waiting (%s) does not say that nothing was charged', async (status, outcome) => {
  const baseUrl = await upstream((_req, res) => res.writeHead(status).end('{}'));
  const at = await lane({ baseUrl });
  expect((await call(at, 'anthropic', false)).status).toBe(status);
  await at.quiet();
  expect(at.settlements).toMatchObject([{ outcome, status }]);
});

test('LLM-006 at an address of one deployment only its name is a model: another name would be another price', async () => {
  const baseUrl = await upstream((_req, res) => res.end('{}'));
  const at = (path: string): Promise<Lane> => lane({ wire: 'openai-chat', baseUrl: baseUrl + path });
  const refused = await call(await at('/openai/deployments/dear?api-version=2025-01-01'), 'openai-chat', false);
  expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining('of the model \\"dear\\"')]);
  expect((await call(await at('/openai/deployments/m?api-version=2025-01-01'), 'openai-chat', false)).status).toBe(200);
});

test.each([
  ['/openai/deployments/m?api-version=2025-01-01', 'api-key', HOST_KEY],
  ['/v1', 'authorization', `Bearer ${HOST_KEY}`],
])('a server at %s gets its key in %s', async (path, header, value) => {
  const seen: unknown[] = [];
  const url = await upstream((req, res) => {
    seen.push([
      req.headers[header],
      Object.keys(req.headers).filter((name) => /^(?:api-key|authorization)$/.test(name)),
    ]);
    res.end('{}');
  });
  await call(await lane({ wire: 'openai-chat', baseUrl: url + path }), 'openai-chat', false);
  expect(seen).toEqual([[value, [header]]]);
});
