import type { AuditEntry } from '../domain/audit.ts';
import type { Limits } from '../domain/policy.ts';
import type { Usage } from '../domain/run.ts';
import type { EndReason } from '../domain/final-state.ts';
import { formatUsd } from '../domain/ids.ts';
import { ledgerDay } from '../policy/llm/budget.ts';
import type { CapName } from '../policy/llm/budget.ts';
import type { TokenUsage } from '../policy/llm/prices.ts';
import type { Ledger, Reservation, ReserveResult } from './ledger.ts';
import { createSteering } from './steering.ts';

/** One call that the gateway wants to forward. Amounts in micro-dollars. */
interface CallRequest {
  callId: string;
  amount: number;
  atLeast: number;
  provider: string;
  model: string;
  /** Whether the request has a place for words of the host. */
  tellable: boolean;
  /** Whether a refused call will be asked for once more with a tighter bound. */
  loose: boolean;
  [detail: string]: unknown;
}

interface CallEnd {
  callId: string;
  outcome: 'usage' | 'reserved' | 'released';
  cost: number;
  usage?: TokenUsage | undefined;
  /** HTTP status of the provider; 0 when there was no answer. */
  status: number;
  [detail: string]: unknown;
}

type CallAnswer =
  | { ok: true; granted: number; notices: string[] }
  | {
      ok: false;
      reason: 'llm_budget' | 'llm_turns' | 'llm_closed' | 'llm_unaccounted' | 'audit_unavailable';
      say: string;
    };

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
  /** How long a call waits for money that calls under way hold. */
  waitMs?: number;
}

/** The worker's side of a run's model calls: the answers that its gateway process waits for. */
export interface ModelAccount {
  /** Holds the worst case and records it, or refuses. The record is durable before this resolves with `ok`. */
  reserve(call: CallRequest): Promise<CallAnswer>;
  /** Ends a call, once; later ends of the same call change nothing. */
  settle(end: CallEnd): Promise<void>;
  usage(): Usage;
  /** Ends model access: every further `reserve` is refused. Calls under way may still settle. */
  close(): void;
  /** After the gateway is gone: what it left open counts as spent. Errors: those of the ledger, after every call was tried. */
  finish(): Promise<void>;
}

/** Money that another run holds comes back without a word to us. */
const POLL_MS = 500;

interface OpenCall {
  reservation: Reservation;
  notices: string[];
  /** What it cost, once that is known; the ledger may not know it yet. */
  cost?: number;
}

