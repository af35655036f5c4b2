import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { Wire } from '../../src/domain/policy.ts';
import { openLane, PATHS, post, smallest } from './llm-fixture.ts';
import type { Lane, LaneOptions } from './llm-fixture.ts';

/* 60,000 bytes are 60,000 tokens at most, and about 15,000 by the provider's own count; at 3 dollars a million the cap lies between. */

const TEXT = 'word '.repeat(12_000);
const CAP = 100_000;

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()));
});

async function lane(options: LaneOptions): Promise<Lane> {
  const opened = await openLane({ cap: CAP, limits: { minOutputTokens: 100 }, ...options });
  stops.push(() => opened.stop());
  return opened;
}

function long(wire: Wire): Record<string, unknown> {
  if (wire === 'gemini') return { ...smallest(wire, false), contents: [{ role: 'user', parts: [{ text: TEXT }] }] };
  const messages = [{ role: 'user', content: TEXT }];
  return wire === 'openai-responses'
    ? { ...smallest(wire, false), input: TEXT }
    : { ...smallest(wire, false), messages };
}

describe('a call whose bound by bytes does not fit the budget', () => {
  test.each<Wire>(['anthropic', 'gemini'])('%s: goes on by the count of the provider', async (wire) => {
    const at = await lane({ wire });
    const answer = await post(at.url + PATHS[wire].whole, long(wire));
    expect(answer.status).toBe(200);
    await at.quiet();
    expect(at.reserves.map(({ loose }) => loose)).toEqual([true, false]);
    const [byBytes = 0, counted = 0] = at.reserves.map(({ inputTokens }) => inputTokens);
    expect(byBytes).toBeGreaterThan(60_000);
    expect(counted).toBeLessThan(20_000);
    const { spent, reserved } = await at.standing();
    expect(spent).toBe(at.provider.charged());
    expect(spent).toBeLessThanOrEqual(CAP);
    expect(reserved).toBe(0);
    expect(at.events.map(({ type }) => type)).toContain('llm.count');
  });

  test('a short call asks nobody to count', async () => {
    const at = await lane({});
    expect((await post(at.url + PATHS.anthropic.whole, smallest('anthropic', false))).status).toBe(200);
    expect(at.reserves).toHaveLength(1);
    expect(at.events).toEqual([]);
  });

  test.each<Wire>(['openai-chat', 'openai-responses'])('%s: has no such endpoint and is refused', async (wire) => {
    const at = await lane({ wire });
    expect((await post(at.url + PATHS[wire].whole, long(wire))).status).toBe(400);
    expect(at.reserves.map(({ loose }) => loose)).toEqual([false]);
    expect(at.provider.calls).toHaveLength(0);
  });

  test('one that does not fit by its count either is refused', async () => {
    const at = await lane({ cap: 10_000 });
    const answer = await post(at.url + PATHS.anthropic.whole, long('anthropic'));
    expect(answer.status).toBe(400);
    expect(await answer.text()).toContain('is used up');
    expect(at.provider.calls).toHaveLength(0);
    expect(await at.standing()).toEqual({ spent: 0, reserved: 0 });
  });

  test.each([
    ['no such endpoint', 404, '{"error":{}}'],
    ['not JSON', 200, '<html>'],
    ['a text', 200, '"15000"'],
    ['nothing', 200, 'null'],
    ['a negative count', 200, '{"input_tokens":-5}'],
    ['zero', 200, '{"input_tokens":0}'],
    ['a count that is a text', 200, '{"input_tokens":"5"}'],
    ['a fraction', 200, '{"input_tokens":1.5}'],
    ['an answer without end', 200, `{"input_tokens":${' '.repeat(100_000)}5}`],
  ])('a provider that answers with %s: the bound by bytes stands', async (_, status, body) => {
    const server = createServer((req, res) => {
      req.resume();
      req.once('end', () => res.writeHead(status).end(body));
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    stops.push(() => new Promise((resolve) => server.close(resolve)));
    const at = await lane({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
    expect((await post(at.url + PATHS.anthropic.whole, long('anthropic'))).status).toBe(400);
    expect(at.reserves[1]?.inputTokens).toBe(at.reserves[0]?.inputTokens);
    expect(at.events).toContainEqual(expect.objectContaining({ type: 'llm.count' }));
  });
});
