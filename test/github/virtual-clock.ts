import type { Clock } from '../../src/github/transport.ts';

/** Time that passes only when nothing else happens: while no counted work goes on, the earliest sleeper wakes, at its moment. */
export interface VirtualClock extends Clock {
  /** Real work (a request, a question to Redis): it takes no time, and no time passes meanwhile. */
  during<T>(work: () => Promise<T>): Promise<T>;
}

/** Turns of the event loop in which what follows from a work, or a sleep, begins. */
const TURNS = 8;

export function virtualClock(start = Date.parse('2026-01-01T00:00:00Z')): VirtualClock {
  let now = start;
  let busy = 0;
  let turns = 0;
  let looking = false;
  const sleepers: { at: number; wake: () => void }[] = [];

  function look(): void {
    turns = TURNS;
    if (looking) return;
    looking = true;
    setImmediate(turn);
  }

  function turn(): void {
    turns -= 1;
    if (busy > 0) {
      looking = false;
      return;
    }
    if (turns > 0) {
      setImmediate(turn);
      return;
    }
    looking = false;
    sleepers.sort((a, b) => a.at - b.at);
    const next = sleepers.shift();
    if (next === undefined) return;
    now = Math.max(now, next.at);
    next.wake();
    look();
  }

  return {
    now: () => now,
    sleep: (ms) =>
      new Promise((resolve) => {
        sleepers.push({ at: now + ms, wake: resolve });
        look();
      }),
    async during(work) {
      busy += 1;
      try {
        return await work();
      } finally {
        busy -= 1;
        look();
      }
    },
  };
}