export function createModelAccount(options: ModelAccountOptions): ModelAccount {
  const { ledger, account, limits, audit, waitMs = 15_000 } = options;
  const open = new Map<string, OpenCall>();
  const usage: Usage = { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 };
  const steering = createSteering({ limits, elapsedMs: options.elapsedMs, turns: () => usage.turns });
  /** Calls that wait for one under way to end. */
  const waiting: (() => void)[] = [];
  let closed = false;
  let capped = false;

  function cap(reason: 'max_cost' | 'max_turns'): void {
    if (capped) return;
    capped = true;
    options.onCapped(reason);
  }

  /** As this process knows it: what the ledger says can be less only when it has lost something. */
  function used(): number {
    return [...open.values()].reduce((sum, { reservation, cost = reservation.amount }) => sum + cost, usage.cost);
  }

  async function reserve(call: CallRequest): Promise<CallAnswer> {
    if (closed) return ended();
    if (usage.turns >= limits.maxTurns) {
      cap('max_turns');
      return { ok: false, reason: 'llm_turns', say: `all ${limits.maxTurns} turns of this run are used up` };
    }
    // Counted before the first wait, so that parallel calls cannot slip past the limit together.
    usage.turns += 1;
    const answer = await admit(call).catch((error: unknown) => {
      usage.turns -= 1;
      throw error;
    });
    if (!answer.ok) usage.turns -= 1;
    return answer;
  }

  async function admit(call: CallRequest): Promise<CallAnswer> {
    const { callId } = call;
    // All of this was in the ledger before it is asked.
    const settled = usage.cost;
    const result = await held(call);
    if (!result.ok) {
      if (closed) return ended();
      // What calls under way hold may come back; without any the cap is reached for good.
      if (open.size === 0 && !call.loose) cap('max_cost');
      return { ok: false, reason: 'llm_budget', say: refusal(result.cap, result.left, call.atLeast) };
    }
    const { reservation } = result;
    if (closed) {
      await ledger.release(reservation);
      return ended();
    }
    if (result.spent < settled || used() + reservation.amount > limits.maxCost) {
      await ledger.release(reservation);
      return { ok: false, reason: 'llm_unaccounted', say: FORGOTTEN };
    }
    const notices = call.tellable ? steering.due({ ...result, atLeast: call.atLeast }) : [];
    open.set(callId, { reservation, notices });
    try {
      await audit({ zone: 'gateway', type: 'llm.reserve', data: { ...call, granted: reservation.amount } });
      if (notices.length > 0) await audit({ zone: 'worker', type: 'llm.notice', data: { callId, notices } });
    } catch {
      // Stays open until the ledger has let go of it.
      open.set(callId, { reservation, notices: [], cost: 0 });
      steering.takeBack(notices);
      await ledger.release(reservation);
      open.delete(callId);
      wake();
      return { ok: false, reason: 'audit_unavailable', say: 'the call could not be recorded, so it was not made' };
    }
    return { ok: true, granted: reservation.amount, notices };
  }

  /** Asks the ledger, again and again while others hold what is missing. */
  async function held(call: CallRequest): Promise<ReserveResult> {
    const { callId, amount, atLeast, loose } = call;
    const caps = {
      run: limits.maxCost,
      repository: limits.repositoryDailyCost,
      installation: limits.installationDailyCost,
    };
    const until = performance.now() + waitMs;
    for (;;) {
      const day = ledgerDay(options.now());
      const asked = ledger.reserve({ ...account, day, callId, amount, atLeast, caps });
      const result = await asked.catch((error: unknown) => {
        // Whether it was made is not known, and nobody will use it.
        void ledger.release({ runId: account.runId, callId }).catch(() => undefined);
        throw error;
      });
      const left = until - performance.now();
      if (result.ok || !result.held || closed || loose || left <= 0) return result;
      await somethingEnds(Math.min(left, POLL_MS));
    }
  }

  function somethingEnds(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  function wake(): void {
    for (const go of waiting.splice(0)) go();
  }

  async function end({ callId, outcome, cost, status }: CallEnd): Promise<boolean> {
    const call = open.get(callId);
    if (call === undefined) return false;
    call.cost = outcome === 'released' ? 0 : cost;
    // Words that reached no model are said again.
    if (outcome === 'released' || status < 200 || status > 299) steering.takeBack(call.notices);
    if (outcome === 'released') await ledger.release(call.reservation);
    else await ledger.settle(call.reservation, cost);
    // The account may have been finished meanwhile, and has counted this call then.
    if (!open.delete(callId)) return false;
    if (outcome === 'released') usage.turns -= 1;
    else usage.cost += cost;
    wake();
    return true;
  }

  async function settle(ended: CallEnd): Promise<void> {
    if (!(await end(ended))) return;
    if (ended.usage !== undefined) {
      const { input, cacheRead, cacheWrite, cacheWrite1h, output } = ended.usage;
      usage.inputTokens += input + cacheRead + cacheWrite + cacheWrite1h;
      usage.outputTokens += output;
    }
    await audit({ zone: 'gateway', type: 'llm.settle', data: { ...ended, runCost: usage.cost, turns: usage.turns } });
  }

  return {
    reserve,
    settle,
    usage: () => ({ ...usage }),
    close: () => {
      closed = true;
      wake();
    },
    finish: async () => {
      closed = true;
      wake();
      // Only what was opened here: another worker may have taken the run over, and its calls are its own.
      const left = [...open.values()];
      open.clear();
      if (left.length === 0) return;
      const amount = left.reduce((sum, { reservation, cost = reservation.amount }) => sum + cost, 0);
      usage.cost += amount;
      await Promise.all(left.map(({ reservation, cost = reservation.amount }) => ledger.settle(reservation, cost)));
      await audit({ zone: 'worker', type: 'llm.recover', data: { calls: left.length, cost: amount } });
    },
  };
}

/** A Redis that began anew would give a run its budget again. */
const FORGOTTEN =
  'the ledger in Redis has lost what this run spent, so no further call is made: the operator has to look at its persistence';

function ended(): CallAnswer {
  return { ok: false, reason: 'llm_closed', say: 'model access of this run has ended' };
}

function refusal(cap: CapName, left: number, needed: number): string {
  const whose = {
    run: 'of this run',
    repository: 'of this repository for today',
    installation: 'of this installation for today',
  };
  return `the budget ${whose[cap]} does not cover this call: ${formatUsd(left)} left, up to ${formatUsd(needed)} needed`;
}
