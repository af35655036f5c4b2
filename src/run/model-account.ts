import type { AuditEntry } from '../domain/audit.ts';
import type { Limits } from '../domain/policy.ts';
import type { EndReason, Usage } from '../domain/run.ts';
import { formatUsd } from '../domain/ids.ts';
import { ledgerDay, reachedShares } from '../policy/llm/budget.ts';
import type { CapName } from '../policy/llm/budget.ts';
import type { TokenUsage } from '../policy/llm/prices.ts';
import type { Ledger, Reservation } from './ledger.ts';

/** One call that the gateway wants to forward. Amounts in micro-dollars. */
interface CallRequest {
  callId: string;
  amount: number;
  atLeast: number;
  provider: string;
  model: string;
  [detail: string]: unknown;
}

interface CallEnd {
  callId: string;
  outcome: 'usage' | 'reserved' | 'released';
  cost: number;
  usage?: TokenUsage | undefined;
  [detail: string]: unknown;
}

type CallAnswer =
  | { ok: true; granted: number }
  | { ok: false; reason: 'llm_budget' | 'llm_turns' | 'llm_closed' | 'audit_unavailable'; say: string };

export interface ModelAccountOptions {
  ledger: Ledger;
  account: { runId: string; repoKey: string; installationKey: string };
  limits: Limits;
  /** Writes one event; resolves when it is durable. */
  audit: (entry: AuditEntry) => Promise<void>;
  /** Wall clock, ISO 8601: a call counts on the UTC day on which it was reserved. */
  now: () => string;
  /** Monotonic milliseconds since the run's start, for the notice about time. */
  elapsedMs: () => number;
  /** Told once, when a cap ends model access. */
  onCapped: (reason: EndReason & ('max_cost' | 'max_turns')) => void;
}

/** The worker's side of a run's model calls: the answers that its gateway process waits for. */
export interface ModelAccount {
  /** Holds the worst case and records it, or refuses. The record is durable before this resolves with `ok`. */
  reserve(call: CallRequest): Promise<CallAnswer>;
  /** Ends a call with its price; what the agent is to be told with its next request. */
  settle(end: CallEnd): Promise<{ notices: string[] }>;
  usage(): Usage;
  /** From now on every call is refused. */
  close(): void;
  /** After the gateway is gone: what it left open counts as spent. */
  finish(): Promise<void>;
}

export function createModelAccount(options: ModelAccountOptions): ModelAccount {
  const { ledger, account, limits, audit } = options;
  const open = new Map<string, Reservation>();
  const usage: Usage = { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 };
  const told = new Set<string>();
  let closed = false;
  let capped = false;

  function cap(reason: 'max_cost' | 'max_turns'): void {
    if (capped) return;
    capped = true;
    options.onCapped(reason);
  }

  async function reserve(call: CallRequest): Promise<CallAnswer> {
    if (closed) return { ok: false, reason: 'llm_closed', say: 'model access of this run has ended' };
    if (usage.turns >= limits.maxTurns) {
      cap('max_turns');
      return { ok: false, reason: 'llm_turns', say: `all ${limits.maxTurns} turns of this run are used up` };
    }
    // Counted before the first wait, so that parallel calls cannot slip past the limit together.
    usage.turns += 1;
    const { callId, amount, atLeast } = call;
    const caps = {
      run: limits.maxCost,
      repository: limits.repositoryDailyCost,
      installation: limits.installationDailyCost,
    };
    let result;
    try {
      result = await ledger.reserve({ ...account, day: ledgerDay(options.now()), callId, amount, atLeast, caps });
    } catch (error) {
      usage.turns -= 1;
      throw error;
    }
    if (!result.ok) {
      usage.turns -= 1;
      // What calls under way hold may come back; without any the cap is reached for good.
      if (open.size === 0) cap('max_cost');
      return { ok: false, reason: 'llm_budget', say: refusal(result.cap, result.left, atLeast) };
    }
    const { reservation } = result;
    open.set(callId, reservation);
    try {
      await audit({ zone: 'gateway', type: 'llm.reserve', data: { ...call, granted: reservation.amount } });
    } catch {
      await end({ callId, outcome: 'released', cost: 0 });
      return { ok: false, reason: 'audit_unavailable', say: 'the call could not be recorded, so it was not made' };
    }
    return { ok: true, granted: reservation.amount };
  }

  async function end({ callId, outcome, cost }: CallEnd): Promise<boolean> {
    const reservation = open.get(callId);
    if (reservation === undefined) return false;
    if (outcome === 'released') await ledger.release(reservation);
    else await ledger.settle(reservation, cost);
    open.delete(callId);
    if (outcome === 'released') usage.turns -= 1;
    else usage.cost += cost;
    return true;
  }

  async function settle(ended: CallEnd): Promise<{ notices: string[] }> {
    if (!(await end(ended))) return { notices: [] };
    if (ended.usage !== undefined) {
      const { input, cacheRead, cacheWrite, cacheWrite1h, output } = ended.usage;
      usage.inputTokens += input + cacheRead + cacheWrite + cacheWrite1h;
      usage.outputTokens += output;
    }
    await audit({ zone: 'gateway', type: 'llm.settle', data: { ...ended, runCost: usage.cost, turns: usage.turns } });
    return { notices: notices() };
  }

  /** Each share of each limit is told once, and of several reached at once the highest. */
  function notices(): string[] {
    const measures: [string, number, number][] = [
      ['budget', usage.cost, limits.maxCost],
      ['turns', usage.turns, limits.maxTurns],
      ['time', options.elapsedMs(), limits.timeoutMs],
    ];
    return measures.flatMap(([name, used, limit]) => {
      const fresh = reachedShares(used, limit).filter((share) => !told.has(`${name}${share}`));
      for (const share of fresh) told.add(`${name}${share}`);
      const share = fresh.at(-1);
      return share === undefined ? [] : [words(name, share)];
    });
  }

  return {
    reserve,
    settle,
    usage: () => ({ ...usage }),
    close: () => {
      closed = true;
    },
    finish: async () => {
      closed = true;
      open.clear();
      const { amount, calls } = await ledger.recover(account.runId);
      if (calls === 0) return;
      usage.cost += amount;
      await audit({ zone: 'worker', type: 'llm.recover', data: { calls, cost: amount } });
    },
  };
}

function refusal(cap: CapName, left: number, needed: number): string {
  const whose = {
    run: 'of this run',
    repository: 'of this repository for today',
    installation: 'of this installation for today',
  };
  return `the budget ${whose[cap]} does not cover this call: ${formatUsd(left)} left, up to ${formatUsd(needed)} needed`;
}

function words(name: string, share: number): string {
  const percent = Math.round(share * 100);
  return percent >= 95
    ? `[Cofferdam] ${percent} % of the ${name} of this run is used. Stop now: leave the work in a consistent state and end.`
    : `[Cofferdam] ${percent} % of the ${name} of this run is used. Finish what you have begun and end soon.`;
}
