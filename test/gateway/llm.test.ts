import type { RequestListener } from 'node:http';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import type { Wire } from '../../src/domain/policy.ts';
import { answering, call, HOST_KEY, openLane, PATHS, PLACEHOLDER, post, smallest } from './llm-fixture.ts';
import type { Lane, LaneOptions } from './llm-fixture.ts';

const WIRES: Wire[] = ['anthropic', 'openai-chat', 'openai-responses', 'gemini'];
const undo: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function lane(options: LaneOptions = {}): Promise<Lane> {
  const opened = await openLane(options);
  undo.push(() => opened.stop());
  return opened;
}

async function upstream(answer: RequestListener): Promise<string> {
  const { url, stop } = await answering(answer);
  undo.push(stop);
  return url;
}

/** What a test expects of money at the end: the books of both sides agree, and nothing is held. */
async function agrees(at: Lane): Promise<void> {
  await at.quiet();
  expect(await at.standing()).toEqual({ spent: at.provider.charged(), reserved: 0 });
}

describe.each(WIRES)('%s', (wire) => {
  const usage = { input: 1_000, cacheRead: 200, output: 7 };

  test.each([true, false])(
    'passes an answer through and settles on the usage of the provider (stream: %s)',
    async (stream) => {
      const at = await lane({ wire, reply: { text: 'It works, and this is the whole of the answer.', usage } });
      const response = await call(at, wire, stream);
      expect(response.status).toBe(200);
      const text = await response.text();
      const said = stream
        ? [...text.matchAll(/"(?:text|content|delta)":"((?:[^"\\]|\\.)*)"/g)].map((m) => m[1]).join('')
        : text;
      expect(said).toContain('It works, and this is the whole of the answer.');
      await agrees(at);
      // 1000 × 3 + 200 × 0.3 + 7 × 15
      expect(at.settlements).toMatchObject([
        { outcome: 'usage', cost: 3_165, usage: { input: 1_000, cacheRead: 200, output: 7 } },
      ]);
      expect(at.reserves[0]?.amount).toBeGreaterThanOrEqual(100 * 15);
    },
  );

  test('LLM-016 strips every credential of the client and uses the key of the host only', async () => {
    const at = await lane({ wire });
    const evil = 'attacker-key-1234567890';
    const headers = {
      authorization: `Bearer ${evil}`,
      'x-api-key': evil,
      'api-key': evil,
      'x-goog-api-key': evil,
      cookie: `session=${evil}`,
      'anthropic-organization': evil,
      'openai-project': evil,
      'openai-organization': evil,
      'x-forwarded-for': evil,
    };
    const path = PATHS[wire].stream;
    const url = `${at.url}${path}${path.includes('?') ? '&' : '?'}key=${evil}`;
    const response = await post(url, smallest(wire, true), { headers });
    expect(response.status).toBe(200);
    await response.text();
    const seen = at.provider.calls[0];
    expect(JSON.stringify([seen?.headers, seen?.path, seen?.rawBody])).not.toContain(evil);
    expect(JSON.stringify(seen?.headers)).toContain(HOST_KEY);
    expect(at.events).toContainEqual(expect.objectContaining({ type: 'llm.foreign_key' }));
    expect(JSON.stringify(at.events)).not.toContain(evil);
  });

  test('LLM-004 charges the reservation when the usage is missing', async () => {
    const at = await lane({ wire, reply: { text: 'hello', fault: { reportedUsage: { omit: true } } } });
    await (await call(at, wire, true)).text();
    await at.quiet();
    expect(at.settlements).toMatchObject([{ outcome: 'reserved', cost: at.reserves[0]?.amount }]);
    expect((await at.standing()).spent).toBeGreaterThanOrEqual(at.provider.charged());
  });

  test.each([
    [
      'a string',
      { input_tokens: '1', output_tokens: '1', prompt_tokens: '1', completion_tokens: '1', promptTokenCount: '1' },
    ],
    ['negative', { input_tokens: -1, output_tokens: 1, prompt_tokens: -1, completion_tokens: 1, promptTokenCount: -1 }],
    [
      'a fraction',
      { input_tokens: 0.5, output_tokens: 1, prompt_tokens: 0.5, completion_tokens: 1, promptTokenCount: 0.5 },
    ],
    [
      'beyond all numbers',
      { input_tokens: 1e300, output_tokens: 1, prompt_tokens: 1e300, completion_tokens: 1, promptTokenCount: 1e300 },
    ],
    ['a list', []],
    ['null', null],
  ])('LLM-004 charges the reservation when the usage is %s', async (_name, value) => {
    const at = await lane({ wire, reply: { text: 'hello', fault: { reportedUsage: { value } } } });
    for (const stream of [true, false]) await (await call(at, wire, stream)).text();
    await at.quiet();
    expect(at.settlements.map(({ outcome, cost }) => ({ outcome, cost }))).toEqual(
      at.reserves.map(({ amount }) => ({ outcome: 'reserved', cost: amount })),
    );
    expect((await at.standing()).reserved).toBe(0);
  });

  test('LLM-003 a stream that breaks off before its usage costs the reservation', async () => {
    const at = await lane({ wire, reply: { text: 'word '.repeat(30), fault: { cutBeforeUsage: true } } });
    const response = await call(at, wire, true);
    await expect(response.text()).rejects.toThrow();
    await at.quiet();
    expect(at.settlements).toMatchObject([{ outcome: 'reserved', cost: at.reserves[0]?.amount }]);
    expect((await at.standing()).spent).toBeGreaterThanOrEqual(at.provider.charged());
  });

  test('LLM-003 when the client leaves, the rest is read and settled on the usage', async () => {
    const reply = { text: 'word '.repeat(40), fault: { frameDelayMs: 3 } };
    const at = await lane({ wire, reply });
    const leave = new AbortController();
    const response = await post(at.url + PATHS[wire].stream, smallest(wire, true), { signal: leave.signal });
    await response.body?.getReader().read();
    leave.abort();
    await agrees(at);
    expect(at.settlements).toMatchObject([{ outcome: 'usage', aborted: true }]);
  });

  test('LLM-003 an answer that does not end after the client left is broken off and costs the reservation', async () => {
    const at = await lane({
      wire,
      reply: { text: 'x', fault: { endless: true, frameDelayMs: 5 } },
      limits: { drainMs: 60 },
    });
    const leave = new AbortController();
    const response = await post(at.url + PATHS[wire].stream, smallest(wire, true, 20_000), { signal: leave.signal });
    await response.body?.getReader().read();
    leave.abort();
    await at.quiet();
    expect(at.settlements).toMatchObject([{ outcome: 'reserved', aborted: true, cost: at.reserves[0]?.amount }]);
    await expect.poll(() => at.provider.books[0]?.outcome).toBe('aborted');
    expect((await at.standing()).spent).toBeGreaterThanOrEqual(at.provider.charged());
  });

  test('a refusal and an empty budget answer 400 in the shape of the provider, and are not to be repeated', async () => {
    const at = await lane({ wire, cap: 10 });
    const broke = await call(at, wire, true);
    const other = await post(at.url + PATHS[wire].whole, { ...smallest(wire, false), surprise: 1 });
    for (const response of [broke, other]) {
      expect([response.status, response.headers.get('x-should-retry')]).toEqual([400, 'false']);
      const body = (await response.json()) as { error: { message: string } };
      expect(body.error.message).toMatch(/^Cofferdam: /);
    }
    expect(at.provider.calls).toEqual([]);
    expect(at.events.map(({ decision }) => decision)).toEqual([
      { allow: false, rule: 'llm.ledger', reason: 'llm_budget' },
      { allow: false, rule: `llm.${wire}`, reason: 'llm_field' },
    ]);
    expect(await at.standing()).toEqual({ spent: 0, reserved: 0 });
  });

  test('a packed answer is unpacked, passed on and settled although identity was asked for', async () => {
    const at = await lane({ wire, reply: { text: 'packed words', fault: { gzip: true } } });
    for (const stream of [true, false]) {
      const response = await call(at, wire, stream);
      expect(response.headers.get('content-encoding')).toBeNull();
      expect(await response.text()).toContain('packed');
    }
    expect(at.provider.calls.map((seen) => seen.headers['accept-encoding'])).toEqual(['identity', 'identity']);
    await agrees(at);
  });

  test('a worker that cannot answer is no grant, and the refusal is in the shape of the provider', async () => {
    const at = await lane({ wire, ask: (port) => ({ ...port, reserve: () => Promise.reject(new Error('gone')) }) });
    const response = await call(at, wire, false);
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([400, 'false']);
    const body = (await response.json()) as { type?: string; error: { status?: string; type?: string } };
    expect(JSON.stringify(body)).toContain('the budget cannot be asked');
    expect(body.error).toHaveProperty(wire === 'gemini' ? 'status' : 'type');
    expect(body.type).toBe(wire === 'anthropic' ? 'error' : undefined);
    expect(at.provider.calls).toEqual([]);
    expect(at.events.map(({ decision }) => decision)).toEqual([
      { allow: false, rule: 'llm.ledger', reason: 'llm_unaccounted' },
    ]);
  });

  test('lists the allowed models itself', async () => {
    const at = await lane({ wire });
    const list = await fetch(`${at.url}${wire === 'gemini' ? '/v1beta' : '/v1'}/models`, {
      headers: { 'x-api-key': PLACEHOLDER },
    });
    expect(list.status).toBe(200);
    expect(JSON.stringify(await list.json())).toMatch(/"(?:id|name)":"(?:models\/)?m"/);
    expect((await fetch(at.url, { method: 'HEAD' })).status).toBe(200);
    expect(at.provider.calls).toEqual([]);
  });
});

