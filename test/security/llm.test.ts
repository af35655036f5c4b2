/**
 * LLM, money: against the real gateway process of a run, judged by the books of the provider and of the ledger.
 * What is asked for is in llm-requests.test.ts; crashes of workers, in random schedules, in integration/llm-caps.test.ts.
 */
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { WIRES } from '../../src/domain/policy.ts';
import type { Reply } from '../../src/local/provider/script.ts';
import { openRun } from './llm-run.ts';
import type { LlmRun } from './llm-run.ts';

let at: LlmRun;
afterEach(async () => {
  await at[Symbol.asyncDispose]();
});

/** An allowed call goes through and is charged exactly. */
async function twin(): Promise<void> {
  const before = at.provider.charged();
  const spent = (await at.standing()).spent;
  expect((await at.call('anthropic')).status).toBe(200);
  await at.quiet();
  expect((await at.standing()).spent - spent).toBe(at.provider.charged() - before);
}

test('LLM-001 64 parallel calls: what is admitted fits, what is charged stays within the cap', async () => {
  const cap = 20_000;
  at = await openRun({ limits: { maxCost: cap }, reply: { text: 'x', usage: { input: 20, output: 100 } } });
  const answers = await Promise.all(Array.from({ length: 64 }, () => at.call('anthropic')));
  await at.quiet();
  const { spent, reserved } = await at.standing();
  expect(reserved).toBe(0);
  expect(spent).toBe(at.provider.charged());
  expect(spent).toBeLessThanOrEqual(cap);
  // A call costs 1,560 and holds up to about 2,100: calls waited for the money of others until nothing more fitted.
  expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(9);
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 400]));
  expect(at.refusals().every((reason) => reason === 'llm_budget')).toBe(true);
});

describe('LLM-002 LLM-003 nothing stays reserved', () => {
  const faults: [string, Reply, { leaveAfter?: number; stream?: boolean }][] = [
    ['error 400', { error: { status: 400, message: 'no' } }, {}],
    ['error 401', { error: { status: 401, message: 'no' } }, {}],
    ['error 429', { error: { status: 429, message: 'slow', headers: { 'retry-after': '7' } } }, {}],
    ['error 500', { error: { status: 500, message: 'no' } }, {}],
    ['error 529', { error: { status: 529, message: 'no' } }, {}],
    ['cut before the first byte', { text: 'x', fault: { cutAfterFrames: 0 } }, {}],
    ['cut in the middle', { text: 'word '.repeat(20), fault: { cutAfterFrames: 5 } }, {}],
    ['cut before the usage', { text: 'x', fault: { cutBeforeUsage: true } }, {}],
    ['not JSON', { fault: { rawBody: 'oops' } }, { stream: false }],
    ['not events', { fault: { rawBody: 'oops' } }, {}],
    ['without usage', { text: 'x', fault: { reportedUsage: { omit: true } } }, {}],
    ['client leaves after one chunk', { text: 'word '.repeat(50), fault: { frameDelayMs: 2 } }, { leaveAfter: 1 }],
    ['packed', { text: 'x', fault: { gzip: true } }, {}],
  ];
  test('after 13 faults on four wires, and the ledger never holds less than the provider charged', async () => {
    let reply: Reply = {};
    at = await openRun({ reply: () => reply });
    for (const [name, fault, how] of faults) {
      for (const wire of WIRES) {
        reply = fault;
        await at.call(wire, {}, how);
        await at.quiet();
        const { spent, reserved } = await at.standing();
        expect([name, wire, reserved]).toEqual([name, wire, 0]);
        expect(spent, `${name} ${wire}`).toBeGreaterThanOrEqual(at.provider.charged());
      }
    }
    // LLM-022: one request for each call of the client, whatever became of it.
    expect(at.provider.calls).toHaveLength(faults.length * WIRES.length);
    reply = { text: 'hello' };
    await twin();
  });

  test('a rate limit passes with its retry-after, a refused key as the operator’s matter', async () => {
    let status = 429;
    at = await openRun({ reply: () => ({ error: { status, message: 'no', headers: { 'retry-after': '7' } } }) });
    expect((await at.call('anthropic')).status).toBe(429);
    status = 401;
    expect(await at.call('anthropic')).toMatchObject({
      status: 400,
      text: expect.stringContaining('operator') as string,
    });
  });
});

