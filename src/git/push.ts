import { CofferdamError } from '../domain/errors.ts';
import { gitError, runGit, type GitCall, type GitOutcome } from './git.ts';
import { isAncestor, validRef } from './plumbing.ts';
import { remoteFailure, transportFor, type RemoteFailure } from './remote.ts';

// Trust assumptions: the commit is the host's own, its objects passed quarantine. The remote's answer is shown to people
// after `printable`; which failure it was is read from git's porcelain lines, the rest is the remote's prose.

export interface PushOptions {
  /** Bare repository that holds the commit. */
  repository: string;
  commit: string;
  /** `cofferdam/…`: nothing else can be pushed. */
  branch: string;
  /** What the branch must be at the remote: a commit that the new one builds on, or null when it must not exist. */
  expected: string | null;
  url: string;
  /** Value of the Authorization header. */
  authorization?: string;
  allowHttp?: boolean;
  caFile?: string;
  signal: AbortSignal;
}

export type PushFailure =
  | Exclude<RemoteFailure, 'missing_ref' | 'no_space' | 'bad_objects' | 'other'>
  /** The branch is not what was expected: somebody else pushed, or made it. */
  | 'stale'
  /** The token lacks the permission to change workflow files. */
  | 'workflows'
  /** A branch protection or a ruleset. */
  | 'protected'
  | 'rejected';

/** Failure is a value: which one it was decides what the person reads. `unchanged`: the branch was there already. */
export type PushResult =
  { ok: true; outcome: 'created' | 'updated' | 'unchanged' } | { ok: false; reason: PushFailure; message: string };

const OP = 'git.pushBranch';
const REF = /^refs\/heads\/cofferdam\/[a-z0-9]+(?:-[a-z0-9]+)*$/;

/**
 * Pushes one commit to one branch: creates it, or moves it forward from `expected`; never rewrites, never deletes. Doing it
 * again after a lost answer is `unchanged`.
 * Errors: `internal` for another branch than `cofferdam/…`, `config` for a URL that is not allowed, `cancelled`.
 */
export async function pushBranch(options: PushOptions): Promise<PushResult> {
  const { repository, commit, expected, signal } = options;
  const ref = `refs/heads/${options.branch}`;
  if (!REF.test(ref) || !validRef(ref))
    throw new CofferdamError('internal', OP, 'only a cofferdam/ branch can be pushed');
  if (expected !== null && !(await isAncestor({ gitDir: repository, op: OP, signal }, expected, commit))) {
    return { ok: false, reason: 'stale', message: 'the commit does not build on what the branch should be' };
  }
  const call: GitCall = {
    op: OP,
    code: 'github',
    gitDir: repository,
    args: [
      'push',
      '--porcelain',
      '--no-verify',
      '--no-signed',
      '--no-follow-tags',
      '--recurse-submodules=no',
      // The old value is sent along and compared at the remote; together with the check above this cannot rewrite.
      `--force-with-lease=${ref}:${expected ?? ''}`,
      options.url,
      `${commit}:${ref}`,
    ],
    transport: transportFor(options),
    timeoutMs: 300_000,
    signal,
  };
  const outcome = await runGit(call);
  if (outcome.end === 'aborted') throw gitError(call, outcome);
  return result(outcome, ref, gitError(call, outcome).message);
}

function result(outcome: GitOutcome, ref: string, message: string): PushResult {
  const line = outcome.stdout
    .toString('utf8')
    .split('\n')
    .find((one) => one.split('\t')[1]?.endsWith(`:${ref}`));
  const [flag, , summary = ''] = line?.split('\t') ?? [];
  const outcomes: Record<string, 'created' | 'updated' | 'unchanged'> = {
    '*': 'created',
    ' ': 'updated',
    '=': 'unchanged',
  };
  const done = outcomes[flag ?? ''];
  if (done !== undefined && outcome.exitCode === 0) return { ok: true, outcome: done };
  if (flag === '!') return { ok: false, reason: rejection(`${summary}\n${outcome.stderr}`), message };
  const failure = remoteFailure(outcome);
  const named: readonly RemoteFailure[] = ['missing_ref', 'no_space', 'bad_objects', 'other'];
  return { ok: false, reason: named.includes(failure) ? 'rejected' : (failure as PushFailure), message };
}

/** The words after `[remote rejected]` are the server's; these are GitHub's and git's own. */
function rejection(text: string): PushFailure {
  if (
    /\((?:stale info|fetch first|non-fast-forward|already exists|incorrect old value provided|cannot lock ref|failed to update ref)/.test(
      text,
    )
  )
    return 'stale';
  if (/without `workflows?` (?:permission|scope)/.test(text)) return 'workflows';
  if (/protected branch|rule violations|GH006|GH013/.test(text)) return 'protected';
  return 'rejected';
}