test('LLM-001 64 parallel calls at a budget that is one micro-dollar short of ten', async () => {
  const probe = await lane({ reply: { text: 'x' } });
  await (await call(probe, 'anthropic', true)).text();
  const each = probe.reserves[0]?.amount ?? 0;
  const cap = each * 10 - 1;
  // Nothing is given back before the last of them has asked.
  const at: Lane = await lane({
    cap,
    reply: async () => {
      await expect.poll(() => at.reserves.length).toBe(64);
      return { text: 'x', usage: { input: 5, output: 100 } };
    },
  });
  const answers = await Promise.all(Array.from({ length: 64 }, () => call(at, 'anthropic', true)));
  const statuses = await Promise.all(answers.map(async (response) => (await response.text()) && response.status));
  expect(statuses.filter((status) => status === 200)).toHaveLength(9);
  expect(statuses.filter((status) => status === 400)).toHaveLength(55);
  await agrees(at);
  expect((await at.standing()).spent).toBeLessThanOrEqual(cap);
});

test('LLM-008 a nearly empty budget lowers the output limit instead of refusing', async () => {
  const at = await lane({ cap: 60_000 + 3_000, limits: { minOutputTokens: 1_000 } });
  const response = await call(at, 'anthropic', false, 30_000);
  expect(response.status).toBe(200);
  const forwarded = Number(at.provider.calls[0]?.body['max_tokens']);
  expect(forwarded).toBeGreaterThanOrEqual(1_000);
  expect(forwarded * 15).toBeLessThanOrEqual(63_000);
  await agrees(at);
});

