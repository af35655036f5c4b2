import type { Schemas } from '../openapi/types.ts';
import type { WorkflowJob, WorkflowRun } from '../state.ts';
import { nodeId, repositoryById, type World } from '../world.ts';
import { headCommitJson, pullsOfCommit } from './check.ts';
import { userJson } from './people.ts';
import { minimalRepositoryJson, repositoryPage, repositoryUrl } from './repository.ts';

export async function workflowRunJson(world: World, run: WorkflowRun) {
  const repository = repositoryById(world, run.repoId);
  const api = repositoryUrl(world, repository);
  const url = `${api}/actions/runs/${run.id}`;
  const minimal = minimalRepositoryJson(world, repository);
  return {
    id: run.id,
    name: run.name,
    node_id: nodeId('WFR', run.id),
    check_suite_id: run.suiteId,
    check_suite_node_id: nodeId('CS', run.suiteId),
    head_branch: run.headBranch,
    head_sha: run.headSha,
    path: run.path,
    run_number: run.runNumber,
    run_attempt: 1,
    event: run.event,
    status: 'completed',
    conclusion: run.conclusion,
    workflow_id: run.repoId,
    url,
    html_url: `${repositoryPage(world, repository)}/actions/runs/${run.id}`,
    pull_requests: pullsOfCommit(world, repository, run.headSha),
    created_at: run.createdAt,
    updated_at: run.createdAt,
    run_started_at: run.createdAt,
    actor: userJson(world, run.actor),
    triggering_actor: userJson(world, run.actor),
    jobs_url: `${url}/jobs`,
    logs_url: `${url}/logs`,
    check_suite_url: `${api}/check-suites/${run.suiteId}`,
    artifacts_url: `${url}/artifacts`,
    cancel_url: `${url}/cancel`,
    rerun_url: `${url}/rerun`,
    previous_attempt_url: null,
    workflow_url: `${api}/actions/workflows/${run.repoId}`,
    display_title: run.name,
    referenced_workflows: [],
    head_commit: await headCommitJson(world, repository, run.headSha),
    repository: minimal,
    head_repository: minimal,
  } satisfies Schemas['workflow-run'];
}

export function jobJson(world: World, job: WorkflowJob, run: WorkflowRun): Schemas['job'] {
  const repository = repositoryById(world, job.repoId);
  const api = repositoryUrl(world, repository);
  return {
    id: job.id,
    run_id: run.id,
    run_url: `${api}/actions/runs/${run.id}`,
    node_id: nodeId('CR', job.id),
    head_sha: run.headSha,
    head_branch: run.headBranch,
    url: `${api}/actions/jobs/${job.id}`,
    html_url: `${repositoryPage(world, repository)}/actions/runs/${run.id}/job/${job.id}`,
    status: 'completed',
    conclusion: job.conclusion,
    created_at: job.createdAt,
    started_at: job.createdAt,
    completed_at: job.createdAt,
    name: job.name,
    workflow_name: run.name,
    check_run_url: `${api}/check-runs/${job.id}`,
    labels: ['ubuntu-latest'],
    runner_id: 1,
    runner_name: 'stand-in',
    runner_group_id: 1,
    runner_group_name: 'Default',
    steps: [
      {
        name: job.name,
        status: 'completed',
        conclusion: job.conclusion,
        number: 1,
        started_at: job.createdAt,
        completed_at: job.createdAt,
      },
    ],
  };
}
