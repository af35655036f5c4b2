/** A continuous integration that reports a result: a workflow run with a job, its log, and a check run of its App. */
import { workflowRunJson } from '../json/workflow.ts';
import type { Repository, WorkflowRun } from '../state.ts';
import { ensureUser, nextId, now, type World } from '../world.ts';
import { createCheckRun } from './checks.ts';

const CI_APP = 'github-actions';

export interface CiResult {
  sha: string;
  branch: string;
  conclusion: 'success' | 'failure';
  /** Name of the workflow and of its job. */
  workflow?: string;
  job?: string;
  log?: string;
}

export async function reportCi(world: World, repository: Repository, result: CiResult): Promise<WorkflowRun> {
  const sender = ensureUser(world, `${CI_APP}[bot]`, 'Bot').login;
  const job = result.job ?? 'test';
  const check = await createCheckRun(world, repository, {
    name: job,
    headSha: result.sha,
    app: CI_APP,
    sender,
    conclusion: result.conclusion,
    output: { title: job, summary: `The job ${job} ended with ${result.conclusion}.` },
  });
  const workflow = result.workflow ?? 'CI';
  const at = now(world);
  const run: WorkflowRun = {
    id: nextId(world),
    repoId: repository.id,
    suiteId: check.suiteId,
    runNumber: world.state.workflowRuns.filter((one) => one.repoId === repository.id).length + 1,
    name: workflow,
    path: `.github/workflows/${workflow.toLowerCase()}.yml`,
    headBranch: result.branch,
    headSha: result.sha,
    event: 'push',
    conclusion: result.conclusion,
    actor: repository.owner,
    createdAt: at,
  };
  world.state.workflowRuns.push(run);
  world.state.jobs.push({
    id: nextId(world),
    repoId: repository.id,
    runId: run.id,
    name: job,
    conclusion: result.conclusion,
    log: result.log ?? '',
    createdAt: at,
  });
  world.emit({
    name: 'workflow_run',
    action: 'completed',
    repository,
    sender,
    payload: {
      workflow_run: await workflowRunJson(world, run),
      workflow: {
        id: repository.id,
        node_id: 'W_kwDO',
        name: workflow,
        path: run.path,
        state: 'active',
        created_at: at,
        updated_at: at,
        url: `${world.origin}/api/v3/repos/${repository.owner}/${repository.name}/actions/workflows/${repository.id}`,
        html_url: `${world.origin}/${repository.owner}/${repository.name}/blob/${repository.defaultBranch}/${run.path}`,
        badge_url: `${world.origin}/${repository.owner}/${repository.name}/workflows/${workflow}/badge.svg`,
      },
    },
  });
  world.changed();
  return run;
}
