import { pushBranch, type PushFailure } from '../git/push.ts';
import { GitHubError, type GitHubFailure } from './failure.ts';
import type { PushBranch } from './publisher.ts';

const FAILURES: Record<PushFailure, { kind: GitHubFailure; detail: string }> = {
  auth: { kind: 'permission', detail: 'missing permission: contents=write' },
  workflows: { kind: 'permission', detail: 'the change touches workflow files; missing permission: workflows=write' },
  protected: { kind: 'permission', detail: 'a branch protection or ruleset refuses this branch' },
  not_found: { kind: 'not_found', detail: 'the repository, for a push' },
  redirect: { kind: 'not_found', detail: 'the remote answers with a redirect, which is not followed' },
  unreachable: { kind: 'unavailable', detail: 'the git remote cannot be reached' },
  timeout: { kind: 'unavailable', detail: 'the push took too long' },
  stale: { kind: 'conflict', detail: 'the branch has moved since the run began, or is gone; nothing was overwritten' },
  rejected: { kind: 'other', detail: 'the remote refused the push' },
};

/** Pushes over HTTP with the token of the call; the remote is `<webUrl>/<owner>/<name>.git`. */
export function pushTo(remote: {
  webUrl: string;
  owner: string;
  name: string;
  caFile?: string | undefined;
}): PushBranch {
  const base = remote.webUrl.replace(/\/+$/, '');
  return async ({ repository, commit, branch, expected, authorization, now = remote, signal }) => {
    const pushed = await pushBranch({
      repository,
      commit,
      branch,
      expected: expected ?? null,
      url: `${base}/${now.owner}/${now.name}.git`,
      authorization,
      // Plain http is the operator's word: GHE_PROTOCOL.
      allowHttp: base.startsWith('http:'),
      ...(remote.caFile === undefined ? {} : { caFile: remote.caFile }),
      signal,
    });
    if (pushed.ok) return;
    const cause = new Error(pushed.message);
    throw new GitHubError({ ...FAILURES[pushed.reason], op: 'github.push', cause });
  };
}
