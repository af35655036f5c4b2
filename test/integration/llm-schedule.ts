import fc from 'fast-check';
import { WIRES } from '../../src/domain/policy.ts';
import type { Wire } from '../../src/domain/policy.ts';
import type { Reply } from '../../src/local/provider/script.ts';

/** One step of a schedule; calls go on while the next steps are taken. */
export type Step =
  | {
      do: 'call';
      run: number;
      wire: Wire;
      stream: boolean;
      output: number;
      cache: 'none' | '5m' | '1h';
      reply: Reply;
      /** After so many milliseconds the client leaves. */
      leaves: number | undefined;
    }
  /** Waits for every call before it. */
  | { do: 'wait' }
  | { do: 'pause'; ms: number }
  /** `kill`: the worker and its gateways are gone at once. `stall`: they are taken for dead, and go on all the same. */
  | { do: 'crash'; worker: number; kind: 'kill' | 'stall' }
  /** A gateway's process is killed; its worker lives. */
  | { do: 'crashGateway'; run: number }
  /** Another worker takes over every run without one. */
  | { do: 'rescue' }
  /** The wall clock jumps to the start of some day. */
  | { do: 'clock'; day: number }
  /** A worker loses its connection to Redis, with whatever is on its way. */
  | { do: 'dropRedis'; worker: number }
  | { do: 'provider'; up: boolean }
  /** The next line of the audit cannot be written. */
  | { do: 'auditFails' }
  | { do: 'closeModel'; run: number };

export interface Schedule {
  steps: Step[];
  caps: { run: number; repository: number; installation: number };
  maxTurns: number;
}

export const WORKERS = 3;
/** Runs 0 and 1 are of one repository, 2 and 3 of another; all are of one installation. */
export const RUNS = 4;

const usage = fc.record({ input: fc.nat(60), cacheRead: fc.nat(20), cacheWrite: fc.nat(20), output: fc.nat(120) });
const badUsage = fc.constantFrom(
  { omit: true as const },
  { value: null },
  { value: { input_tokens: -1 } },
  { value: { output_tokens: '1' } },
);
const text = fc.constantFrom('x', 'some words of an answer');

/** What the provider does with one call. */
const reply: fc.Arbitrary<Reply> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ text, usage }) },
  { weight: 1, arbitrary: fc.record({ text, usage, fault: fc.record({ reportedUsage: badUsage }) }) },
  { weight: 1, arbitrary: fc.record({ text, usage, fault: fc.record({ cutAfterFrames: fc.nat(6) }) }) },
  { weight: 1, arbitrary: fc.record({ text, usage, fault: fc.constant({ cutBeforeUsage: true }) }) },
  {
    weight: 2,
    arbitrary: fc.record({ text, usage, fault: fc.record({ frameDelayMs: fc.nat(3), delayMs: fc.nat(6) }) }),
  },
  { weight: 1, arbitrary: fc.record({ text, usage, fault: fc.constant({ gzip: true }) }) },
  { weight: 1, arbitrary: fc.record({ text, usage, fault: fc.constant({ rawBody: 'not what was asked for' }) }) },
  { weight: 1, arbitrary: fc.record({ text, fault: fc.constant({ endless: true }) }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(400, 401, 429, 500, 529).map((status): Reply => ({ error: { status, message: 'no' } })),
  },
);

const call: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('call' as const),
  run: fc.nat(RUNS - 1),
  wire: fc.constantFrom(...WIRES),
  stream: fc.boolean(),
  output: fc.integer({ min: 1, max: 400 }),
  cache: fc.constantFrom('none', 'none', '5m', '1h'),
  reply,
  leaves: fc.option(fc.nat(12), { nil: undefined, freq: 3 }),
});

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: call },
  { weight: 2, arbitrary: fc.constant<Step>({ do: 'wait' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pause' as const), ms: fc.nat(6) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('crash' as const),
      worker: fc.nat(WORKERS - 1),
      kind: fc.constantFrom('kill', 'kill', 'stall'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crashGateway' as const), run: fc.nat(RUNS - 1) }) },
  { weight: 4, arbitrary: fc.constant<Step>({ do: 'rescue' }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clock' as const), day: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('dropRedis' as const), worker: fc.nat(WORKERS - 1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('provider' as const), up: fc.constantFrom(false, true, true) }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'auditFails' }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('closeModel' as const), run: fc.nat(RUNS - 1) }) },
);

export const schedule: fc.Arbitrary<Schedule> = fc.record({
  // Short schedules are mostly idle ones.
  steps: fc.array(step, { minLength: 12, maxLength: 30, size: 'max' }),
  caps: fc.noBias(
    fc.record({
      run: fc.integer({ min: 1_000, max: 30_000 }),
      repository: fc.integer({ min: 1_000, max: 40_000 }),
      installation: fc.integer({ min: 1_000, max: 50_000 }),
    }),
  ),
  maxTurns: fc.constantFrom(3, 1_000, 1_000),
});
