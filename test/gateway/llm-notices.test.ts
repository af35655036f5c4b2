import { afterEach, describe, expect, test } from 'vitest';
import type { Wire } from '../../src/domain/policy.ts';
import { openLane, PATHS, post } from './llm-fixture.ts';
import type { Lane, LaneOptions } from './llm-fixture.ts';

const SAID = '[Cofferdam] 80 % of the budget of this run is used. Finish what you have begun and end soon.';

const lanes: Lane[] = [];
afterEach(async () => {
  await Promise.all(lanes.splice(0).map((lane) => lane.stop()));
});

async function lane(options: LaneOptions): Promise<Lane> {
  const opened = await openLane(options);
  lanes.push(opened);
  return opened;
}

/** A conversation in which two tools have just answered, as agents send it. */
const AFTER_TOOLS: Record<Wire, Record<string, unknown>> = {
  anthropic: {
    model: 'm',
    max_tokens: 100,
    stream: true,
    system: [{ type: 'text', text: 'You are an agent.', cache_control: { type: 'ephemeral' } }],
    tools: [{ name: 't', input_schema: { type: 'object' } }],
    messages: [
      { role: 'user', content: 'do it' },
      {
        role: 'assistant',
        content: [
          { type: 'tool_use', id: 'a', name: 't', input: {} },
          { type: 'tool_use', id: 'b', name: 't', input: {} },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'a', content: 'one' },
          { type: 'tool_result', tool_use_id: 'b', content: 'two', cache_control: { type: 'ephemeral' } },
        ],
      },
    ],
  },
  'openai-chat': {
    model: 'm',
    max_tokens: 100,
    stream: true,
    tools: [{ type: 'function', function: { name: 't', parameters: {} } }],
    messages: [
      { role: 'system', content: 'You are an agent.' },
      { role: 'user', content: 'do it' },
      {
        role: 'assistant',
        content: null,
        tool_calls: [
          { id: 'a', type: 'function', function: { name: 't', arguments: '{}' } },
          { id: 'b', type: 'function', function: { name: 't', arguments: '{}' } },
        ],
      },
      { role: 'tool', tool_call_id: 'a', content: 'one' },
      { role: 'tool', tool_call_id: 'b', content: 'two' },
    ],
  },
  'openai-responses': {
    model: 'm',
    max_output_tokens: 100,
    stream: true,
    tools: [{ type: 'function', name: 't', parameters: {} }],
    input: [
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'do it' }] },
      { type: 'function_call', call_id: 'a', name: 't', arguments: '{}' },
      { type: 'function_call_output', call_id: 'a', output: 'one' },
    ],
  },
  gemini: {
    generationConfig: { maxOutputTokens: 100 },
    tools: [{ functionDeclarations: [{ name: 't' }] }],
    contents: [
      { role: 'user', parts: [{ text: 'do it' }] },
      { role: 'model', parts: [{ functionCall: { name: 't', args: {} } }] },
      { role: 'user', parts: [{ functionResponse: { name: 't', response: { output: 'one' } } }] },
    ],
  },
};

/** What has to stand at the end, and what before it. */
const EXPECTED: Record<Wire, (turns: Record<string, unknown>[]) => unknown> = {
  anthropic: (turns) => {
    const last = turns.at(-1) as { content: unknown[] };
    return [...turns.slice(0, -1), { ...last, content: [...last.content, { type: 'text', text: SAID }] }];
  },
  'openai-chat': (turns) => [...turns.slice(0, -1), { ...turns.at(-1), content: `two\n\n${SAID}` }],
  'openai-responses': (turns) => [
    ...turns,
    { type: 'message', role: 'user', content: [{ type: 'input_text', text: SAID }] },
  ],
  gemini: (turns) => {
    const last = turns.at(-1) as { parts: unknown[] };
    return [...turns.slice(0, -1), { ...last, parts: [...last.parts, { text: SAID }] }];
  },
};
const TURNS: Record<Wire, string> = {
  anthropic: 'messages',
  'openai-chat': 'messages',
  'openai-responses': 'input',
  gemini: 'contents',
};
const WIRES = Object.keys(TURNS) as Wire[];

