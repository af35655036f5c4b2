/** Trouble on purpose: what a test asks an operation to answer instead of, or after, doing its work. */
import type { OperationId } from './openapi/operations.ts';

/** An operation of the API, or git's two services. */
export type FaultyOperation = OperationId | 'git/fetch' | 'git/push';

export interface Fault {
  operationId: FaultyOperation;
  /** How many calls are hit; default 1. */
  times?: number;
  /** The answer's status; without one the call is only delayed. */
  status?: number;
  headers?: Record<string, string>;
  message?: string;
  delayMs?: number;
  /** True: the work is done and then the answer is the fault (a lost success). */
  afterwards?: boolean;
  /** True: no answer at all, the connection is closed. */
  drop?: boolean;
}

/** GitHub's answer to too many writes in a short time. */
export function secondaryLimit(operationId: FaultyOperation, retryAfterSeconds: number): Fault {
  return {
    operationId,
    status: 403,
    headers: { 'retry-after': String(retryAfterSeconds) },
    message: 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.',
  };
}

/** The next fault for an operation, counted down. */
export function takeFault(faults: Fault[], operationId: FaultyOperation): Fault | undefined {
  const index = faults.findIndex((one) => one.operationId === operationId);
  const fault = faults[index];
  if (fault === undefined) return undefined;
  fault.times = (fault.times ?? 1) - 1;
  if (fault.times <= 0) faults.splice(index, 1);
  return fault;
}
