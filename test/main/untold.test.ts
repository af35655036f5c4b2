import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createPublisher, type GitHubPublisher } from '../../src/github/publisher.ts';
import type { RunId } from '../../src/domain/ids.ts';
import type { ChangedFile, RunRequest } from '../../src/domain/run.ts';
import { createUntold, type Untold } from '../../src/main/untold.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { harvestOf, limits, memoryAudit, publisherOf, pushTo, requestOn, resultOf, specOf } from '../github/run.ts';
import { stage, type Stage } from '../github/stage.ts';
import { newRunId } from '../queue/requests.ts';

const settings = { limits: { ...limits, maxTurns: 77 }, agent: 'opencode', model: 'anthropic/claude-x' };

/** A run that ended while GitHub was as `before` made it; what is kept of it. */
async function ended(here: Stage, before: (number: number) => void): Promise<{ request: RunRequest; untold: Untold }> {
  const issue = await here.shop.openIssue({ title: 'T', author: 'alice' });
  const request = requestOn(here, { number: issue.number });
  const publisher = publisherOf(here, request);
  await publisher.queued({ ahead: 0 });
  before(issue.number);
  const untold = untoldOf(here);
  const end = { result: resultOf(request, { state: 'no_change', files: [] }) };
  await publisher.finish(end).catch((thrown: unknown) => untold.keep({ request, end, settings }, thrown));
  return { request, untold };
}

/** As a worker has it after a start. */
function untoldOf(here: Stage, superseded = false): Untold {
  return createUntold({
    dataDir: here.dir,
    publisherFor: (request): GitHubPublisher => publisherOf(here, request),
    superseded: () => Promise.resolve(superseded),
    log: createLogger({ level: 'silent' }),
  });
}

const down = (here: Stage): void => {
  here.standIn.fault({ operationId: 'issues/update-comment', status: 503, times: 12 });
};
const comment = (here: Stage): string | undefined => here.shop.comments(1)[0]?.body;
const kept = (here: Stage): Promise<string[]> => readdir(join(here.dir, 'untold')).catch(() => []);

it('the end of a run that GitHub did not take is told by the next worker, as it was, once', async () => {
  await using here = await stage();
  const { request } = await ended(here, () => down(here));
  expect(comment(here)).toContain('in its queue');
  expect(await kept(here)).toEqual([`${request.runId}.json`]);
  const next = untoldOf(here);
  expect(await next.tell()).toBe(1);
  expect(comment(here)).toContain('Ended without a change');
  expect(comment(here)).toContain('| Model calls | 12 | 77 |');
  expect(await next.tell()).toBe(0);
  expect(await kept(here)).toEqual([]);
});

const PATCH = [
  'diff --git a/test/add.test.js b/test/add.test.js',
  '--- a/test/add.test.js',
  '+++ b/test/add.test.js',
  '@@ -4,2 +4,1 @@',
  ' const { add } = require("..");',
  '-test("adds", () => assert(add(1, 1) === 2));',
  '',
].join('\n');

/** What GitHub has of a run with a pull request in the end: its check runs, labels and comment. */
async function published(runId: RunId, late: boolean): Promise<unknown> {
  await using here = await stage();
  const issue = await here.shop.openIssue({ title: 'T', author: 'alice' });
  const request = requestOn(here, { number: issue.number, runId });
  const publisher = publisherOf(here, request);
  publisher.describe(settings);
  using harvest = harvestOf(here);
  const files: ChangedFile[] = [{ path: 'test/add.test.js', status: 'modified', additions: 0, deletions: 1 }];
  const usage = { cost: 120_000, turns: 3, inputTokens: 10, outputTokens: 5 };
  for (const step of ['agent', 'verify'] as const)
    publisher.progress({ runId, step, state: 'done', durationMs: 61_000, atMs: 61_000, usage, egress: [] });
  const spec = specOf(request, harvest, { pull: { labels: ['agent'], reviewers: [] } });
  const { signal } = new AbortController();
  const change = { ...harvest, files, patch: PATCH };
  const publication = { spec, harvest: change, result: resultOf(request), audit: memoryAudit(), signal };
  const end = { result: resultOf(request, { ...(await publisher.publish(publication)), files }) };
  here.shop.setSuspended(late);
  const untold = untoldOf(here);
  await publisher
    .finish(end)
    .catch((thrown: unknown) => untold.keep({ request, end, settings, seen: publisher.seen() }, thrown));
  expect(here.shop.checkRuns().map((one) => one.status)).toEqual([late ? 'in_progress' : 'completed']);
  here.shop.setSuspended(false);
  expect(await untoldOf(here).tell()).toBe(late ? 1 : 0);
  const checks = here.shop.checkRuns().map(({ title, summary, text, annotations, conclusion, actions }) => {
    return { title, summary, text, annotations, conclusion, actions };
  });
  const all = { checks, comments: here.shop.comments(issue.number).map(({ body }) => body) };
  return JSON.parse(
    JSON.stringify(all)
      .replaceAll(harvest.commit, 'COMMIT')
      .replaceAll(harvest.commit.slice(0, 7), 'COMMIT')
      .replaceAll(here.standIn.url, 'URL'),
  );
}