test('LLM-004 usage is asked for where a client did not, and only believed where it belongs', async () => {
  at = await openRun();
  for (const extra of [{}, { stream_options: { include_usage: false } }]) {
    expect((await at.call('openai-chat', extra)).status).toBe(200);
  }
  await at.quiet();
  expect(at.provider.calls.map(({ wantsUsage }) => wantsUsage)).toEqual([true, true]);
  expect((await at.standing()).spent).toBe(at.provider.charged());
});

test('LLM-009 prices of caches are exact to the micro-dollar on every wire', async () => {
  const usage = { input: 7, cacheRead: 11, output: 3 };
  at = await openRun({
    reply: ({ wire }) => ({ text: 'x', usage: wire === 'anthropic' ? { ...usage, cacheWrite: 5 } : usage }),
  });
  const marked = {
    messages: [{ role: 'user', content: [{ type: 'text', text: 'hi', cache_control: { type: 'ephemeral' } }] }],
  };
  for (const stream of [true, false]) {
    for (const wire of WIRES) await at.call(wire, wire === 'anthropic' ? marked : {}, { stream });
  }
  await at.quiet();
  // By hand: 7·3 + 11·0.3 + 3·15 = 69.3, and 5·3.75 more where a cache was written.
  const [plain, written] = [70, 89];
  expect((await at.standing()).spent).toBe(2 * (written + 3 * plain));
  expect(at.provider.charged()).toBe(2 * (written + 3 * plain));
});

test('LLM-011 an image and a PDF are held at a ceiling above anything they are charged', async () => {
  at = await openRun({ reply: { text: 'x', usage: { input: 7_900, output: 1 } } });
  const source = (media_type: string): unknown => ({ type: 'base64', media_type, data: 'QUFB'.repeat(50) });
  const image = { messages: [{ role: 'user', content: [{ type: 'image', source: source('image/png') }] }] };
  const pdf = { messages: [{ role: 'user', content: [{ type: 'document', source: source('application/pdf') }] }] };
  for (const extra of [image, pdf]) expect((await at.call('anthropic', extra)).status).toBe(200);
  await at.quiet();
  const held = at.events.filter(({ type }) => type === 'llm.reserve').map(({ data }) => Number(data?.['granted']));
  expect(held).toHaveLength(2);
  for (const amount of held) expect(amount).toBeGreaterThan(7_900 * 3);
  expect((await at.standing()).spent).toBe(at.provider.charged());
});

test('LLM-022 a client that tries again and again is reserved for and counted each time', async () => {
  at = await openRun({ limits: { maxTurns: 5 }, reply: { text: 'x', fault: { cutBeforeUsage: true } } });
  for (let i = 0; i < 8; i++) await at.call('openai-responses');
  await at.quiet();
  expect(at.provider.calls).toHaveLength(5);
  expect(at.events.filter(({ type }) => type === 'llm.reserve')).toHaveLength(5);
  expect(at.refusals()).toEqual(['llm_turns', 'llm_turns', 'llm_turns']);
  // Said once, however often the cap is met.
  await expect(at.gateway.capped).resolves.toBe('max_turns');
});

test('LLM-024 a gateway that is killed in mid-stream: the run is told, and what was open counts as spent', async () => {
  at = await openRun({ reply: { text: 'word '.repeat(400), fault: { frameDelayMs: 5 } } });
  const answer = at.call('anthropic', {}, {});
  await expect.poll(() => at.provider.books[0]?.cost ?? 0).toBeGreaterThan(0);
  process.kill(gatewayPid(), 'SIGKILL');
  expect(await at.gateway.closed).toMatchObject({ expected: false });
  expect((await answer).broken).toBe(true);
  const { spent, reserved } = await at.standing();
  expect(reserved).toBe(0);
  expect(spent).toBe(at.events.find(({ type }) => type === 'llm.reserve')?.data?.['granted']);
  expect(spent).toBeGreaterThanOrEqual(at.provider.charged());
  expect(at.events.map(({ type }) => type)).toContain('llm.recover');
});

