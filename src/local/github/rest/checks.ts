import { notFound } from '../errors.ts';
import { checkRunJson, suiteJson } from '../json/check.ts';
import { repositoryUrl } from '../json/repository.ts';
import { createCheckRun, updateCheckRun, type CheckChange } from '../acts/checks.ts';
import type { Annotation, CheckRun, CheckStatus, Conclusion, Repository } from '../state.ts';
import type { World } from '../world.ts';
import { appOf, created, ok, paged, pagedIn, type Call, type Handlers, type Reply } from './call.ts';
import { commitOf } from './repositories.ts';

/** The request body that create and update share; the description gives it as alternatives, which one type covers. */
interface CheckBody {
  name?: string;
  status?: CheckStatus;
  conclusion?: Conclusion;
  started_at?: string;
  completed_at?: string;
  external_id?: string;
  details_url?: string;
  output?: { title?: string; summary: string; text?: string; annotations?: Partial<Annotation>[] };
  actions?: CheckRun['actions'];
}

function annotation(given: Partial<Annotation>): Annotation {
  return {
    path: given.path ?? '',
    start_line: given.start_line ?? 1,
    end_line: given.end_line ?? given.start_line ?? 1,
    start_column: given.start_column ?? null,
    end_column: given.end_column ?? null,
    annotation_level: given.annotation_level ?? 'notice',
    message: given.message ?? '',
    title: given.title ?? null,
    raw_details: given.raw_details ?? null,
  };
}

function changeOf(body: CheckBody): CheckChange {
  return {
    name: body.name,
    status: body.status,
    conclusion: body.conclusion,
    startedAt: body.started_at,
    completedAt: body.completed_at,
    externalId: body.external_id,
    detailsUrl: body.details_url,
    output:
      body.output === undefined
        ? undefined
        : {
            title: body.output.title,
            summary: body.output.summary,
            text: body.output.text,
            annotations: (body.output.annotations ?? []).map(annotation),
          },
    actions: body.actions,
  };
}

function runOf(world: World, repository: Repository, id: number): CheckRun {
  const found = world.state.checkRuns.find((one) => one.repoId === repository.id && one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

async function listForRef(call: Call<'checks/list-for-ref'>): Promise<Reply> {
  const { world, repository, path, query } = call;
  const sha = await commitOf(world, repository, path.ref);
  const all = world.state.checkRuns.filter(
    (one) =>
      one.repoId === repository.id &&
      one.headSha === sha &&
      (query.check_name === undefined || one.name === query.check_name) &&
      (query.status === undefined || one.status === query.status),
  );
  // Unless all are asked for, only the latest run of a name in its suite counts.
  const latest = [...new Map(all.map((one) => [`${one.suiteId} ${one.name}`, one])).values()];
  const items = (query.filter === 'all' ? all : latest).reverse();
  return pagedIn(call, { name: 'check_runs', items, render: (one) => checkRunJson(world, one) });
}

export const checkHandlers = {
  'checks/create': async ({ world, repository, body, actor }) => {
    const given = body as unknown as CheckBody & { name: string; head_sha: string };
    const run = await createCheckRun(world, repository, {
      ...changeOf(given),
      name: given.name,
      headSha: given.head_sha,
      app: appOf(world),
      sender: actor.login,
    });
    return created(checkRunJson(world, run));
  },
  'checks/get': ({ world, repository, path }) => ok(checkRunJson(world, runOf(world, repository, path.check_run_id))),
  'checks/update': async ({ world, repository, path, body, actor }) => {
    const run = runOf(world, repository, path.check_run_id);
    await updateCheckRun(world, run, { ...changeOf(body), app: appOf(world), sender: actor.login });
    return ok(checkRunJson(world, run));
  },
  'checks/list-for-ref': listForRef,
  'checks/list-annotations': (call) => {
    const { world, repository, path } = call;
    const run = runOf(world, repository, path.check_run_id);
    return paged(call, run.annotations, (one) => ({
      ...one,
      blob_href: `${repositoryUrl(world, repository)}/git/blobs/${run.headSha}`,
    }));
  },
  'checks/list-suites-for-ref': async (call) => {
    const { world, repository, path } = call;
    const sha = await commitOf(world, repository, path.ref);
    const items = world.state.checkSuites.filter((one) => one.repoId === repository.id && one.headSha === sha);
    return pagedIn(call, { name: 'check_suites', items, render: (one) => suiteJson(world, one) });
  },
} satisfies Partial<Handlers>;
