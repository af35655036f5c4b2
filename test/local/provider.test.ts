import { afterEach, describe, expect, test } from 'vitest';
import type { Wire } from '../../src/domain/policy.ts';
import { charge } from '../../src/local/provider/books.ts';
import { fixProject } from '../../src/local/provider/fix-project.ts';
import type { Reply } from '../../src/local/provider/script.ts';
import { startProvider } from '../../src/local/provider/server.ts';
import type { RunningProvider } from '../../src/local/provider/server.ts';

const KEY = 'key-of-the-host';
let provider: RunningProvider | undefined;

afterEach(async () => {
  await provider?.stop();
  provider = undefined;
});

async function start(reply: Reply | ((index: number) => Reply)): Promise<RunningProvider> {
  provider = await startProvider({
    apiKey: KEY,
    prices: { m: { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75 } },
    script: (call) => (typeof reply === 'function' ? reply(call.index) : reply),
  });
  return provider;
}

const bash = { type: 'object', properties: { command: { type: 'string' } }, required: ['command'] };

/** A smallest request of each wire, with one tool. */
const requests: Record<Wire, { path: string; headers: Record<string, string>; body: (stream: boolean) => unknown }> = {
  anthropic: {
    path: '/v1/messages',
    headers: { 'x-api-key': KEY },
    body: (stream) => ({
      model: 'm',
      max_tokens: 100,
      stream,
      messages: [{ role: 'user', content: 'hi' }],
      tools: [{ name: 'bash', input_schema: bash }],
    }),
  },
  'openai-chat': {
    path: '/v1/chat/completions',
    headers: { authorization: `Bearer ${KEY}` },
    body: (stream) => ({
      model: 'm',
      stream,
      stream_options: { include_usage: true },
      messages: [{ role: 'user', content: 'hi' }],
      tools: [{ type: 'function', function: { name: 'bash', parameters: bash } }],
    }),
  },
  'openai-responses': {
    path: '/v1/responses',
    headers: { authorization: `Bearer ${KEY}` },
    body: (stream) => ({
      model: 'm',
      stream,
      input: 'hi',
      tools: [{ type: 'function', name: 'bash', parameters: bash }],
    }),
  },
  gemini: {
    path: '/v1beta/models/m:generateContent',
    headers: { 'x-goog-api-key': KEY },
    body: () => ({
      contents: [{ role: 'user', parts: [{ text: 'hi' }] }],
      tools: [{ functionDeclarations: [{ name: 'bash', parameters: bash }] }],
    }),
  },
};

async function post(url: string, wire: Wire, stream: boolean, headers = requests[wire].headers): Promise<Response> {
  const path = requests[wire].path.replace(':generate', stream ? ':streamGenerate' : ':generate');
  return await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(requests[wire].body(stream)),
  });
}

