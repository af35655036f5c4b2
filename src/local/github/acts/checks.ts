/** Check runs, their buttons, and a CI that reports results. */
import { without } from '../json/without.ts';
import { GitHubError } from '../errors.ts';
import { resolveCommit } from '../git.ts';
import { checkRunJson, suiteJson, suiteSimpleJson } from '../json/check.ts';
import type { Annotation, CheckAction, CheckRun, CheckStatus, CheckSuite, Conclusion, Repository } from '../state.ts';
import { atLeast, isPull, nextId, now, repositoryById, repositoryDir, roleOf, type World } from '../world.ts';
import { ensureSuite } from './suites.ts';

export interface CheckChange {
  name?: string | undefined;
  status?: CheckStatus | undefined;
  conclusion?: Conclusion | undefined;
  startedAt?: string | undefined;
  completedAt?: string | undefined;
  externalId?: string | undefined;
  detailsUrl?: string | undefined;
  output?:
    | { title?: string | undefined; summary: string; text?: string | undefined; annotations?: Annotation[] | undefined }
    | undefined;
  actions?: CheckAction[] | undefined;
}

function suiteOf(world: World, run: CheckRun): CheckSuite {
  const suite = world.state.checkSuites.find((one) => one.id === run.suiteId);
  if (suite === undefined) throw new Error(`check run ${run.id} has no suite`);
  return suite;
}

function emitRun(
  world: World,
  run: CheckRun,
  event: { action: string; sender: string; extra?: Record<string, unknown> },
): void {
  const described = checkRunJson(world, run);
  world.emit({
    name: 'check_run',
    action: event.action,
    repository: repositoryById(world, run.repoId),
    sender: event.sender,
    payload: { check_run: { ...described, check_suite: suiteSimpleJson(world, suiteOf(world, run)) }, ...event.extra },
  });
}

async function emitSuite(
  world: World,
  suite: CheckSuite,
  event: { action: 'completed' | 'rerequested'; sender: string },
): Promise<void> {
  const repository = repositoryById(world, suite.repoId);
  const described = without(await suiteJson(world, suite), 'repository');
  world.emit({ name: 'check_suite', ...event, repository, payload: { check_suite: described } });
}

/** A conclusion completes a run; `completed` without one is refused. */
function applyStatus(world: World, run: CheckRun, change: CheckChange): void {
  if (change.conclusion !== undefined) {
    run.conclusion = change.conclusion;
    run.status = 'completed';
  } else if (change.status === 'completed' && run.conclusion === null) {
    throw new GitHubError(422, 'Invalid request.\n\nNo subschema in "anyOf" matched.\n"conclusion" wasn\'t supplied.');
  } else if (change.status !== undefined) {
    run.status = change.status;
    if (change.status !== 'completed') run.conclusion = null;
  }
  run.startedAt = change.startedAt ?? run.startedAt ?? now(world);
  run.completedAt = run.status === 'completed' ? (change.completedAt ?? run.completedAt ?? now(world)) : null;
}

function applyRest(run: CheckRun, change: CheckChange): void {
  run.name = change.name ?? run.name;
  run.externalId = change.externalId ?? run.externalId;
  run.detailsUrl = change.detailsUrl ?? run.detailsUrl;
  run.actions = change.actions ?? run.actions;
  if (change.output === undefined) return;
  run.title = change.output.title ?? run.title;
  run.summary = change.output.summary;
  run.text = change.output.text ?? run.text;
  run.annotations.push(...(change.output.annotations ?? [])); // later updates append
}

async function branchOf(world: World, repository: Repository, sha: string): Promise<string | null> {
  for (const thread of world.state.threads)
    if (isPull(thread) && thread.repoId === repository.id && thread.pull.headSha === sha) return thread.pull.headRef;
  const push = world.state.pushes.findLast((one) => one.repoId === repository.id && one.after === sha);
  if (push !== undefined) return push.ref.replace(/^refs\/heads\//, '');
  const tip = await resolveCommit(repositoryDir(world, repository), repository.defaultBranch);
  return tip === sha ? repository.defaultBranch : null;
}

export async function createCheckRun(
  world: World,
  repository: Repository,
  wanted: CheckChange & { name: string; headSha: string; app: string; sender: string },
): Promise<CheckRun> {
  const sha = await resolveCommit(repositoryDir(world, repository), wanted.headSha);
  if (sha === undefined || sha !== wanted.headSha)
    throw new GitHubError(422, `No commit found for SHA: ${wanted.headSha}`);
  const branch = await branchOf(world, repository, sha);
  const run: CheckRun = {
    id: nextId(world),
    repoId: repository.id,
    suiteId: 0,
    app: wanted.app,
    name: wanted.name,
    headSha: sha,
    status: 'queued',
    conclusion: null,
    startedAt: null,
    completedAt: null,
    externalId: null,
    detailsUrl: null,
    title: null,
    summary: null,
    text: null,
    annotations: [],
    actions: [],
  };
  applyStatus(world, run, wanted);
  applyRest(run, wanted);
  const suite = ensureSuite(world, repository, { app: wanted.app, sha, branch });
  run.suiteId = suite.id;
  world.state.checkRuns.push(run);
  emitRun(world, run, { action: 'created', sender: wanted.sender });
  if (run.status === 'completed') await completed(world, run, wanted.sender);
  world.changed();
  return run;
}

async function completed(world: World, run: CheckRun, sender: string): Promise<void> {
  emitRun(world, run, { action: 'completed', sender });
  const suite = suiteOf(world, run);
  suite.updatedAt = now(world);
  const runs = world.state.checkRuns.filter((one) => one.suiteId === suite.id);
  if (runs.every((one) => one.status === 'completed')) await emitSuite(world, suite, { action: 'completed', sender });
}

export async function updateCheckRun(
  world: World,
  run: CheckRun,
  change: CheckChange & { app: string; sender: string },
): Promise<void> {
  if (run.app !== change.app)
    throw new GitHubError(403, 'Invalid app_id - check run can only be modified by the GitHub App that created it.');
  const before = run.status;
  applyStatus(world, run, change);
  applyRest(run, change);
  if (before !== 'completed' && run.status === 'completed') await completed(world, run, change.sender);
  world.changed();
}

function requireWrite(world: World, run: CheckRun, login: string): void {
  if (!atLeast(roleOf(world, repositoryById(world, run.repoId), login), 'write'))
    throw new GitHubError(403, 'Must have push access to the repository.');
}

/** A person presses a button of a completed run. */
export function clickAction(world: World, run: CheckRun, click: { identifier: string; login: string }): void {
  requireWrite(world, run, click.login);
  if (run.status !== 'completed' || !run.actions.some((one) => one.identifier === click.identifier))
    throw new GitHubError(422, `the check run offers no action ${click.identifier}`);
  const extra = { requested_action: { identifier: click.identifier } };
  emitRun(world, run, { action: 'requested_action', sender: click.login, extra });
}

/** A person asks for the check again. */
export function rerequest(world: World, run: CheckRun, login: string): void {
  requireWrite(world, run, login);
  emitRun(world, run, { action: 'rerequested', sender: login });
}

/** A person asks for all checks of the run's suite again. */
export async function rerequestSuite(world: World, run: CheckRun, login: string): Promise<void> {
  requireWrite(world, run, login);
  await emitSuite(world, suiteOf(world, run), { action: 'rerequested', sender: login });
}