test('LLM-027 a million tool calls, broken JSON and control characters pass as bytes and are charged by the books', async () => {
  const call = `data: {"type":"content_block_delta","delta":{"partial_json":"\\u001b[2J{{{"}}\n\n`;
  const rawBody = call.repeat(200_000) + 'data: {"type":"message_delta","usage":{"output_tokens":';
  at = await openRun({ reply: { usage: { input: 1, output: 100 }, fault: { rawBody } } });
  await at.call('anthropic');
  await at.quiet();
  const { spent, reserved } = await at.standing();
  expect(reserved).toBe(0);
  expect(spent).toBeGreaterThanOrEqual(at.provider.charged());
  expect(memoryOf(gatewayPid())).toBeLessThan(400 * 2 ** 20);
});

describe('a provider that misbehaves', () => {
  async function behind(answer: RequestListener, work: () => Promise<void>): Promise<void> {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    at = await openRun({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
    await work();
    await at.quiet();
    server.closeAllConnections();
    server.close();
  }

  test('one line of 100 MB is never kept, and broken off beyond what the output limit allows', async () => {
    const piece = Buffer.alloc(2 ** 20, 'a');
    let sent = 0;
    await behind(
      (_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: ');
        const more = (): void => {
          while (sent < 100 && !res.destroyed) {
            sent += 1;
            if (!res.write(piece)) return void res.once('drain', more);
          }
          res.end('\n\n');
        };
        more();
      },
      async () => {
        await at.call('anthropic', { max_tokens: 64_000 });
        expect(memoryOf(gatewayPid())).toBeLessThan(400 * 2 ** 20);
        await at.quiet();
        expect(await at.standing()).toMatchObject({ reserved: 0 });
        expect((await at.standing()).spent).toBeGreaterThan(0);
      },
    );
  });

  test.each([
    ['a stream', true],
    ['a whole answer', false],
  ])('TLS-020 %s that is packed a thousand times over is broken off, and never kept', async (_name, stream) => {
    const bomb = gzipSync(Buffer.alloc(2 ** 27, stream ? 'data: {}\n\n' : ' '));
    await behind(
      (_req, res) => {
        const type = stream ? 'text/event-stream' : 'application/json';
        res.writeHead(200, { 'content-type': type, 'content-encoding': 'gzip' });
        for (let copies = 0; copies < 8; copies += 1) res.write(bomb);
        res.end();
      },
      async () => {
        const answer = await at.call('anthropic', {}, { stream });
        expect(answer.broken).toBe(true);
        expect(answer.text.length).toBeLessThan(64 * 2 ** 20);
        expect(memoryOf(gatewayPid())).toBeLessThan(400 * 2 ** 20);
        await at.quiet();
        expect(await at.standing()).toMatchObject({ reserved: 0 });
        expect((await at.standing()).spent).toBeGreaterThan(0);
      },
    );
  });

  test('a whole answer without end is cut off', async () => {
    await behind(
      (_req, res) => {
        res.writeHead(200, { 'content-type': 'application/json' });
        const more = (): void => {
          while (!res.destroyed) if (!res.write(' '.repeat(65_536))) return void res.once('drain', more);
        };
        more();
      },
      async () => expect((await at.call('anthropic', {}, { stream: false })).broken).toBe(true),
    );
  });

  test('a stream without end is cut off', async () => {
    await behind(
      (_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        const event = `data: ${JSON.stringify({ type: 'content_block_delta', delta: { text: 'x'.repeat(1000) } })}\n\n`;
        const more = (): void => {
          while (!res.destroyed) if (!res.write(event)) return void res.once('drain', more);
        };
        more();
      },
      async () => expect((await at.call('anthropic')).broken).toBe(true),
    );
  });

  test('one that is not there costs nothing, one that closes early its reservation', async () => {
    await behind(
      (req) => req.socket.destroy(),
      async () => {
        expect((await at.call('anthropic')).status).toBe(502);
        await at.quiet();
        expect((await at.standing()).spent).toBeGreaterThan(0);
      },
    );
    await at[Symbol.asyncDispose]();
    at = await openRun({ baseUrl: 'http://127.0.0.1:1' });
    expect((await at.call('anthropic')).status).toBe(502);
    await at.quiet();
    expect(await at.standing()).toEqual({ spent: 0, reserved: 0 });
  });
});

/** The gateway process of this test. */
function gatewayPid(): number {
  for (const thread of readdirSync('/proc/self/task')) {
    const children = readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean);
    for (const pid of children.map(Number).reverse()) {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('gateway-process')) return pid;
    }
  }
  throw new Error('no gateway process');
}

function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}
