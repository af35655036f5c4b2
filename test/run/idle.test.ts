import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { CofferdamError } from '../../src/domain/errors.ts';
import type { RunSpec } from '../../src/domain/run.ts';
import type { Enclosure } from '../../src/run/enclosure.ts';
import type { AgentOutcome, ExecOptions, ExecResult } from '../../src/run/ports.ts';
import { runAgent, setUp } from '../../src/run/work.ts';
import { SPEC, world } from './fakes.ts';

const IDLE_MS = 1_000;

const spec = (limits: Partial<RunSpec['limits']>): RunSpec => ({
  ...SPEC,
  setup: ['npm ci'],
  limits: { ...SPEC.limits, ...limits },
});

function enclosure(exec: (options: ExecOptions) => Promise<ExecResult>, turns: () => number = () => 0): Enclosure {
  const usage = () => ({ cost: 0, turns: turns(), inputTokens: 0, outputTokens: 0 });
  return { exec, gateway: { usage } } as unknown as Enclosure;
}

/** As a sandbox does it: the command is ended, and the call rejects. */
function untilAborted({ signal }: ExecOptions): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(new CofferdamError('cancelled', 'sandbox.exec', 'cancelled')));
  });
}

async function plain(box: Enclosure, signal = new AbortController().signal): Promise<AgentOutcome> {
  const agents = { launch: () => ({ argv: ['agent'], env: {}, files: [], protocol: 'command' as const }) };
  const audit = await world().ports.openAudit(SPEC.runId);
  return runAgent({
    enclosure: box,
    agents,
    spec: spec({ idleMs: IDLE_MS }),
    audit,
    onMessage: () => undefined,
    signal,
  });
}

describe('an agent that is a plain command', () => {
  // A process that others keep from the processors is silent, too: here only the test moves the clock.
  beforeEach(() => vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] }));
  afterEach(() => vi.useRealTimers());
  const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

  test('is ended when it neither prints nor asks the model', async () => {
    const outcome = await plain(
      enclosure((options) => {
        options.stdout?.write('begun');
        void pass(2 * IDLE_MS);
        return untilAborted(options);
      }),
    );
    expect(outcome).toMatchObject({ stop: 'idle', summary: 'begun' });
    expect(outcome.error).toContain('no output and no model call');
  });

  test('goes on for as long as it prints', async () => {
    const outcome = await plain(
      enclosure(async ({ stdout, signal }) => {
        for (let i = 0; i < 8; i++) {
          stdout?.write('.');
          await pass(IDLE_MS / 5);
        }
        return { exitCode: signal?.aborted === true ? 1 : 0, timedOut: false };
      }),
    );
    expect(outcome).toMatchObject({ stop: 'end_turn', summary: '.'.repeat(8) });
  });

  test('goes on for as long as it asks the model', async () => {
    let turns = 0;
    const outcome = await plain(
      enclosure(
        async ({ signal }) => {
          for (; turns < 8; turns++) await pass(IDLE_MS / 5);
          return { exitCode: signal?.aborted === true ? 1 : 0, timedOut: false };
        },
        () => turns,
      ),
    );
    expect(outcome.stop).toBe('end_turn');
  });

  test('that is stopped from outside is not called idle', async () => {
    await expect(plain(enclosure(untilAborted), AbortSignal.timeout(20))).rejects.toMatchObject({ code: 'cancelled' });
  });
});

test('a setup command gets the time of a step, and its error says so', async () => {
  const asked: (number | undefined)[] = [];
  const box = enclosure(({ timeoutMs }) => {
    asked.push(timeoutMs);
    return Promise.resolve({ exitCode: 124, timedOut: true });
  });
  const done = setUp(box, spec({ stepMs: 5_000 }), new AbortController().signal);
  await expect(done).rejects.toThrow('ended after 5 s: limits.stepMinutes');
  expect(asked).toEqual([5_000]);
});
