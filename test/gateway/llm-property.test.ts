import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Wire } from '../../src/domain/policy.ts';
import type { Reply } from '../../src/local/provider/script.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import { openLane, PATHS, post, smallest } from './llm-fixture.ts';
import type { Lane } from './llm-fixture.ts';

/** Schedules of one run of this test; the full run of the benchmarks asks for more. */
const SCHEDULES = Number(process.env['COFFERDAM_SCHEDULES'] ?? 200);

const usage = fc.record({ input: fc.nat(60), cacheRead: fc.nat(20), cacheWrite: fc.constant(0), output: fc.nat(120) });
const badUsage = fc.constantFrom(
  { omit: true as const },
  { value: null },
  { value: { input_tokens: -1 } },
  { value: { output_tokens: '1' } },
);

/** What the provider does with one call. */
const reply: fc.Arbitrary<Reply> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ text: fc.constant('some words of an answer'), usage }) },
  {
    weight: 1,
    arbitrary: fc.record({ text: fc.constant('some words'), usage, fault: fc.record({ reportedUsage: badUsage }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      text: fc.constant('some words of it'),
      usage,
      fault: fc.record({ cutAfterFrames: fc.nat(6) }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      text: fc.constant('some words of it'),
      usage,
      fault: fc.record({ frameDelayMs: fc.nat(3), delayMs: fc.nat(5) }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ text: fc.constant('x'), fault: fc.record({ endless: fc.constant(true) }) }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(400, 429, 500, 529).map((status): Reply => ({ error: { status, message: 'no' } })),
  },
);

const step = fc.record({
  reply,
  worker: fc.nat(1),
  stream: fc.boolean(),
  output: fc.integer({ min: 1, max: 400 }),
  /** After so many milliseconds the client leaves. */
  leaves: fc.option(fc.nat(12), { nil: undefined, freq: 3 }),
  /** Waits for the calls before it. */
  after: fc.boolean(),
});

const schedule = fc.record({
  wire: fc.constantFrom<Wire>('anthropic', 'openai-chat', 'openai-responses', 'gemini'),
  steps: fc.array(step, { minLength: 1, maxLength: 10 }),
  cap: fc.integer({ min: 0, max: 40_000 }),
  /** The first worker dies before this step. */
  crash: fc.option(fc.nat(9), { nil: undefined }),
});

test(
  `LLM-001 LLM-002 in ${SCHEDULES} random schedules what the provider charged stays within the cap`,
  { timeout: 600_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(schedule, async ({ wire, steps, cap, crash }) => {
        const ledger = createMemoryLedger();
        const replies: Reply[] = [];
        let dead = false;
        // Two workers with a gateway each, on one ledger; the script hands out the replies in the order of arrival.
        const common = {
          wire,
          cap,
          ledger,
          limits: { drainMs: 30, minOutputTokens: 50 },
          reply: () => replies.shift() ?? { text: 'x' },
        };
        const lanes: Lane[] = [
          await openLane({
            ...common,
            ask: (port) => ({
              reserve: (call) => (dead ? Promise.reject(new Error('dead')) : port.reserve(call)),
              settle: (end) => (dead ? Promise.reject(new Error('dead')) : port.settle(end)),
            }),
          }),
          await openLane(common),
        ];
        try {
          let open: Promise<unknown>[] = [];
          for (const [at, one] of steps.entries()) {
            if (crash === at) {
              dead = true;
              lanes[0]?.handler.close();
            }
            if (one.after) await Promise.all(open.splice(0));
            replies.push(one.reply);
            open.push(ask(lanes[one.worker], wire, one));
          }
          await Promise.all(open);
          open = [];
          while (lanes.some((lane) => lane.handler.active() > 0))
            await new Promise((resolve) => setTimeout(resolve, 2));
          await ledger.recover('r1');
          const standing = await lanes[1]?.standing();
          const charged = lanes.reduce((sum, lane) => sum + lane.provider.charged(), 0);
          expect(standing?.reserved).toBe(0);
          expect(charged).toBeLessThanOrEqual(standing?.spent ?? -1);
          expect(standing?.spent).toBeLessThanOrEqual(cap);
        } finally {
          await Promise.all(lanes.map((lane) => lane.stop()));
        }
      }),
      { numRuns: SCHEDULES },
    );
  },
);

async function ask(
  lane: Lane | undefined,
  wire: Wire,
  one: { stream: boolean; output: number; leaves: number | undefined },
): Promise<void> {
  if (lane === undefined) return;
  const signal = one.leaves === undefined ? undefined : AbortSignal.timeout(one.leaves);
  const url = lane.url + PATHS[wire][one.stream ? 'stream' : 'whole'];
  const body = smallest(wire, one.stream, one.output);
  // How a call ends for the client is not the question here.
  await post(url, body, signal === undefined ? {} : { signal })
    .then((response) => response.text())
    .catch(() => undefined);
}
