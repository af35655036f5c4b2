/** What each operation needs, after GitHub's table of permissions for Apps. */
import { GitHubError, notFound } from './errors.ts';
import type { OperationId } from './openapi/operations.ts';
import type { Repository } from './state.ts';
import { permits, reaches, type Caller } from './tokens.ts';
import { atLeast, roleOf, type World } from './world.ts';

type Level = 'read' | 'write';

/**
 * `app`: the App's JWT. `installation`: any installation token. `members`: one of the organisation with `members: read`. `anyone`: no
 * credential. Otherwise a repository permission.
 */
export type Need =
  'app' | 'installation' | 'members' | 'anyone' | 'authenticated' | readonly [permission: string, level: Level];

/** Operations on a thread that is an issue need `issues`; on a pull request `pull_requests` does as well. */
const threadNeeds = {
  'issues/list-labels-on-issue': 'read',
  'issues/add-labels': 'write',
  'issues/remove-label': 'write',
  'issues/update': 'write',
  'issues/list-comments': 'read',
  'issues/get-comment': 'read',
  'issues/create-comment': 'write',
  'issues/update-comment': 'write',
  'issues/delete-comment': 'write',
} as const satisfies Partial<Record<OperationId, Level>>;

const needs: Record<Exclude<OperationId, keyof typeof threadNeeds>, Need> = {
  'meta/get': 'anyone',
  'rate-limit/get': 'authenticated',
  'apps/get-authenticated': 'app',
  'apps/list-installations': 'app',
  'apps/get-installation': 'app',
  'apps/get-repo-installation': 'app',
  'apps/create-installation-access-token': 'app',
  'apps/revoke-installation-access-token': 'installation',
  'apps/list-repos-accessible-to-installation': 'installation',
  'apps/list-webhook-deliveries': 'app',
  'apps/get-webhook-delivery': 'app',
  'apps/redeliver-webhook-delivery': 'app',
  'apps/create-from-manifest': 'anyone',
  'users/get-authenticated': 'authenticated',
  'users/get-by-username': 'authenticated',
  'repos/get': ['metadata', 'read'],
  'repos/get-collaborator-permission-level': ['metadata', 'read'],
  'repos/get-content': ['contents', 'read'],
  'repos/create-or-update-file-contents': ['contents', 'write'],
  'repos/get-branch': ['contents', 'read'],
  'repos/list-branches': ['contents', 'read'],
  'repos/list-commits': ['contents', 'read'],
  'repos/get-commit': ['contents', 'read'],
  'repos/compare-commits-with-basehead': ['contents', 'read'],
  'repos/list-commit-statuses-for-ref': ['statuses', 'read'],
  'repos/get-combined-status-for-ref': ['statuses', 'read'],
  'repos/list-pull-requests-associated-with-commit': ['pull_requests', 'read'],
  'git/get-ref': ['contents', 'read'],
  'git/list-matching-refs': ['contents', 'read'],
  'git/create-ref': ['contents', 'write'],
  'git/update-ref': ['contents', 'write'],
  'git/delete-ref': ['contents', 'write'],
  'git/get-commit': ['contents', 'read'],
  'issues/list-for-repo': ['issues', 'read'],
  'issues/get': ['issues', 'read'],
  'issues/create': ['issues', 'write'],
  'issues/list-labels-for-repo': ['issues', 'read'],
  'issues/get-label': ['issues', 'read'],
  'issues/create-label': ['issues', 'write'],
  'issues/list-comments-for-repo': ['issues', 'read'],
  'reactions/list-for-issue': ['issues', 'read'],
  'reactions/create-for-issue': ['issues', 'write'],
  'reactions/delete-for-issue': ['issues', 'write'],
  'reactions/list-for-issue-comment': ['issues', 'read'],
  'reactions/create-for-issue-comment': ['issues', 'write'],
  'reactions/delete-for-issue-comment': ['issues', 'write'],
  'reactions/create-for-pull-request-review-comment': ['pull_requests', 'write'],
  'reactions/delete-for-pull-request-comment': ['pull_requests', 'write'],
  'pulls/list': ['pull_requests', 'read'],
  'pulls/get': ['pull_requests', 'read'],
  'pulls/create': ['pull_requests', 'write'],
  'pulls/update': ['pull_requests', 'write'],
  'pulls/list-files': ['pull_requests', 'read'],
  'pulls/list-commits': ['pull_requests', 'read'],
  'pulls/list-reviews': ['pull_requests', 'read'],
  'pulls/get-review': ['pull_requests', 'read'],
  'pulls/create-review': ['pull_requests', 'write'],
  'pulls/list-comments-for-review': ['pull_requests', 'read'],
  'pulls/list-review-comments': ['pull_requests', 'read'],
  'pulls/get-review-comment': ['pull_requests', 'read'],
  'pulls/create-review-comment': ['pull_requests', 'write'],
  'pulls/update-review-comment': ['pull_requests', 'write'],
  'pulls/request-reviewers': ['pull_requests', 'write'],
  'checks/create': ['checks', 'write'],
  'checks/get': ['checks', 'read'],
  'checks/update': ['checks', 'write'],
  'checks/list-for-ref': ['checks', 'read'],
  'checks/list-annotations': ['checks', 'read'],
  'checks/list-suites-for-ref': ['checks', 'read'],
  'actions/list-workflow-runs-for-repo': ['actions', 'read'],
  'actions/get-workflow-run': ['actions', 'read'],
  'actions/list-jobs-for-workflow-run': ['actions', 'read'],
  'actions/get-job-for-workflow-run': ['actions', 'read'],
  'actions/download-job-logs-for-workflow-run': ['actions', 'read'],
  'teams/get-membership-for-user-in-org': 'members',
};

