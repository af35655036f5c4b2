import { z } from 'zod';

export const FINAL_STATES = [
  'succeeded',
  'unverified',
  'verify_failed',
  'no_change',
  'partial',
  'timed_out',
  'over_budget',
  'held',
  'needs_input',
  'cancelled',
  'refused',
  'failed',
] as const;
export const FinalState = z.enum(FINAL_STATES);
export type FinalState = z.infer<typeof FinalState>;

/** Why a run ended early. */
export const EndReason = z.enum([
  'max_cost',
  'max_turns',
  'timeout',
  'disk',
  'oom',
  'pids',
  'stopped',
  'shutdown',
  'portal_lost',
  'gateway_lost',
  'record_lost',
  'idle',
]);
export type EndReason = z.infer<typeof EndReason>;

interface StateRow {
  /** Conclusion of the check run; `none` means that no check run is written. */
  conclusion: 'success' | 'neutral' | 'failure' | 'timed_out' | 'action_required' | 'cancelled' | 'none';
  exitCode: number;
}

const states: Record<FinalState, StateRow> = {
  succeeded: { conclusion: 'success', exitCode: 0 },
  unverified: { conclusion: 'neutral', exitCode: 0 },
  verify_failed: { conclusion: 'failure', exitCode: 4 },
  no_change: { conclusion: 'neutral', exitCode: 3 },
  partial: { conclusion: 'neutral', exitCode: 5 },
  timed_out: { conclusion: 'timed_out', exitCode: 124 },
  over_budget: { conclusion: 'action_required', exitCode: 126 },
  held: { conclusion: 'action_required', exitCode: 6 },
  needs_input: { conclusion: 'action_required', exitCode: 6 },
  cancelled: { conclusion: 'cancelled', exitCode: 130 },
  refused: { conclusion: 'none', exitCode: 2 },
  failed: { conclusion: 'failure', exitCode: 1 },
};

/** Conclusion of the check run and exit code of `cofferdam run` for a final state. */
export function stateRow(state: FinalState): StateRow {
  return states[state];
}
