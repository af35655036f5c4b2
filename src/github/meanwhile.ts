/** What may have become of a thread while its run went on. */
import type { CommitSha } from '../domain/ids.ts';
import type { RunSpec } from '../domain/run.ts';
import { GitHubError } from './failure.ts';
import type { GitHubRepository } from './repository.ts';

/**
 * What is pushed to the branch of a pull request that is closed or merged is in no pull request: nobody would see it.
 * Errors: `github` with the kind `closed`.
 */
export async function stillOpen(
  repository: Pick<GitHubRepository, 'pull'>,
  number: number,
  commit: CommitSha,
): Promise<void> {
  const { open, sha } = await repository.pull(number);
  // Pushed before, by a try whose end was lost.
  if (open || sha === commit) return;
  const detail = `pull request #${number} was closed or merged while the run went on; nothing was pushed`;
  throw new GitHubError({ kind: 'closed', op: 'github.publish', detail });
}

/** GitHub answers 422 to a pull request into a branch that is gone as to any other that it does not take. */
export async function baseGone(
  repository: Pick<GitHubRepository, 'headOf'>,
  spec: Pick<RunSpec, 'branch' | 'baseRef'>,
  thrown: unknown,
): Promise<GitHubError | undefined> {
  if (!(thrown instanceof GitHubError) || thrown.kind !== 'invalid') return undefined;
  const there = await repository.headOf(spec.baseRef).catch(() => undefined);
  if (there !== null) return undefined;
  const detail = `the branch ${spec.baseRef} was deleted while the run went on; the result is pushed, as the branch ${spec.branch}`;
  return new GitHubError({ kind: 'base_gone', op: 'github.openPull', detail, cause: thrown });
}
