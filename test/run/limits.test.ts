import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { watchIdle, watchLimits } from '../../src/run/limits.ts';

/* LLM-023: the wall clock may say what it likes. */

const never = new Promise<never>(() => undefined);
const DAY_MS = 86_400_000;

afterEach(() => vi.useRealTimers());

function watched(timeoutMs: number): ReturnType<typeof watchLimits> {
  return watchLimits({
    timeoutMs,
    signal: new AbortController().signal,
    gateway: { capped: never, closed: never },
    sandbox: { ended: never },
  });
}

/** Only the wall clock is set: timers and the monotonic clock go on. */
function setClock(byMs: number): void {
  const now = Date.now();
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(now + byMs);
}

test.each([DAY_MS, -DAY_MS])('LLM-023 a clock that jumps by %s ms ends no run early, and none late', async (byMs) => {
  using long = watched(3_600_000);
  using short = watched(150);
  using silent = watchIdle({ idleMs: 150, seen: () => 0 });
  using idle = watchIdle({ idleMs: 3_600_000, seen: () => 0 });
  setClock(byMs);
  await vi.waitFor(() => expect([short.reason(), silent.signal.reason]).toEqual(['timeout', 'idle']), 60_000);
  await delay(20);
  expect([long.reason(), idle.signal.aborted]).toEqual([undefined, false]);
});
