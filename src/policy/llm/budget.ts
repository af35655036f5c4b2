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

export type Grant = { ok: true; granted: number } | { ok: false; cap: CapName; left: number };

/**
 * Grants `amount`, or what is left when that is at least `atLeast`. The cap with the least left decides, and is named
 * when it refuses. A cap that is overdrawn (by a usage above its reservation) has nothing left.
 */
export function grant(request: {
  amount: number;
  atLeast: number;
  caps: Caps;
  standing: Record<CapName, Standing>;
}): Grant {
  const { amount, atLeast, caps, standing } = request;
  let tightest: { cap: CapName; left: number } | undefined;
  for (const cap of CAP_NAMES) {
    const left = Math.max(0, caps[cap] - standing[cap].spent - standing[cap].reserved);
    if (tightest === undefined || left < tightest.left) tightest = { cap, left };
  }
  const { cap, left } = tightest ?? { cap: 'run' as const, left: 0 };
  const granted = Math.min(amount, left);
  return granted >= Math.min(atLeast, amount) ? { ok: true, granted } : { ok: false, cap, left };
}

/** The UTC day on which a call counts, of an instant in milliseconds since the epoch. */
export function ledgerDay(isoInstant: string): string {
  return isoInstant.slice(0, 10);
}

/** Shares of a cap, a time or a number of turns at which the agent is told to finish. */
const NOTICE_SHARES = [0.8, 0.95] as const;

/** Which of the shares have been reached. */
export function reachedShares(used: number, cap: number): number[] {
  return cap <= 0 ? [...NOTICE_SHARES] : NOTICE_SHARES.filter((share) => used >= cap * share);
}
