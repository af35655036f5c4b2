import { notFound } from '../errors.ts';
import { jobJson, workflowRunJson } from '../json/workflow.ts';
import { signedPath } from '../signed.ts';
import type { Repository, WorkflowJob, WorkflowRun } from '../state.ts';
import type { World } from '../world.ts';
import { ok, pagedIn, type Handlers } from './call.ts';

function runOf(world: World, repository: Repository, id: number): WorkflowRun {
  const found = world.state.workflowRuns.find((one) => one.repoId === repository.id && one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

function jobOf(world: World, repository: Repository, id: number): WorkflowJob {
  const found = world.state.jobs.find((one) => one.repoId === repository.id && one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

export const actionsHandlers = {
  'actions/list-workflow-runs-for-repo': (call) => {
    const { world, repository, query } = call;
    const items = world.state.workflowRuns.filter(
      (one) =>
        one.repoId === repository.id &&
        (query.head_sha === undefined || one.headSha === query.head_sha) &&
        (query.branch === undefined || one.headBranch === query.branch) &&
        (query.check_suite_id === undefined || one.suiteId === query.check_suite_id),
    );
    return pagedIn(call, {
      name: 'workflow_runs',
      items: items.reverse(),
      render: (one) => workflowRunJson(world, one),
    });
  },
  'actions/get-workflow-run': async ({ world, repository, path }) =>
    ok(await workflowRunJson(world, runOf(world, repository, path.run_id))),
  'actions/list-jobs-for-workflow-run': (call) => {
    const { world, repository, path } = call;
    const run = runOf(world, repository, path.run_id);
    const items = world.state.jobs.filter((one) => one.runId === run.id);
    return pagedIn(call, { name: 'jobs', items, render: (one) => jobJson(world, one, run) });
  },
  'actions/get-job-for-workflow-run': ({ world, repository, path }) => {
    const job = jobOf(world, repository, path.job_id);
    return ok(jobJson(world, job, runOf(world, repository, job.runId)));
  },
  // The address is good for one minute and needs no credential; GitHub's is on another host.
  'actions/download-job-logs-for-workflow-run': ({ world, repository, path }) => {
    const job = jobOf(world, repository, path.job_id);
    return { status: 302, headers: { location: `${world.origin}${signedPath(world, `logs/${job.id}`)}` } };
  },
} satisfies Partial<Handlers>;
