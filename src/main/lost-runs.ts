import { createIntents, type OpenIntent } from '../audit/intents.ts';
import { readAuditFile } from '../audit/read.ts';
import { toRunError } from '../domain/errors.ts';
import { MAX_UNKNOWN } from '../domain/events/run.ts';
import type { RunId } from '../domain/ids.ts';
import { repoKey, type RunResult } from '../domain/run.ts';
import { type FinalState } from '../domain/final-state.ts';
import type { AuditLog, RunRecord } from '../run/ports.ts';
import { endedWithoutWorker } from '../run/trigger/ended.ts';
import { removeLeftovers } from './leftovers.ts';
import { withSealHandedOn } from './live-audit.ts';
import { publisherFor } from './worker-run.ts';
import type { WorkerParts } from './worker.ts';

/** From this step on something may have been pushed. */
const PUBLISHING: readonly RunRecord['step'][] = ['publish', 'destroy', 'seal', 'report'];

/**
 * Ends a run whose worker is gone, or that was stopped before it began: nothing of it stays on the host, its open reservations count
 * as spent, its audit is sealed, and the people who wait for it are told. May be called again.
 */
export async function endLostRun(
  parts: WorkerParts,
  record: RunRecord,
  why: 'worker_lost' | 'cancelled',
): Promise<FinalState> {
  const { runId } = record.request;
  const { containers } = await removeLeftovers(parts, runId);
  const { calls, amount } = await parts.ledger.recover(runId);
  const result = await withOutcome(parts, record, endedWithoutWorker(record, { why, now: new Date().toISOString() }));
  const audit = await openRecord(parts, runId);
  if (audit === null) {
    await publisherFor(parts, record.request).finish({ result });
    return result.state;
  }
  const cleared = { containers, openReservations: calls, charged: amount };
  const seal = await endRecord(audit, { record, why, result, cleared }).finally(() => audit.close());
  await publisherFor(parts, record.request).finish({
    result: { ...result, auditFile: audit.file, auditHead: seal.head },
    seal,
  });
  return result.state;
}

/** The last lines of the record, and its seal. */
async function endRecord(
  audit: AuditLog,
  ended: {
    record: RunRecord;
    why: 'worker_lost' | 'cancelled';
    result: RunResult;
    cleared: Record<string, unknown>;
  },
): ReturnType<AuditLog['seal']> {
  const { record, why, result, cleared } = ended;
  const unknown = await unfinished(audit.file);
  await audit.append({
    zone: 'worker',
    type: 'run.recover',
    data: {
      ...{ why, worker: record.worker, step: record.step, ...cleared },
      unknown: unknown.slice(0, MAX_UNKNOWN),
      unknownCount: unknown.length,
    },
  });
  const { state, usage, error, head, pull } = result;
  await audit.append({
    zone: 'worker',
    type: 'run.end',
    data: { state, reason: result.reason ?? null, usage: { ...usage }, error: error ?? null },
  });
  const subject = { repository: `${record.request.repo.owner}/${record.request.repo.name}` };
  return audit.seal({ ...subject, commit: head ?? null, pull: pull?.number ?? null });
}

/** The run's record, to go on with; null when there is none, or none that can be gone on with: people are told all the same. */
async function openRecord({ host, events, log }: WorkerParts, runId: RunId): Promise<AuditLog | null> {
  const audit = await host.resumeAudit(runId).catch((thrown: unknown) => {
    log.error({ runId, message: toRunError(thrown, 'main.endLostRun').message }, 'audit file cannot be gone on with');
    return null;
  });
  return audit === null ? null : withSealHandedOn(audit, runId, events);
}

/** What was begun and has no outcome in the file. */
async function unfinished(file: string): Promise<OpenIntent[]> {
  const intents = createIntents();
  for await (const { events } of readAuditFile(file)) events.forEach((event) => intents.take(event));
  return intents.open();
}

/** What the run cost, and what GitHub has of it: a push may have succeeded just before the worker ended. */
async function withOutcome(parts: WorkerParts, record: RunRecord, result: RunResult): Promise<RunResult> {
  const { request, branch, step } = record;
  const { repo, runId, installationId } = request;
  const account = { runId, repoKey: repoKey(repo), installationKey: parts.payer, day: result.endedAt.slice(0, 10) };
  const { run } = await parts.ledger.spent(account);
  const rest = { ...result, usage: { ...result.usage, cost: run.spent } };
  delete rest.branch;
  if (branch === undefined || !PUBLISHING.includes(step)) return rest;
  const repository = parts.github.repository({ installationId, ...repo });
  const found = await repository.pullOf(branch);
  if (found === null) return rest;
  const { sha } = await repository.pull(found.number);
  const pushed = request.pull === undefined || request.pull.sha !== sha;
  return pushed ? { ...rest, branch, head: sha, pull: found } : { ...rest, pull: found };
}
