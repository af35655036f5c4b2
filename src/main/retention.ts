import { createFileLogs } from '../audit/logs.ts';
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
  /** The wall's clock, and milliseconds of one that nobody sets. */
  now?: () => number;
  mono?: () => number;
  everyMs?: number;
}

/**
 * Removes sealed audit files beyond the retention, now and once a day. What cannot be removed, or that cannot be recorded, is
 * logged and tried again the next day. A clock that is more than a day ahead of what was expected (of the newest record at the start,
 * of a clock that nobody sets later) removes nothing by age until it says so for a day.
 */
export function startRetention(options: RetentionOptions): AsyncDisposable {
  const clock = createDoubt(options);
  let running = Promise.resolve();
  const again = (): void => {
    running = running
      .then(() => removeOld(options, clock))
      .catch((thrown: unknown) => {
        const code = thrown instanceof CofferdamError ? thrown.code : 'internal';
        options.log.warn({ code }, 'audit files beyond the retention not removed');
      });
  };
  again();
  const timer = setInterval(again, options.everyMs ?? DAY_MS).unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
    },
  };
}

type Doubt = () => Promise<{ nowMs: number; aheadMs: number }>;

/** What the wall's clock says, and how far it is ahead of what was to be expected. */
function createDoubt({ directory, audit, now = Date.now, mono = () => performance.now() }: RetentionOptions): Doubt {
  let last: { wall: number; mono: number } | undefined;
  return async () => {
    const present = { wall: now(), mono: mono() };
    // This worker's own record is as new as its clock says.
    const others = (await createFileLogs(directory).list()).filter(({ runId }) => !audit.file.includes(runId));
    const expected = last === undefined ? (others[0]?.changedMs ?? present.wall) : last.wall + present.mono - last.mono;
    last = present;
    return { nowMs: present.wall, aheadMs: present.wall - expected };
  };
}

async function removeOld({ directory, retention, audit, log }: RetentionOptions, doubt: Doubt): Promise<void> {
  const { nowMs, aheadMs } = await doubt();
  const jumped = retention.maxAgeMs !== undefined && aheadMs > DAY_MS;
  if (jumped)
    log.error(
      { clock: new Date(nowMs).toISOString(), aheadHours: Math.round(aheadMs / 3_600_000) },
      'the clock is more than a day ahead of the newest record or of its own last look: nothing is removed by age until it says so tomorrow, too',
    );
  const removed = await prune(directory, jumped ? { maxBytes: retention.maxBytes } : retention, nowMs);
  if (removed.length === 0) return;
  const bytes = removed.reduce((sum, file) => sum + file.bytes, 0);
  for (const { runId } of removed) log.info({ runId }, 'audit file removed by retention');
  const runs = removed.slice(0, MAX_REMOVED).map(({ runId }) => runId);
  await audit.append({ zone: 'worker', type: 'audit.removed', data: { runs, count: removed.length, bytes } });
}
