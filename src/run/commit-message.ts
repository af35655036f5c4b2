import type { RunResult, RunSpec } from '../domain/run.ts';
import type { AuditLog, RunJob } from './ports.ts';
import type { Notes } from './result.ts';

/** Records the checkpoint "commit made" first, so that the trailer can name it. */
export async function commitMessage(
  run: { audit: AuditLog; job: RunJob; notes: Notes; spec: RunSpec },
  made: { tree: string; files: RunResult['files'] },
): Promise<{ title: string; body: string; trailers: [string, string][] }> {
  const { audit, job, notes, spec } = run;
  const recorded = audit.append({
    zone: 'worker',
    type: 'git.commit',
    data: { tree: made.tree, base: spec.base, files: made.files.length },
  });
  // Others may write while this line is synced, and the trailer names this one.
  const checkpoint = audit.head();
  await recorded;
  const requester = job.requester;
  return {
    title: spec.title,
    body: notes.reason === undefined ? '' : `Partial work: the run ended early (${notes.reason}).`,
    trailers: [
      ...(requester === undefined
        ? []
        : [
            ['Co-authored-by', `${requester.login} <${requester.id}+${requester.login}@users.noreply.github.com>`] as [
              string,
              string,
            ],
          ]),
      ['Cofferdam-Run', job.runId],
      ['Cofferdam-Audit', checkpoint],
    ],
  };
}
