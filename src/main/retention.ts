import { prune, type Retention } from '../audit/retention.ts';
import { CofferdamError } from '../domain/errors.ts';
import { MAX_REMOVED } from '../domain/events/run.ts';
import type { OperatorPolicy } from '../domain/policy.ts';
import type { AuditLog } from '../run/ports.ts';
import type { Logger } from '../telemetry/log.ts';

const DAY_MS = 86_400_000;

/** What the policy says; null when everything is kept. */
export function retentionOf({ keepDays, keepSize }: OperatorPolicy['audit']): Retention | null {
  if (keepDays === undefined && keepSize === undefined) return null;
  return {
    maxAgeMs: keepDays === undefined ? undefined : keepDays * DAY_MS,
    maxBytes: keepSize,
  };
}

export interface RetentionOptions {
  /** Where audit files are. */
  directory: string;
  retention: Retention;
  /** The worker's own record: each removal is in it. */
  audit: AuditLog;
  log: Logger;
}

/**
 * Removes sealed audit files beyond the retention, now and once a day. What cannot be removed, or that cannot be recorded, is
 * logged and tried again the next day.
 */
export function startRetention(options: RetentionOptions): AsyncDisposable {
  let running = Promise.resolve();
  const again = (): void => {
    running = running
      .then(() => removeOld(options))
      .catch((thrown: unknown) => {
        const code = thrown instanceof CofferdamError ? thrown.code : 'internal';
        options.log.warn({ code }, 'audit files beyond the retention not removed');
      });
  };
  again();
  const timer = setInterval(again, DAY_MS).unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
    },
  };
}

async function removeOld({ directory, retention, audit, log }: RetentionOptions): Promise<void> {
  const removed = await prune(directory, retention);
  if (removed.length === 0) return;
  const bytes = removed.reduce((sum, file) => sum + file.bytes, 0);
  for (const { runId } of removed) log.info({ runId }, 'audit file removed by retention');
  const runs = removed.slice(0, MAX_REMOVED).map(({ runId }) => runId);
  await audit.append({ zone: 'worker', type: 'audit.removed', data: { runs, count: removed.length, bytes } });
}
