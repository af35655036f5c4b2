import type { RunId } from '../domain/ids.ts';
import type { EgressEntryFact, Usage } from '../domain/run.ts';
import type { Step } from '../domain/step.ts';
import type { AgentMessage, AuditLog, Publisher, RunProgress } from './ports.ts';

/** Tells the audit and the publisher what is going on. */
export interface Reporter {
  /** Runs one step and reports its start, its end and its duration. */
  step<T>(step: Step, action: () => Promise<T>): Promise<T>;
  /** For steps whose borders lie inside one call. */
  stages(): { next(step: Step): void; fail(): void; done(): void };
  readonly message: (message: AgentMessage) => void;
}

/** An agent may say much; what is recorded of each text of a message is bounded. */
const MAX_TEXT = 8192;
const MAX_MESSAGES = 10_000;

function cut(text: string): string {
  return text.slice(0, MAX_TEXT).toWellFormed();
}

export function createReporter(options: {
  runId: RunId;
  audit: AuditLog;
  publisher: Publisher;
  facts: () => { usage: Usage; egress: EgressEntryFact[] };
}): Reporter {
  const { runId, audit, publisher } = options;
  const origin = performance.now();
  let messages = 0;
  const tell = (step: Step, state: RunProgress['state'], durationMs?: number): void => {
    publisher.progress({
      runId,
      step,
      state,
      atMs: Math.round(performance.now() - origin),
      ...(durationMs === undefined ? {} : { durationMs }),
      ...options.facts(),
    });
    // After the seal nothing is appended: `seal` and `report` are told to people only.
    if (step === 'seal' || step === 'report') return;
    const data = { step, state, ...(durationMs === undefined ? {} : { durationMs }) };
    audit.append({ zone: 'worker', type: 'run.step', data }).catch(() => undefined);
  };
  const timed = (step: Step): ((state: 'done' | 'failed') => void) => {
    const started = performance.now();
    tell(step, 'started');
    return (state) => tell(step, state, Math.round(performance.now() - started));
  };
  return {
    async step(step, action) {
      const end = timed(step);
      try {
        const value = await action();
        end('done');
        return value;
      } catch (thrown) {
        end('failed');
        throw thrown;
      }
    },
    stages() {
      let end: ((state: 'done' | 'failed') => void) | undefined;
      return {
        next(step) {
          end?.('done');
          end = timed(step);
        },
        fail() {
          end?.('failed');
          end = undefined;
        },
        done() {
          end?.('done');
          end = undefined;
        },
      };
    },
    message: (message) => {
      messages += 1;
      if (messages > MAX_MESSAGES) return;
      const data = Object.fromEntries(
        Object.entries(message).map(([key, value]) => [key, typeof value === 'string' ? cut(value) : value]),
      );
      audit.append({ zone: 'gateway', source: 'sandbox', type: `agent.${message.kind}`, data }).catch(() => undefined);
      publisher.message?.(message);
    },
  };
}
