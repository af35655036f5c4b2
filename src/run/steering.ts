import type { Limits } from '../domain/policy.ts';
import { NOTICE_SHARES } from '../policy/llm/budget.ts';

/*
 * What an agent is told when a limit comes near, so that it ends by itself with its work in order. Each thing is said
 * once; one that reached no model is said again.
 */

/** How a call that was just granted stands: micro-dollars spent by the run, left of the tightest cap, needed at least. */
interface Money {
  spent: number;
  left: number;
  atLeast: number;
}

export interface Steering {
  /** What has to be said with this call. */
  due(money: Money): string[];
  takeBack(notices: readonly string[]): void;
}

/** `turns` counts the call that asks. */
export function createSteering(options: {
  limits: Pick<Limits, 'maxTurns' | 'timeoutMs'>;
  elapsedMs: () => number;
  turns: () => number;
}): Steering {
  const { limits, elapsedMs, turns } = options;
  const said = new Set<string>();

  /** Of several shares that were reached at once, the highest is said and the lower ones are over. */
  function reached(name: string, used: number, of: number): string[] {
    const all = NOTICE_SHARES.filter((share) => of <= 0 || used >= of * share);
    const fresh = all.filter((share) => !said.has(words(name, share)));
    for (const share of all) said.add(words(name, share));
    const last = fresh.at(-1);
    return last === undefined ? [] : [words(name, last)];
  }

  return {
    due: ({ spent, left, atLeast }) => {
      const notices = [
        // The tightest cap counts: a day's budget that other runs have used up ends this run as well.
        ...reached('budget', spent, spent + left),
        ...reached('turns', turns(), limits.maxTurns),
        ...reached('time', elapsedMs(), limits.timeoutMs),
      ];
      // A long conversation can need more than is left well before 95 % are spent.
      if (notices.length === 0 && left < 2 * atLeast && !said.has(LAST) && !said.has(words('budget', 0.95))) {
        said.add(LAST);
        notices.push(LAST);
      }
      return notices;
    },
    takeBack: (notices) => {
      for (const notice of notices) said.delete(notice);
    },
  };
}

const LAST =
  '[Cofferdam] The budget that is left may not cover another request. Stop now: leave the work in a consistent state and end.';

function words(name: string, share: number): string {
  const percent = Math.round(share * 100);
  return percent >= 95
    ? `[Cofferdam] ${percent} % of the ${name} of this run is used. Stop now: leave the work in a consistent state and end.`
    : `[Cofferdam] ${percent} % of the ${name} of this run is used. Finish what you have begun and end soon.`;
}
