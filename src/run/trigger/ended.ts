import type { RunResult } from '../../domain/run.ts';
import type { RunRecord } from '../ports.ts';

/** The result of a run that cannot tell its own end: its worker is gone, or it was stopped before it began. */
export function endedWithoutWorker(
  record: RunRecord,
  options: { why: 'worker_lost' | 'cancelled'; now: string },
): RunResult {
  const { request, branch, pull } = record;
  const lost = options.why === 'worker_lost';
  return {
    runId: request.runId,
    state: lost ? 'failed' : 'cancelled',
    ...(lost ? {} : { reason: 'stopped' as const }),
    ...(branch === undefined ? {} : { branch }),
    ...(pull === undefined ? {} : { pull }),
    usage: { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 },
    verification: [],
    files: [],
    egress: [],
    startedAt: request.requestedAt,
    endedAt: options.now,
    ...(lost
      ? {
          error: {
            code: 'internal' as const,
            op: 'queue.sweep',
            message: `the worker ended during the step ${record.step} (it was restarted, or crashed); everything it had opened was closed`,
          },
        }
      : {}),
  };
}