/** The needs of an operation, any one of which is enough. */
export function needsOf(operation: OperationId, onPull: boolean): Need[] {
  if (!(operation in threadNeeds)) return [needs[operation as keyof typeof needs]];
  const level = threadNeeds[operation as keyof typeof threadNeeds];
  return onPull
    ? [
        ['issues', level],
        ['pull_requests', level],
      ]
    : [['issues', level]];
}

const REFUSED = 'Resource not accessible by integration';

function checkAccount(caller: Caller, need: 'app' | 'installation' | 'members' | 'authenticated'): void {
  if (caller.kind === 'anonymous') throw new GitHubError(401, 'Requires authentication');
  if (need === 'app' && caller.kind !== 'app') throw new GitHubError(401, 'A JSON web token could not be decoded');
  if (need === 'installation' && caller.kind !== 'installation') throw new GitHubError(403, REFUSED);
  const reads = caller.kind === 'installation' && permits(caller.token, 'members', 'read');
  if (need === 'members' && !reads) throw new GitHubError(403, REFUSED);
}

/** Throws GitHub's refusal unless one of the needs is met. A repository out of reach looks absent. */
export function checkAccess(
  world: World,
  caller: Caller,
  options: { needs: readonly Need[]; repository: Repository | undefined },
): void {
  const { repository } = options;
  const wanted: (readonly [string, Level])[] = [];
  for (const need of options.needs) {
    if (need === 'anyone') return;
    if (typeof need === 'string') {
      checkAccount(caller, need);
      return;
    }
    wanted.push(need);
  }
  if (caller.kind === 'anonymous') throw new GitHubError(401, 'Requires authentication');
  if (caller.kind === 'app') throw new GitHubError(401, 'Bad credentials');
  if (repository === undefined) throw notFound();
  if (caller.kind === 'user') {
    const role = roleOf(world, repository, caller.login);
    if (role === 'none') throw notFound();
    const [permission] = wanted[0] ?? [];
    if (permission === 'checks' && wanted.every(([, level]) => level === 'write'))
      throw new GitHubError(403, 'You must authenticate via a GitHub App.');
    const free = permission === 'issues' || permission === 'pull_requests';
    if (!wanted.some(([, level]) => level === 'read' || free || atLeast(role, 'write')))
      throw new GitHubError(403, 'Must have push access to the repository.');
    return;
  }
  if (!reaches(world, caller, repository)) {
    if (repository.private) throw notFound();
    throw new GitHubError(403, REFUSED);
  }
  if (!wanted.some(([permission, level]) => permits(caller.token, permission, level)))
    throw new GitHubError(403, REFUSED);
}