test('LLM-002 errors of the provider give the reservation back and pass with their status', async () => {
  const statuses = [400, 404, 422, 429, 500, 503, 529];
  const at = await lane({
    reply: ({ index }) => ({
      error: {
        status: statuses[index] ?? 500,
        message: `refused, says ${HOST_KEY}`,
        headers: { 'retry-after': '7', 'set-cookie': 'a=b' },
      },
    }),
  });
  for (const status of statuses) {
    const response = await call(at, 'anthropic', true);
    expect([response.status, response.headers.get('retry-after'), response.headers.get('set-cookie')]).toEqual([
      status,
      '7',
      null,
    ]);
    expect(await response.text()).not.toContain(HOST_KEY);
  }
  await agrees(at);
  expect(at.settlements.map(({ outcome }) => outcome)).toEqual(statuses.map(() => 'released'));
  // Each attempt is the client's own: the gateway makes none by itself (LLM-022).
  expect(at.provider.calls).toHaveLength(statuses.length);
});

test('a key that the provider refuses is the operator’s matter: 400, and no word of the provider about it', async () => {
  const at = await lane({ key: 'sk-wrong-key' });
  const response = await call(at, 'anthropic', false);
  expect(response.status).toBe(400);
  const text = await response.text();
  expect(text).toContain('the operator');
  expect(text).not.toContain('invalid API key');
  await agrees(at);
});

