import { CofferdamError } from '../domain/errors.ts';
import { CAP_NAMES, grant } from '../policy/llm/budget.ts';
import type { CapName, Caps, Standing } from '../policy/llm/budget.ts';

/** Who pays: the run, its repository and its installation, the latter two per UTC day (`2026-11-24`) of the reservation. */
export interface LedgerAccount {
  runId: string;
  repoKey: string;
  installationKey: string;
  day: string;
}

export interface ReserveRequest extends LedgerAccount {
  callId: string;
  /** Worst case of the call, integer micro-dollars. */
  amount: number;
  /** Smallest grant that is of use; default: all of `amount`. */
  atLeast?: number;
  caps: Caps;
}

/** An open reservation; everything that settling it needs. */
export interface Reservation extends LedgerAccount {
  callId: string;
  /** Granted micro-dollars. */
  amount: number;
}

export type ReserveResult =
  /** `spent`: by the run, in all its attempts. `left`: of the tightest cap, not counting what other calls hold. */
  | { ok: true; reservation: Reservation; spent: number; left: number }
  /** `held`: calls under way hold what is missing, and may give it back. */
  | { ok: false; cap: CapName; left: number; held: boolean };

/**
 * Money of all runs of one installation, in integer micro-dollars. Every operation is atomic, and repeating it with the
 * same call does nothing more: a call is reserved once and ends once, by `settle`, `release` or `recover`, whichever
 * comes first.
 * Errors: `redis_unavailable` from implementations that need one; then nothing was granted that the caller knows of.
 */
export interface Ledger {
  /** Holds the worst case of a call against all three caps, or refuses with the cap that has the least left. */
  reserve(request: ReserveRequest): Promise<ReserveResult>;
  /** Ends a reservation with what the call cost, which may be more than was reserved. */
  settle(reservation: Reservation, actual: number): Promise<void>;
  /** Ends the reservation of a call that certainly cost nothing; also one of which nobody knows whether it was made. */
  release(call: { runId: string; callId: string }): Promise<void>;
  spent(account: LedgerAccount): Promise<Record<CapName, Standing>>;
  /** Counts every open reservation of a dead run as spent; how many there were and how much. */
  recover(runId: string): Promise<{ calls: number; amount: number }>;
}

/** A ledger inside one process: for `exec` and `run` on one machine without Redis, and for tests. */
export function createMemoryLedger(): Ledger {
  const standings = new Map<string, Standing>();
  const open = new Map<string, Reservation>();
  const ended = new Map<string, Reservation>();

  function standing(key: string): Standing {
    const known = standings.get(key);
    if (known !== undefined) return known;
    const made = { spent: 0, reserved: 0 };
    standings.set(key, made);
    return made;
  }

  function all(account: LedgerAccount): Record<CapName, Standing> {
    const keys = accountKeys(account);
    return {
      run: standing(keys.run),
      repository: standing(keys.repository),
      installation: standing(keys.installation),
    };
  }

  function end(call: { runId: string; callId: string }, actual: number): void {
    const id = callKey(call);
    const held = open.get(id);
    if (held === undefined) return;
    open.delete(id);
    ended.set(id, held);
    const standing = all(held);
    for (const cap of CAP_NAMES) {
      standing[cap].reserved -= held.amount;
      standing[cap].spent += actual;
    }
  }

  // The work of each method is done before its promise is made, so that nothing comes between.
  return {
    reserve: (request) => {
      checkReserve(request);
      const { amount, atLeast = amount, caps } = request;
      const standing = all(request);
      const known = open.get(callKey(request)) ?? ended.get(callKey(request));
      const granted = grant({ amount: known === undefined ? amount : 0, atLeast, caps, standing });
      if (!granted.ok) return Promise.resolve(granted);
      const { left } = granted;
      const { spent } = standing.run;
      if (known !== undefined) return Promise.resolve({ ok: true, reservation: known, spent, left });
      for (const cap of CAP_NAMES) standing[cap].reserved += granted.granted;
      const { runId, repoKey, installationKey, day, callId } = request;
      const reservation = { runId, repoKey, installationKey, day, callId, amount: granted.granted };
      open.set(callKey(reservation), reservation);
      return Promise.resolve({ ok: true, reservation, spent, left });
    },
    settle: (reservation, actual) => {
      checkAmount(actual, 'run.ledger.settle');
      end(reservation, actual);
      return Promise.resolve();
    },
    release: (call) => {
      end(call, 0);
      return Promise.resolve();
    },
    spent: (account) => Promise.resolve(structuredClone(all(account))),
    recover: (runId) => {
      const left = [...open.values()].filter((reservation) => reservation.runId === runId);
      for (const reservation of left) end(reservation, reservation.amount);
      return Promise.resolve({ calls: left.length, amount: left.reduce((sum, { amount }) => sum + amount, 0) });
    },
  };
}

/** Names of the three sums that an account counts in; the same words in every implementation. */
export function accountKeys(account: LedgerAccount): Record<CapName, string> {
  return {
    run: `run:${account.runId}`,
    repository: `day:${account.day}:repository:${account.repoKey}`,
    installation: `day:${account.day}:installation:${account.installationKey}`,
  };
}

function callKey({ runId, callId }: { runId: string; callId: string }): string {
  return `${runId}/${callId}`;
}

/** Refuses what would make sums wrong. Errors: `internal`. */
export function checkReserve({ amount, atLeast, caps }: ReserveRequest): void {
  checkAmount(amount, 'run.ledger.reserve');
  if (atLeast !== undefined) checkAmount(atLeast, 'run.ledger.reserve');
  for (const cap of CAP_NAMES) checkAmount(caps[cap], 'run.ledger.reserve');
}

/** Errors: `internal` for anything but a whole number of micro-dollars from 0 up. */
export function checkAmount(amount: number, op: string): void {
  if (!Number.isSafeInteger(amount) || amount < 0) {
    throw new CofferdamError('internal', op, `not an amount in micro-dollars: ${amount}`);
  }
}