describe.each(Object.keys(requests) as Wire[])('%s', (wire) => {
  test('answers whole and streamed with the same text, call and usage', async () => {
    const usage = { input: 40, cacheRead: 10, output: 7 };
    const reply = { text: 'All right then, here it comes.', calls: [{ name: 'bash', args: { command: 'ls' } }], usage };
    const { url, books, calls } = await start(reply);
    const whole = await (await post(url, wire, false)).text();
    const stream = await (await post(url, wire, true)).text();
    const said = [...stream.matchAll(/"(?:text|content|delta)":"((?:[^"\\]|\\.)*)"/g)].map((m) => m[1]).join('');
    expect(whole).toContain('All right then, here it comes.');
    expect(said).toContain('All right then, here it comes.');
    for (const answer of [whole, stream]) {
      expect(answer).toContain('bash');
      expect(answer).toMatch(/(?:input_tokens"?|prompt_tokens"?|promptTokenCount"?):(?:40|50)\b/);
    }
    expect(calls.map((call) => call.main)).toEqual([true, true]);
    // 40 × 3 + 10 × 0.3 + 7 × 15
    expect(books.map((entry) => [entry.cost, entry.outcome])).toEqual([
      [228, 'done'],
      [228, 'done'],
    ]);
  });

  test('refuses a wrong key with 401 and charges nothing', async () => {
    const running = await start({ text: 'x' });
    const response = await post(running.url, wire, false, { 'x-api-key': 'wrong', authorization: 'Bearer wrong' });
    expect(response.status).toBe(401);
    expect(running.charged()).toBe(0);
  });

  test('cuts the stream before the usage and still charges what it generated', async () => {
    const { url, books } = await start({
      text: 'word '.repeat(40),
      usage: { input: 1, output: 50 },
      fault: { cutBeforeUsage: true },
    });
    await expect((await post(url, wire, true)).text()).rejects.toThrow();
    expect(books[0]).toMatchObject({ outcome: 'cut', usage: { output: 50 }, cost: 3 + 50 * 15 });
  });

  test('an endless stream ends when the client leaves', async () => {
    const { url, books } = await start({ text: 'x', fault: { endless: true, ignoreMaxTokens: true } });
    const response = await post(url, wire, true);
    const reader = response.body?.getReader();
    for (let i = 0; i < 5; i++) await reader?.read();
    await reader?.cancel();
    await expect.poll(() => books[0]?.outcome).toBe('aborted');
    expect(books[0]?.usage.output).toBeGreaterThan(1);
  });
});

test('keeps to max_tokens unless told not to', async () => {
  const { url, books } = await start((index) => ({
    text: 'many words '.repeat(200),
    fault: { ignoreMaxTokens: index === 1 },
  }));
  const first = (await (await post(url, 'anthropic', false)).json()) as { stop_reason: string };
  await post(url, 'anthropic', false);
  expect(first.stop_reason).toBe('max_tokens');
  expect(books.map((entry) => entry.usage.output)).toEqual([100, 550]);
});

test('error answers keep status, headers and the wire’s shape, and charge nothing', async () => {
  const running = await start({
    error: { status: 429, message: 'slow down', headers: { 'retry-after': '7' } },
  });
  const response = await post(running.url, 'anthropic', true);
  expect([response.status, response.headers.get('retry-after')]).toEqual([429, '7']);
  expect(await response.json()).toEqual({ type: 'error', error: { type: 'rate_limit_error', message: 'slow down' } });
  expect(running.charged()).toBe(0);
});

test('a chat stream tells its usage only when asked', async () => {
  const { url } = await start({ text: 'x' });
  const { path, headers } = requests['openai-chat'];
  const body = JSON.stringify({ model: 'm', stream: true, messages: [] });
  const response = await fetch(url + path, { method: 'POST', headers, body });
  expect(await response.text()).not.toContain('usage');
});

test('the books round a call up to a whole micro-dollar and know tiers', () => {
  const nothing = { input: 0, cacheRead: 0, cacheWrite: 0, cacheWrite1h: 0, output: 0 };
  expect(charge({ input: 0.075, output: 0.3 }, { ...nothing, input: 1, output: 1 })).toBe(1);
  const card = { input: 3, output: 15, tiers: [{ above: 200_000, input: 6, output: 22.5 }] };
  expect(charge(card, { ...nothing, input: 200_000, output: 2 })).toBe(600_030);
  expect(charge(card, { ...nothing, input: 200_001, output: 2 })).toBe(1_200_051);
});

describe('fixProject', () => {
  const steps = [
    { say: 'First I look.' },
    { read: 'a.js' },
    { edit: { path: 'a.js', before: '-', after: '+' } },
    { run: 'npm test' },
    { say: 'Fixed.' },
  ];
  const call = {
    wire: 'anthropic' as const,
    index: 0,
    main: true,
    model: 'm',
    stream: true,
    texts: ['You work here.\n  Working directory: /clone/space\n'],
    results: [],
    maxTokens: undefined,
    wantsUsage: true,
  };
  const shape = (...names: string[]): Record<string, unknown> => ({
    type: 'object',
    properties: Object.fromEntries(names.map((name) => [name, { type: 'string' }])),
    required: names,
  });
  const named = [
    { name: 'bash', schema: shape('command', 'description'), freeform: false },
    { name: 'read', schema: shape('filePath'), freeform: false },
    { name: 'edit', schema: shape('filePath', 'oldString', 'newString'), freeform: false },
  ];

  test('walks through the plan with the agent’s own tools', async () => {
    const script = fixProject({ steps });
    const replies = [];
    for (const rounds of [0, 1, 2, 3]) replies.push(await script({ ...call, tools: named, rounds }));
    expect(replies).toEqual([
      { text: 'First I look.', calls: [{ name: 'read', args: { filePath: '/clone/space/a.js' } }] },
      { text: '', calls: [{ name: 'edit', args: { filePath: '/clone/space/a.js', oldString: '-', newString: '+' } }] },
      { text: '', calls: [{ name: 'bash', args: { command: 'npm test', description: 'as the task asks' } }] },
      { text: 'Fixed.' },
    ]);
  });

  test('a list of edits is filled by its own shape', async () => {
    const edits = { type: 'array', items: shape('oldText', 'newText') };
    const tools = [{ name: 'edit', schema: { properties: { path: { type: 'string' }, edits } }, freeform: false }];
    expect(await fixProject({ steps, cwd: '/w' })({ ...call, tools, rounds: 1 })).toMatchObject({
      calls: [{ name: 'edit', args: { path: '/w/a.js', edits: [{ oldText: '-', newText: '+' }] } }],
    });
  });

  test('an agent with a shell only gets shell commands', async () => {
    const tools = [{ name: 'exec_command', schema: shape('cmd'), freeform: false }];
    const reply = await fixProject({ steps })({ ...call, tools, rounds: 0 });
    expect(reply.calls).toEqual([{ name: 'exec_command', args: { cmd: "cat '/clone/space/a.js'" } }]);
  });

  test('says so when no tool fits, and gives a title to requests without tools', async () => {
    const script = fixProject({ steps, title: 'A title' });
    expect((await script({ ...call, tools: [], rounds: 0 })).text).toContain('no tool');
    expect(await script({ ...call, main: false, tools: [], rounds: 0 })).toEqual({ text: 'A title' });
  });
});