test('a redirect is not followed', async () => {
  let reached = 0;
  const elsewhere = await upstream((_req, res) => {
    reached++;
    res.end('{}');
  });
  const baseUrl = await upstream((_req, res) => res.writeHead(307, { location: elsewhere }).end());
  const at = await lane({ baseUrl });
  expect((await call(at, 'anthropic', false)).status).toBe(400);
  await at.quiet();
  expect(reached).toBe(0);
  expect(at.settlements).toMatchObject([{ outcome: 'released', status: 307 }]);
});

test('LLM-002 an unreachable provider costs nothing, a lost connection the reservation', async () => {
  const gone = await upstream(() => undefined);
  await undo.pop()?.();
  const unreachable = await lane({ baseUrl: gone });
  expect((await call(unreachable, 'anthropic', false)).status).toBe(502);
  await agrees(unreachable);
  const lost = await lane({ baseUrl: await upstream((req) => req.socket.destroy()) });
  expect((await call(lost, 'anthropic', false)).status).toBe(502);
  await lost.quiet();
  expect(lost.settlements).toMatchObject([{ outcome: 'reserved', status: 0, cost: lost.reserves[0]?.amount }]);
});

test('a provider that never answers is given up, and its call is charged', async () => {
  const at = await lane({ baseUrl: await upstream(() => undefined), limits: { firstByteMs: 50 } });
  expect((await call(at, 'anthropic', false)).status).toBe(504);
  await at.quiet();
  expect(at.settlements).toMatchObject([{ outcome: 'reserved', status: 0 }]);
});

test('a stream that goes silent is given up', async () => {
  const baseUrl = await upstream((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {}\n\n');
  });
  const at = await lane({ baseUrl, limits: { idleMs: 1_000 } });
  await expect((await call(at, 'anthropic', true)).text()).rejects.toThrow();
  await at.quiet();
  expect(at.settlements).toMatchObject([{ outcome: 'reserved' }]);
});

test('a provider that ignores the output limit is cut off and charged by count', async () => {
  const at = await lane({ reply: { text: 'x', fault: { endless: true, ignoreMaxTokens: true } } });
  await expect((await call(at, 'anthropic', true, 1)).text()).rejects.toThrow();
  await at.quiet();
  await expect.poll(() => at.provider.books[0]?.outcome).toBe('aborted');
  expect(at.settlements[0]?.cost).toBeGreaterThan(at.reserves[0]?.amount ?? 0);
});

test('one line of megabytes is passed on and not kept', async () => {
  const line = Buffer.alloc(2 ** 20, 'a');
  const baseUrl = await upstream((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.write('data: ');
    for (let i = 0; i < 8; i++) res.write(line);
    res.end('\n\ndata: {"type":"message_delta","usage":{"output_tokens":1}}\n\n');
  });
  const at = await lane({ baseUrl, cap: 1e9, limits: { maxMeteredBytes: 2 ** 20, maxOutputTokens: 4_000_000 } });
  const response = await call(at, 'anthropic', true, 4_000_000);
  expect((await response.text()).length).toBeGreaterThan(8 * 2 ** 20);
  await at.quiet();
  expect(at.settlements).toMatchObject([{ outcome: 'reserved' }]);
});

