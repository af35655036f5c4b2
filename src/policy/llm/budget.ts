/** Upper ends in micro-dollars: of the run, and of the repository and the installation per UTC day. */
export interface Caps {
  run: number;
  repository: number;
  installation: number;
}

export type CapName = keyof Caps;
export const CAP_NAMES: readonly CapName[] = ['run', 'repository', 'installation'];

/** What is gone from a cap: settled, and held by calls that are under way. */
export interface Standing {
  spent: number;
  reserved: number;
}

export type Grant =
  /** `left`: of the cap with the least left, before this grant, not counting what other calls hold. */
  | { ok: true; granted: number; left: number }
  /** `held`: calls under way hold what is missing, and may give it back. */
  | { ok: false; cap: CapName; left: number; held: boolean };

/**
 * Grants `amount`, or less when that is at least `atLeast`. The cap with the least left decides, and is named when it
 * refuses. A call that could do with less gets at most half of what is left, so that others fit beside it. A cap that is
 * overdrawn (by a usage above its reservation) has nothing left.
 */
export function grant(request: {
  amount: number;
  atLeast: number;
  caps: Caps;
  standing: Record<CapName, Standing>;
}): Grant {
  const { amount, caps, standing } = request;
  const needed = Math.min(request.atLeast, amount);
  let tightest = { cap: 'run' as CapName, left: Infinity };
  let unspent = Infinity;
  for (const cap of CAP_NAMES) {
    const { spent, reserved } = standing[cap];
    const left = Math.max(0, caps[cap] - spent - reserved);
    if (left < tightest.left) tightest = { cap, left };
    unspent = Math.min(unspent, Math.max(0, caps[cap] - spent));
  }
  const { cap, left } = tightest;
  if (needed > left) return { ok: false, cap, left, held: needed <= unspent };
  return { ok: true, granted: Math.min(amount, Math.max(needed, Math.floor(left / 2))), left: unspent };
}

/** The UTC day on which a call counts. */
export function ledgerDay(isoInstant: string): string {
  return isoInstant.slice(0, 10);
}

/** Shares of a cap, a time or a number of turns at which the agent is told to finish. */
export const NOTICE_SHARES = [0.8, 0.95] as const;
