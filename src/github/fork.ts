/** Publishing what was made upon a pull request from a fork: its branch is another repository's, so the result is one of our own. */
import type { CommitSha } from '../domain/ids.ts';
import { repoKey, type PatchFacts, type RunRequest, type RunSpec } from '../domain/run.ts';
import { touchesWorkflows } from '../policy/markdown/held.ts';
import type { AuditLog, Harvest, Published } from '../run/ports.ts';
import { GitHubError, type GitHubFailure } from './failure.ts';
import type { PublisherOptions } from './publisher.ts';

/** The pull request from a fork that a run builds upon. */
export function uponFork({ pull }: RunRequest): number | undefined {
  return pull === undefined || pull.sameRepository ? undefined : pull.number;
}

/** Pushes the run's commit, and with it what it builds upon. Errors: `github`. */
export async function pushResult(
  options: Pick<PublisherOptions, 'repository' | 'push' | 'request'>,
  run: { spec: RunSpec; harvest: Harvest; expected: CommitSha | undefined; signal: AbortSignal },
): Promise<void> {
  const { harvest, spec, expected, signal } = run;
  const files = [...harvest.files, ...(harvest.incoming?.files ?? [])].map((file) => file.path);
  const authorization = await options.repository.gitAuthorization('write', { workflows: touchesWorkflows(files) });
  const { repository, commit } = harvest;
  const wanted = { repository, commit, branch: spec.branch, expected, authorization, signal };
  try {
    await options.push(wanted);
  } catch (thrown) {
    const now = await instead(options, thrown);
    if (now === undefined) throw thrown;
    await options.push({ ...wanted, now });
  }
}

/** Git does not say why it was refused: the repository may have another name by now (then where it is), or be archived (then this is thrown). */
async function instead(
  { repository, request }: Pick<PublisherOptions, 'repository' | 'request'>,
  thrown: unknown,
): Promise<{ owner: string; name: string } | undefined> {
  if (!(thrown instanceof GitHubError) || !['permission', 'not_found'].includes(thrown.kind)) return undefined;
  const found = await repository.whereabouts().catch(() => undefined);
  if (found?.archived === true) throw new GitHubError({ kind: 'archived', op: 'github.push', cause: thrown });
  const { id, owner, name } = request.repo;
  // Only the repository that was asked about, whatever has taken its name.
  if (found === undefined || found.id !== id || repoKey(found) === repoKey({ owner, name })) return undefined;
  return found;
}

/** Has what the run began from moved: the branch, or the fork's pull request? Not known counts as no. */
export async function moved({ repository, request }: PublisherOptions, spec: RunSpec): Promise<boolean> {
  const upon = uponFork(request);
  const now =
    upon === undefined
      ? repository.headOf(spec.baseRef)
      : repository.pull(upon).then(({ open, sha }) => (open ? sha : null));
  return (await now.catch(() => spec.base)) !== spec.base;
}

/** What GitHub refuses for good, so that the result can only be handed over as a patch. */
const FOR_GOOD: readonly GitHubFailure[] = ['permission', 'invalid', 'not_found', 'base_gone', 'other'];

/** Of a run upon a fork: a refusal that makes a patch of its result, as a value. Any other failure is thrown. */
export async function unlessRefused<T>(request: RunRequest, work: Promise<T>): Promise<T | GitHubError> {
  try {
    return await work;
  } catch (thrown) {
    const patch = uponFork(request) !== undefined && thrown instanceof GitHubError && FOR_GOOD.includes(thrown.kind);
    if (!patch) throw thrown;
    return thrown;
  }
}

/** Of the patch, in a comment. */
const MAX_PATCH = 20_000;

/** The run's own change as the result; what the fork has already is not part of it. Throws the refusal where no patch is at hand. */
export async function asPatch(
  run: { spec: RunSpec; harvest: Harvest; audit: Pick<AuditLog, 'append'>; branch?: string },
  refusal: GitHubError,
): Promise<Published> {
  const { spec, harvest, audit, branch } = run;
  const patch = patchFacts(spec, harvest, refusal);
  const data = { commit: harvest.commit, why: refusal.kind, pushed: branch !== undefined };
  await audit.append({ zone: 'github', type: 'publish.patch', data });
  return { head: harvest.commit, patch, ...(branch === undefined ? {} : { branch }) };
}

function patchFacts(spec: RunSpec, harvest: Harvest, refusal: GitHubError): PatchFacts {
  const { patch, patchTruncated } = harvest;
  if (patch === '') throw refusal;
  return {
    why: refusal.message,
    text: patch.slice(0, MAX_PATCH).toWellFormed(),
    cut: patchTruncated || patch.length > MAX_PATCH,
    base: spec.base,
  };
}