test('usage in the wrong frame does not count', async () => {
  const events = [
    { type: 'message_start', message: { usage: { input_tokens: 1, output_tokens: 1 } } },
    { type: 'content_block_delta', delta: { text: 'x' }, usage: { input_tokens: 1, output_tokens: 1 } },
    { type: 'message_stop', usage: { input_tokens: 1, output_tokens: 1 } },
  ];
  const baseUrl = await upstream((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    res.end(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(''));
  });
  const at = await lane({ baseUrl });
  await (await call(at, 'anthropic', true)).text();
  await at.quiet();
  expect(at.settlements).toMatchObject([{ outcome: 'reserved' }]);
});

test('bytes are passed on before the answer is complete', async () => {
  let finish = (): void => undefined;
  const baseUrl = await upstream((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: {"first":1}\n');
    finish = () => res.end('\n');
  });
  const at = await lane({ baseUrl });
  const response = await call(at, 'anthropic', true);
  const reader = response.body?.getReader();
  const first = await reader?.read();
  expect(Buffer.from(first?.value ?? []).toString()).toBe('data: {"first":1}\n');
  finish();
  expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('\n');
});

test('a client that does not read slows the provider down', async () => {
  let sent = 0;
  const piece = `data: {"x":"${'y'.repeat(16_000)}"}\n\n`;
  const baseUrl = await upstream((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    const more = (): void => {
      while (!res.destroyed && sent < 64 * 2 ** 20) {
        sent += piece.length;
        if (!res.write(piece)) {
          res.once('drain', more);
          return;
        }
      }
    };
    more();
  });
  const at = await lane({ baseUrl });
  const url = new URL(at.url);
  const socket = connect(Number(url.port), url.hostname);
  const body = JSON.stringify(smallest('anthropic', true, 10_000_000));
  socket.write(
    `POST /corp/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  socket.pause();
  let before = -1;
  // Stands still once all buffers between the two ends are full.
  while (before !== sent || sent === 0) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect(sent).toBeLessThan(32 * 2 ** 20);
  socket.destroy();
});

test('LLM-022 a call that the client repeats is reserved again', async () => {
  const at = await lane();
  for (let i = 0; i < 3; i++) await (await call(at, 'anthropic', false)).text();
  expect(new Set(at.reserves.map(({ callId }) => callId)).size).toBe(3);
  await agrees(at);
});

test('closing ends model access at once: calls under way are broken off and charged, new ones refused', async () => {
  const at = await lane({ reply: { text: 'x', fault: { endless: true, frameDelayMs: 5 } } });
  const response = await call(at, 'anthropic', true, 20_000);
  await response.body?.getReader().read();
  at.handler.close();
  await at.quiet();
  expect(at.settlements).toMatchObject([{ outcome: 'reserved' }]);
  const refused = await call(at, 'anthropic', true);
  expect(refused.status).toBe(400);
  expect(await refused.text()).toContain('has ended');
  expect((await at.standing()).reserved).toBe(0);
});

test('counting tokens is forwarded and free', async () => {
  const at = await lane({ cap: 0 });
  const response = await post(`${at.url}/v1/messages/count_tokens`, {
    model: 'm',
    messages: [{ role: 'user', content: 'hi' }],
  });
  expect([response.status, await response.json()]).toEqual([200, { input_tokens: expect.any(Number) as number }]);
  expect(at.reserves).toEqual([]);
  expect(at.events).toEqual([
    {
      type: 'llm.count',
      data: { provider: 'corp', model: 'm', byBytes: expect.any(Number) as number, counted: null, forAgent: true },
    },
  ]);
});

test('a body beyond the limit is refused, said or unsaid how long it is', async () => {
  const at = await lane({ limits: { maxBodyBytes: 1_000 } });
  const said = await post(`${at.url}/v1/messages`, 'x'.repeat(2_000)).catch(() => undefined);
  expect(said?.status ?? 400).toBe(400);
  const stream = new ReadableStream({ pull: (controller) => controller.enqueue(Buffer.alloc(500, 'x')) });
  const unsaid = await fetch(`${at.url}/v1/messages`, { method: 'POST', body: stream, duplex: 'half' }).catch(
    () => undefined,
  );
  expect(unsaid?.status ?? 400).toBe(400);
  expect(at.events.map(({ decision }) => decision)).toEqual([
    { allow: false, rule: 'llm.body', reason: 'too_large' },
    { allow: false, rule: 'llm.body', reason: 'too_large' },
  ]);
});

describe('a request in gzip', () => {
  const gzip = { 'content-encoding': 'gzip' };
  const send = (at: Lane, body: Buffer): Promise<Response> =>
    fetch(`${at.url}/v1/messages`, { method: 'POST', headers: { 'content-type': 'application/json', ...gzip }, body });

  test('is judged, forwarded and priced by what is inside', async () => {
    const at = await lane();
    const wanted = { ...smallest('anthropic', false), container: null, metadata: { user_id: 'me' } };
    expect((await send(at, gzipSync(JSON.stringify(wanted)))).status).toBe(200);
    const [seen] = at.provider.calls;
    expect(seen?.headers['content-encoding']).toBeUndefined();
    expect(seen?.body).toMatchObject({ model: 'm', metadata: { user_id: 'run-hash' } });
    const refused = await send(at, gzipSync(JSON.stringify({ ...wanted, container: 'c' })));
    expect([refused.status, await refused.text()]).toEqual([
      400,
      expect.stringContaining('side are not allowed') as string,
    ]);
    await agrees(at);
  });

  test.each([
    ['is no gzip', Buffer.from('{}')],
    ['is cut off', gzipSync('{}').subarray(0, 12)],
    ['unpacks to more than a body may be', gzipSync('x'.repeat(2_000))],
  ])('that %s is refused', async (_what, body) => {
    const at = await lane({ limits: { maxBodyBytes: 1_000 } });
    expect((await send(at, body)).status).toBe(400);
    expect(at.events.map(({ decision }) => decision)).toEqual([
      { allow: false, rule: 'llm.body', reason: 'too_large' },
    ]);
    expect(at.provider.calls).toEqual([]);
  });
});

test('an unknown provider is named with those that are known', async () => {
  const at = await lane();
  const response = await post(at.url.replace('/corp', '/openai/v1/chat/completions'), {});
  expect(response.status).toBe(400);
  expect(await response.text()).toContain('known: corp');
});

test('more calls at once than allowed are asked to wait', async () => {
  const statuses: number[] = [];
  const at = await lane({
    limits: { maxConcurrent: 2 },
    // The first two go on until the others have been turned away.
    reply: async () => {
      await expect.poll(() => statuses.slice(0, 2)).toEqual([429, 429]);
      return { text: 'x' };
    },
  });
  const one = async (): Promise<unknown> => statuses.push((await call(at, 'anthropic', false)).status);
  await Promise.all(Array.from({ length: 4 }, one));
  expect(statuses).toEqual([429, 429, 200, 200]);
  await agrees(at);
});

test('an answer that is through is not broken off when its end cannot be settled', async () => {
  const at = await lane({ ask: (port) => ({ ...port, settle: () => Promise.reject(new Error('gone')) }) });
  expect(await (await call(at, 'anthropic', true)).text()).toContain('message_stop');
  await expect.poll(() => at.events).toMatchObject([{ data: { problem: 'internal' } }]);
});

test('a client that left while the worker was asked costs nothing', async () => {
  let answer = (): void => undefined;
  const asked = new Promise<void>((resolve) => (answer = resolve));
  const at = await lane({
    ask: (port) => ({
      ...port,
      reserve: async (wanted) => {
        const granted = await port.reserve(wanted);
        await asked;
        return granted;
      },
    }),
  });
  const leave = new AbortController();
  const left = post(`${at.url}/v1/messages`, smallest('anthropic', true), { signal: leave.signal });
  await expect.poll(() => at.reserves.length).toBe(1);
  leave.abort();
  await expect(left).rejects.toThrow();
  // The gateway learns of it with the closed connection.
  await expect.poll(() => at.connections()).toBe(0);
  answer();
  await at.quiet();
  expect(at.provider.calls).toEqual([]);
  expect(await at.standing()).toEqual({ spent: 0, reserved: 0 });
});
