import { commitInfo } from '../git.ts';
import type { Schemas } from '../openapi/types.ts';
import type { CheckRun, CheckSuite, Repository } from '../state.ts';
import { isPull, nodeId, repositoryById, repositoryDir, type World } from '../world.ts';
import { appJson } from './people.ts';
import { minimalRepositoryJson, repositoryPage, repositoryUrl } from './repository.ts';

/** The open pull requests of this repository whose head is the commit; forks do not count, as on GitHub. */
export function pullsOfCommit(world: World, repository: Repository, sha: string): Schemas['pull-request-minimal'][] {
  const brief = { id: repository.id, url: repositoryUrl(world, repository), name: repository.name };
  return world.state.threads.flatMap((thread) => {
    if (!isPull(thread) || thread.repoId !== repository.id || thread.state !== 'open') return [];
    const { pull } = thread;
    if (pull.headSha !== sha || pull.headRepoId !== repository.id) return [];
    return [
      {
        id: pull.id,
        number: thread.number,
        url: `${brief.url}/pulls/${thread.number}`,
        head: { ref: pull.headRef, sha: pull.headSha, repo: brief },
        base: { ref: pull.baseRef, sha: pull.baseSha, repo: brief },
      },
    ];
  });
}

export function checkRunJson(world: World, run: CheckRun) {
  const repository = repositoryById(world, run.repoId);
  const url = `${repositoryUrl(world, repository)}/check-runs/${run.id}`;
  const page = `${repositoryPage(world, repository)}/runs/${run.id}`;
  return {
    id: run.id,
    node_id: nodeId('CR', run.id),
    head_sha: run.headSha,
    external_id: run.externalId ?? '',
    url,
    html_url: page,
    details_url: run.detailsUrl ?? page,
    status: run.status,
    conclusion: run.conclusion as Schemas['check-run']['conclusion'],
    started_at: run.startedAt,
    completed_at: run.completedAt,
    name: run.name,
    output: {
      title: run.title,
      summary: run.summary,
      text: run.text,
      annotations_count: run.annotations.length,
      annotations_url: `${url}/annotations`,
    },
    check_suite: { id: run.suiteId },
    app: appJson(world, run.app),
    pull_requests: pullsOfCommit(world, repository, run.headSha),
  } satisfies Schemas['check-run'];
}

/** A suite's state is that of its runs: the worst conclusion wins. */
function suiteState(world: World, suite: CheckSuite): Pick<Schemas['check-suite'], 'status' | 'conclusion'> {
  const runs = world.state.checkRuns.filter((one) => one.suiteId === suite.id);
  if (runs.length === 0) return { status: 'queued', conclusion: null };
  if (runs.some((one) => one.status !== 'completed')) return { status: 'in_progress', conclusion: null };
  const order = [
    'action_required',
    'timed_out',
    'cancelled',
    'failure',
    'stale',
    'success',
    'neutral',
    'skipped',
  ] as const;
  const worst = order.find((conclusion) => runs.some((one) => one.conclusion === conclusion));
  return { status: 'completed', conclusion: worst ?? 'neutral' };
}

export async function headCommitJson(world: World, repository: Repository, sha: string) {
  const commit = await commitInfo(repositoryDir(world, repository), sha);
  if (commit === undefined) throw new Error(`${sha} is not in ${repository.owner}/${repository.name}`);
  return {
    id: commit.sha,
    tree_id: commit.tree,
    message: commit.message,
    timestamp: commit.author.date,
    author: { name: commit.author.name, email: commit.author.email },
    committer: { name: commit.committer.name, email: commit.committer.email },
  } satisfies Schemas['simple-commit'];
}

/** A suite without its commit and repository: what the `check_suite` of a check run's webhook has. */
export function suiteSimpleJson(world: World, suite: CheckSuite) {
  const repository = repositoryById(world, suite.repoId);
  return {
    id: suite.id,
    node_id: nodeId('CS', suite.id),
    head_branch: suite.headBranch,
    head_sha: suite.headSha,
    ...suiteState(world, suite),
    url: `${repositoryUrl(world, repository)}/check-suites/${suite.id}`,
    before: null,
    after: suite.headSha,
    pull_requests: pullsOfCommit(world, repository, suite.headSha),
    app: appJson(world, suite.app),
    created_at: suite.createdAt,
    updated_at: suite.updatedAt,
  };
}

export async function suiteJson(world: World, suite: CheckSuite) {
  const repository = repositoryById(world, suite.repoId);
  return {
    ...suiteSimpleJson(world, suite),
    latest_check_runs_count: world.state.checkRuns.filter((one) => one.suiteId === suite.id).length,
    check_runs_url: `${repositoryUrl(world, repository)}/check-suites/${suite.id}/check-runs`,
    rerequestable: true,
    runs_rerequestable: true,
    head_commit: await headCommitJson(world, repository, suite.headSha),
    repository: minimalRepositoryJson(world, repository),
  } satisfies Schemas['check-suite'];
}
