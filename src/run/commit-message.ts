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
  const { requester, noreply = 'users.noreply.github.com' } = job;
  const trailers: [string, string][] = [];
  // The address that GitHub gives to everybody: nobody's own is in a commit.
  if (requester !== undefined) {
    const { login, id } = requester;
    trailers.push(['Co-authored-by', `${login} <${id}+${login}@${noreply}>`]);
  }
  return {
    title: spec.title,
    body: notes.reason === undefined ? '' : `Partial work: the run ended early (${notes.reason}).`,
    trailers: [...trailers, ['Cofferdam-Run', job.runId], ['Cofferdam-Audit', checkpoint]],
  };
}
