import type { EndReason, FinalState } from '../domain/final-state.ts';
import type { ErrorCode } from '../domain/errors.ts';

/** What is known when a run has ended. */
export interface Ending {
  changed: boolean;
  /** Undefined: no verify command is configured, or it did not come to that. */
  verified: boolean | undefined;
  reason: EndReason | undefined;
  /** The result waits for a person. */
  held?: boolean;
  /** The agent asked a question instead of going on. */
  asks?: boolean;
  /** The agent's protocol ended without a result. */
  agentFailed: boolean;
  errorCode: ErrorCode | undefined;
}

/** The one table from what happened to the final state. */
export function finalState(ending: Ending): FinalState {
  const { changed, verified, reason, errorCode } = ending;
  if (errorCode !== undefined) return errorState(errorCode, reason);
  if (ending.held === true) return 'held';
  if (reason !== undefined) return changed ? 'partial' : emptyState(reason);
  if (!changed && !ending.agentFailed && ending.asks === true) return 'needs_input';
  if (!changed) return ending.agentFailed ? 'failed' : 'no_change';
  if (verified === undefined) return 'unverified';
  return verified ? 'succeeded' : 'verify_failed';
}

function emptyState(reason: EndReason): FinalState {
  if (reason === 'timeout' || reason === 'idle') return 'timed_out';
  if (reason === 'max_cost' || reason === 'max_turns') return 'over_budget';
  return wasStopped(reason) ? 'cancelled' : 'failed';
}

function wasStopped(reason: EndReason | undefined): boolean {
  return reason === 'stopped' || reason === 'shutdown';
}

function errorState(code: ErrorCode, reason: EndReason | undefined): FinalState {
  if (
    code === 'repository_file' ||
    code === 'policy' ||
    code === 'config' ||
    code === 'usage' ||
    code === 'no_authority'
  )
    return 'refused';
  return wasStopped(reason) ? 'cancelled' : 'failed';
}
