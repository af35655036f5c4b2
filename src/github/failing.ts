/**
 * What failed on a commit: the checks of other Apps, what they say about lines, and the end of their jobs' logs.
 *
 * Trust: all of it was written by code of the branch, that is, by anybody; it is cut here and handed on as text.
 */
import { z } from 'zod';
import type { FailingCheck } from '../domain/review.ts';
import type { Call } from './call.ts';
import { GitHubError } from './failure.ts';
import type { TokenPermissions } from './tokens.ts';

const READ_CHECKS: TokenPermissions = { checks: 'read', metadata: 'read' };
const READ_ACTIONS: TokenPermissions = { actions: 'read', metadata: 'read' };
const FAILED = ['failure', 'timed_out'];
const MAX_CHECKS = 10;
const MAX_ANNOTATIONS = 20;
const MAX_SUMMARY = 2_000;
const MAX_LOG = 6_000;
const MAX_LOG_BYTES = 20 * 2 ** 20;

const Run = z.object({
  id: z.number(),
  name: z.string(),
  conclusion: z.string().nullish(),
  completed_at: z.string().nullish(),
  output: z.object({
    title: z.string().nullish(),
    summary: z.string().nullish(),
    annotations_count: z.number().catch(0),
  }),
  check_suite: z.object({ id: z.number() }).nullish(),
  app: z.object({ id: z.number(), slug: z.string().optional() }).nullish(),
});
type Run = z.infer<typeof Run>;

/** Errors: `github`. A missing permission for logs is no failure: the checks then come without. */
export async function failingChecks(call: Call, options: { sha: string; appId: number }): Promise<FailingCheck[]> {
  const listed = await call('github.failingChecks', READ_CHECKS, (octokit, at) =>
    octokit.paginate(octokit.rest.checks.listForRef, { ...at, ref: options.sha, filter: 'latest', per_page: 100 }),
  );
  const failed = z
    .array(Run)
    .parse(listed)
    .filter((run) => FAILED.includes(run.conclusion ?? '') && run.app?.id !== options.appId)
    .slice(0, MAX_CHECKS);
  const checks: FailingCheck[] = [];
  for (const run of failed) checks.push(await describe(call, run));
  return checks;
}

async function describe(call: Call, run: Run): Promise<FailingCheck> {
  const { title, summary } = run.output;
  const log = await jobLog(call, run);
  const parts = [
    title ?? '',
    (summary ?? '').slice(0, MAX_SUMMARY),
    run.output.annotations_count > 0 ? await annotations(call, run.id) : '',
    log === undefined ? '' : `End of the log:\n${relevantPart(log)}`,
  ];
  return {
    id: run.id,
    name: run.name,
    app: run.app?.slug ?? 'unknown',
    conclusion: run.conclusion ?? 'failure',
    completedAt: run.completed_at ?? '',
    text: parts
      .filter((part) => part !== '')
      .join('\n\n')
      .toWellFormed(),
  };
}

async function annotations(call: Call, id: number): Promise<string> {
  const { data } = await call('github.annotations', READ_CHECKS, (octokit, at) =>
    octokit.rest.checks.listAnnotations({ ...at, check_run_id: id, per_page: MAX_ANNOTATIONS }),
  );
  return data
    .map(({ path, start_line: line, message }) => `${path}:${line}: ${(message ?? '').slice(0, 500)}`)
    .join('\n');
}

/** The log of the failed job of this name in the check's suite; undefined where there is none, or it may not be read. */
async function jobLog(call: Call, run: Run): Promise<string | undefined> {
  const suite = run.check_suite?.id;
  if (run.app?.slug !== 'github-actions' || suite === undefined) return undefined;
  try {
    return await call('github.jobLog', READ_ACTIONS, async (octokit, at) => {
      const runs = await octokit.rest.actions.listWorkflowRunsForRepo({ ...at, check_suite_id: suite, per_page: 10 });
      for (const { id } of runs.data.workflow_runs) {
        const jobs = await octokit.rest.actions.listJobsForWorkflowRun({ ...at, run_id: id, per_page: 100 });
        const job = jobs.data.jobs.find((one) => one.name === run.name && FAILED.includes(one.conclusion ?? ''));
        if (job === undefined) continue;
        const { data } = await octokit.rest.actions.downloadJobLogsForWorkflowRun({ ...at, job_id: job.id });
        return String(data).slice(-MAX_LOG_BYTES);
      }
      return undefined;
    });
  } catch (thrown) {
    if (thrown instanceof GitHubError && !thrown.retry) return undefined;
    throw thrown;
  }
}

/** Up to the last error that the runner marked, without its time stamps: what comes behind it is tidying up. */
function relevantPart(log: string): string {
  const lines = log
    .replace(/\r\n?/g, '\n')
    .split('\n')
    .map((line) => line.replace(/^\ufeff?\d{4}-\d\d-\d\dT[\d:.]+Z /, ''));
  const last = lines.findLastIndex((line) => line.startsWith('##[error]'));
  const kept = (last === -1 ? lines : lines.slice(0, last + 1)).join('\n').trimEnd();
  return kept.length <= MAX_LOG ? kept : `[… cut …]\n${kept.slice(-MAX_LOG)}`;
}
