import type { AuditEvent } from '../../domain/audit.ts';
import { numberAt, textAt } from './field.ts';

/** One step of the run, as the host timed it. */
export interface StepFact {
  name: string;
  state: 'running' | 'done' | 'failed';
  /** Monotonic milliseconds of the log. */
  from: number;
  durationMs?: number;
}

const MAX_STEPS = 200;

/** Steps from `run.step`, in the order in which they began. */
export function createSteps(): { take: (event: AuditEvent) => void; steps: StepFact[] } {
  const steps: StepFact[] = [];
  return {
    steps,
    take({ data, mono }) {
      const name = textAt(data, 'step') ?? '';
      const state = textAt(data, 'state');
      const open = steps.findLast((step) => step.name === name && step.state === 'running');
      if (state === 'started') {
        if (steps.length < MAX_STEPS) steps.push({ name, state: 'running', from: mono });
        return;
      }
      const durationMs = numberAt(data, 'durationMs') ?? mono - (open?.from ?? mono);
      const ended = { state: state === 'failed' ? ('failed' as const) : ('done' as const), durationMs };
      if (open !== undefined) Object.assign(open, ended);
      else if (steps.length < MAX_STEPS) steps.push({ name, from: Math.max(0, mono - durationMs), ...ended });
    },
  };
}