it('the check run of an end that is told later is the one it would have been in time', async () => {
  const runId = newRunId();
  const inTime = await published(runId, false);
  expect(inTime).toMatchObject({
    checks: [
      {
        summary: expect.stringMatching(/## Steps[^]*running the agent \| 1 min/) as unknown,
        text: expect.stringContaining('- Labels: `agent`') as unknown,
        annotations: [{ title: 'A test was removed' }],
      },
    ],
  });
  expect(await published(runId, true)).toEqual(inTime);
});

it('an end that was told is not kept', async () => {
  await using here = await stage();
  const { untold } = await ended(here, () => undefined);
  expect(comment(here)).toContain('Ended without a change');
  expect(await kept(here)).toEqual([]);
  expect(await untold.tell()).toBe(0);
});

it('a suspended installation is told when it is resumed, and not before', async () => {
  await using here = await stage();
  const { request, untold } = await ended(here, () => here.shop.setSuspended(true));
  expect(await untold.tell()).toBe(0);
  expect(await kept(here)).toEqual([`${request.runId}.json`]);
  here.shop.setSuspended(false);
  expect(await untold.tell()).toBe(1);
  expect(comment(here)).toContain('Ended without a change');
});

it('on an issue that is gone nothing is tried again', async () => {
  await using here = await stage();
  await ended(here, (number) => here.shop.deleteIssue(number));
  expect(await kept(here)).toEqual([]);
});

it('leaves comment and labels to a newer run of the thread', async () => {
  await using here = await stage();
  const { request } = await ended(here, () => down(here));
  await here.shop.addLabel(request.source.number, 'agent:working', 'alice');
  const before = comment(here);
  expect(await untoldOf(here, true).tell()).toBe(1);
  expect(comment(here)).toBe(before);
  expect(here.shop.thread(1).labels).toEqual(['agent:working']);
  expect(await kept(here)).toEqual([]);
});

it('gives up what is a week old, and what is no end', async () => {
  await using here = await stage();
  const { request, untold } = await ended(here, () => down(here));
  const file = join(here.dir, 'untold', `${request.runId}.json`);
  const old = new Date(Date.now() - 8 * 86_400_000);
  await utimes(file, old, old);
  await writeFile(join(here.dir, 'untold', `${newRunId()}.json`), '{"version":1');
  await writeFile(join(here.dir, 'untold', 'other.txt'), '');
  expect(await untold.tell()).toBe(0);
  expect(comment(here)).toContain('in its queue');
  expect(await kept(here)).toEqual(['other.txt']);
});

it('a publication waits for GitHub where it may, and does not where it may not', async () => {
  await using here = await stage();
  const publish = async (pausesMs: readonly number[]): Promise<number | undefined> => {
    const issue = await here.shop.openIssue({ title: 'T', author: 'alice' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    const log = createLogger({ level: 'silent' });
    const given = { repository: here.repository, request, push: pushTo(here), settings, hidden: [], log, pausesMs };
    // Longer than a call is repeated for.
    here.standIn.fault({ operationId: 'pulls/list', status: 503, times: 6 });
    const spec = specOf(request, harvest, { branch: `cofferdam/${issue.number}-x` });
    const { signal } = new AbortController();
    const publication = { spec, harvest, result: resultOf(request), audit: memoryAudit(), signal };
    return (await createPublisher(given).publish(publication)).pull?.number;
  };
  expect(await publish([1, 1])).toBe(2);
  await expect(publish([])).rejects.toMatchObject({ kind: 'unavailable' });
  expect(here.shop.pulls()).toHaveLength(1);
});