describe.each(WIRES)('words of the host in %s, as the provider gets them', (wire) => {
  const send = async (at: Lane, body: unknown): Promise<void> => {
    const response = await post(at.url + PATHS[wire].stream, body);
    expect(response.status).toBe(200);
    await response.text();
  };

  test('are the end of the last turn; nothing before them changes, and tools’ results stay by their calls', async () => {
    const queue = [[], [SAID], []];
    const at = await lane({ wire, notices: () => queue.shift() ?? [] });
    for (let i = 0; i < 3; i++) await send(at, AFTER_TOOLS[wire]);
    const [before, told, after] = at.provider.calls.map(({ body }) => body);
    const turns = before?.[TURNS[wire]] as Record<string, unknown>[];
    expect(told).toEqual({ ...before, [TURNS[wire]]: EXPECTED[wire](turns) });
    // What a provider has cached of the conversation begins with the same bytes in all three.
    expect(after).toEqual(before);
    const start = JSON.stringify(turns).slice(0, -60);
    for (const call of at.provider.calls) expect(call.rawBody).toContain(start);
    await at.quiet();
    expect((await at.standing()).spent).toBeGreaterThanOrEqual(at.provider.charged());
  });

  test('are covered by the reservation, also where it was cut to what is left', async () => {
    const at = await lane({ wire, notices: () => [SAID, SAID, SAID], limits: { minOutputTokens: 10 } });
    await send(at, AFTER_TOOLS[wire]);
    const [first] = at.reserves;
    const tight = await lane({
      wire,
      notices: () => [SAID, SAID, SAID],
      cap: (first?.amount ?? 0) + (first?.atLeast ?? 0) - 1,
      limits: { minOutputTokens: 10 },
    });
    await send(tight, AFTER_TOOLS[wire]);
    expect(tight.provider.calls[0]?.maxTokens).toBeLessThan(100);
    expect(tight.provider.calls[0]?.rawBody).toContain(SAID);
    expect(at.provider.calls[0]?.rawBody.length).toBeLessThan(at.reserves[0]?.inputTokens ?? 0);
  });

  test('join a plain text of the user', async () => {
    const at = await lane({ wire, notices: () => [SAID] });
    const plain = {
      anthropic: { messages: [{ role: 'user', content: 'do it' }] },
      'openai-chat': { messages: [{ role: 'user', content: 'do it' }] },
      'openai-responses': { input: 'do it' },
      gemini: { contents: { parts: [{ text: 'do it' }] } },
    };
    await send(at, { ...AFTER_TOOLS[wire], ...plain[wire] });
    const all = JSON.stringify(at.provider.calls[0]?.body[TURNS[wire]]);
    expect(all).toContain('do it');
    expect(all.indexOf(SAID)).toBeGreaterThan(all.indexOf('do it'));
  });

  test('wait for a request that ends where the model is to read, and offers tools', async () => {
    let asked = 0;
    const at = await lane({ wire, notices: () => [String(asked++)] });
    const noTools = Object.fromEntries(Object.entries(AFTER_TOOLS[wire]).filter(([key]) => key !== 'tools'));
    const mouth = {
      anthropic: {
        messages: [
          { role: 'user', content: 'do it' },
          { role: 'assistant', content: 'I' },
        ],
      },
      'openai-chat': {
        messages: [
          { role: 'user', content: 'do it' },
          { role: 'assistant', content: 'I' },
        ],
      },
      'openai-responses': {
        input: [
          { role: 'user', content: 'do it' },
          { role: 'assistant', content: 'I' },
        ],
      },
      gemini: {
        contents: [
          { role: 'user', parts: [{ text: 'x' }] },
          { role: 'model', parts: [{ text: 'I' }] },
        ],
      },
    };
    await send(at, noTools);
    await send(at, { ...AFTER_TOOLS[wire], ...mouth[wire] });
    expect(asked).toBe(0);
    await send(at, AFTER_TOOLS[wire]);
    expect(asked).toBe(1);
  });
});
