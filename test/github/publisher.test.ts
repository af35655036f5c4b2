import { describe, expect, it } from 'vitest';
import { branchFor } from '../../src/command/branch.ts';
import { CommitSha } from '../../src/domain/ids.ts';
import type { ChangedFile } from '../../src/domain/run.ts';
import { createPublisher, type GitHubPublisher, type PublisherOptions } from '../../src/github/publisher.ts';
import { pauseAfter } from '../../src/github/status.ts';
import type { RunProgress } from '../../src/run/ports.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { active, render } from '../policy/rendered.ts';
import { digest, harvestOf, memoryAudit, pushTo, requestOn, resultOf, settings, specOf } from './run.ts';
import { branch, stage, type Stage } from './stage.ts';

const { signal } = new AbortController();
const seal = { count: 42, head: digest };
const ourLinks = [
  /<\/?a(?: href="http:\/\/(?:127\.0\.0\.1:\d+|runs\.test)\/[^"]*")?>/g,
  /<\/?(?:details|summary)>/g,
  /<!-- cofferdam:[a-z]+(?: \w+)? -->/g,
];

function publisherOf(
  here: Stage,
  patch: Partial<PublisherOptions> & Pick<PublisherOptions, 'request'>,
): GitHubPublisher {
  return createPublisher({
    repository: here.repository,
    push: pushTo(here),
    settings,
    hidden: [],
    runUrl: `http://runs.test/runs/${patch.request.runId}`,
    intervalMs: 0,
    log: createLogger({ level: 'silent' }),
    ...patch,
  });
}

function progress(step: RunProgress['step'], patch: Partial<RunProgress> = {}): RunProgress {
  const usage = { cost: 120_000, turns: 3, inputTokens: 10, outputTokens: 5 };
  return { runId: 'r' as RunProgress['runId'], step, state: 'started', atMs: 61_000, usage, egress: [], ...patch };
}

describe('a run on an issue', () => {
  it('becomes one comment, one branch, one draft pull request, one check run, one reaction', async () => {
    await using here = await stage();
    const { shop } = here;
    const issue = await shop.openIssue({ title: 'add() subtracts', author: 'alice' });
    const request = requestOn(here, { number: issue.number });
    const publisher = publisherOf(here, { request });
    await publisher.queued({ ahead: 2 });
    expect(shop.comments(issue.number).map((one) => one.body)).toEqual([
      expect.stringContaining('2 runs begin before it. It may take at most $5.00, 30 min and 100 model calls'),
    ]);
    publisher.progress(progress('mirror'));
    publisher.progress(progress('mirror', { state: 'done', durationMs: 900 }));
    publisher.progress(progress('agent'));
    await here.standIn.waitFor(() => shop.comments(issue.number)[0]?.body.includes('working: running the agent'));
    using harvest = harvestOf(here);
    const audit = memoryAudit();
    const published = await publisher.publish({
      spec: specOf(request, harvest),
      harvest,
      result: resultOf(request),
      audit,
      signal,
    });
    expect(published).toMatchObject({
      branch: 'cofferdam/1-add-subtracts-x1',
      head: harvest.commit,
      pull: { number: 2 },
    });
    await publisher.finish({
      result: resultOf(request, { ...published, auditHead: digest }),
      seal,
      receipt: { ok: true, checks: [{ name: 'banner', ok: true, observed: 'gVisor' }] },
    });

    const [pull] = shop.pulls();
    expect(pull).toMatchObject({ title: 'fix: add() subtracts', pull: { draft: true, headSha: harvest.commit } });
    const body = pull?.body ?? '';
    for (const part of [
      'Fixes #1',
      '## What and why',
      '## Verification',
      '`npm test`',
      '## Limits used',
      '$0.31',
      '## Network',
      'evil.test:443',
      '## Not done',
    ]) {
      expect(body).toContain(part);
    }
    expect(body.match(/host: "evil\.test"/g)).toHaveLength(1);
    expect(shop.comments(issue.number)).toHaveLength(1);
    const comment = shop.comments(issue.number)[0]?.body ?? '';
    expect(comment).toContain('🚀 Done, verified');
    expect(comment).toContain(digest);
    expect(shop.checkRuns()).toMatchObject([
      {
        name: 'Cofferdam',
        headSha: harvest.commit,
        status: 'completed',
        conclusion: 'success',
        externalId: request.runId,
      },
    ]);
    const summary = shop.checkRuns()[0]?.summary ?? '';
    for (const part of [
      digest,
      '42 events',
      'cofferdam verify x.jsonl',
      'Self-test: 1 of 1 checks',
      'fetching the repository',
    ])
      expect(summary).toContain(part);
    const details = shop.checkRuns()[0]?.text ?? '';
    for (const part of ['`banner`', 'host: "evil.test"', 'I made `add` add.']) expect(details).toContain(part);
    expect(summary).not.toContain('I made');
    expect(shop.reactions({ number: issue.number }).map((one) => one.content)).toEqual(['rocket']);
    expect(audit.entries.map((entry) => entry.type)).toEqual([
      'publish.authority',
      'git.push',
      'git.push_end',
      'publish.pull',
      'publish.pull_end',
      'publish.check_run',
      'publish.check_run_end',
    ]);
    for (const text of [body.replace('Fixes #1', ''), comment, summary, details])
      expect(active(render(text), ourLinks)).toEqual([]);
  });

  it('shows by a label that it works, and that it failed, and takes the label off when it works again', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts', labels: ['agent'] });
    const labels = (): string[] => here.shop.thread(issue.number).labels;
    const request = requestOn(here, { number: issue.number });
    for (const state of ['failed', 'cancelled'] as const) {
      const publisher = publisherOf(here, { request });
      publisher.progress(progress('mirror'));
      await here.standIn.waitFor(() => labels().includes('agent:working'));
      expect(labels()).toEqual(['agent', 'agent:working']);
      await publisher.finish({ result: resultOf(request, { state, files: [] }) });
      expect(labels()).toEqual(state === 'failed' ? ['agent', 'agent:failed'] : ['agent']);
    }
    here.standIn.fault({ operationId: 'issues/list-labels-on-issue', status: 403, times: 9 });
    await publisherOf(here, { request }).finish({ result: resultOf(request, { state: 'no_change', files: [] }) });
    expect(here.shop.comments(issue.number)[0]?.body).toContain('without a change');
  });

  it('GH-015 done again after a crash at any point, is the same', async () => {
    await using here = await stage();
    const { shop } = here;
    const issue = await shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    for (let life = 0; life < 3; life += 1) {
      const repository = here
        .connect()
        .repository({ installationId: here.installationId, owner: 'octo-owner', name: 'shop' });
      const publisher = publisherOf(here, { request, repository });
      await publisher.queued({ ahead: 0 });
      const published = await publisher.publish({
        spec: specOf(request, harvest),
        harvest,
        result: resultOf(request),
        audit: memoryAudit(),
        signal,
      });
      await publisher.finish({ result: resultOf(request, published), seal });
      await publisher.finish({ result: resultOf(request, published), seal });
    }
    expect(shop.comments(issue.number)).toHaveLength(1);
    expect(shop.pulls()).toHaveLength(1);
    expect(shop.checkRuns()).toHaveLength(1);
    expect(shop.reactions({ number: issue.number })).toHaveLength(1);
    expect((await shop.branches()).size).toBe(2);
  });

  it.each([
    'issues/create-comment',
    'pulls/create',
    'checks/create',
    'checks/update',
    'issues/update-comment',
  ] as const)('GH-015 a lost success of %s makes nothing twice', async (operationId) => {
    await using here = await stage();
    const { shop } = here;
    const issue = await shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    here.standIn.fault({ operationId, status: 502, afterwards: true });
    const publisher = publisherOf(here, { request });
    await publisher.queued({ ahead: 0 });
    const publish = {
      spec: specOf(request, harvest),
      harvest,
      result: resultOf(request),
      audit: memoryAudit(),
      signal,
    };
    const published = await publisher.publish(publish);
    await publisher.finish({ result: resultOf(request, published), seal });
    expect(shop.comments(issue.number)).toHaveLength(1);
    expect(shop.comments(issue.number)[0]?.body).toContain('Done, verified');
    expect(shop.pulls()).toHaveLength(1);
    expect(shop.checkRuns()).toMatchObject([{ conclusion: 'success' }]);
  });

  describe('with something to look at', () => {
    const patch = [
      'diff --git a/CODEOWNERS b/CODEOWNERS',
      '--- a/CODEOWNERS',
      '+++ b/CODEOWNERS',
      '@@ -1,2 +1,3 @@',
      ' * @alice',
      '+/src @bob',
      ' /docs @carol',
      'diff --git a/test/add.test.js b/test/add.test.js',
      '--- a/test/add.test.js',
      '+++ b/test/add.test.js',
      '@@ -4,2 +4,1 @@',
      ' const { add } = require("..");',
      '-test("adds", () => assert(add(1, 1) === 2));',
      '',
    ].join('\n');
    const files: ChangedFile[] = [
      { path: 'CODEOWNERS', status: 'modified', additions: 1, deletions: 0, protectedClass: 'ownership' },
      { path: 'test/add.test.js', status: 'modified', additions: 0, deletions: 1 },
    ];

    it.each(['nothing', 'checks/update', 'checks/create'] as const)(
      'stands beside its lines once, and in the summary: lost success of %s',
      async (lost) => {
        await using here = await stage();
        const { shop } = here;
        const issue = await shop.openIssue({ title: 'add() subtracts' });
        const request = requestOn(here, { number: issue.number });
        using harvest = harvestOf(here);
        const publisher = publisherOf(here, { request });
        await publisher.queued({ ahead: 0 });
        if (lost === 'checks/create') here.standIn.fault({ operationId: lost, status: 502, afterwards: true });
        const published = await publisher.publish({
          spec: specOf(request, harvest),
          harvest: { ...harvest, patch, files },
          result: resultOf(request),
          audit: memoryAudit(),
          signal,
        });
        // The first writes of the end are answered with a failure after they were done.
        if (lost === 'checks/update')
          here.standIn.fault({ operationId: lost, status: 502, afterwards: true, times: 3 });
        const end = { result: resultOf(request, { ...published, files }), seal };
        await publisher.finish(end);
        await publisher.finish(end);
        const [run, ...others] = shop.checkRuns();
        expect(others).toEqual([]);
        expect(run?.annotations.map(({ path, start_line, title }) => [path, start_line, title])).toEqual([
          ['CODEOWNERS', 2, 'Protected file: code owners'],
          ['test/add.test.js', 4, 'A test was removed'],
        ]);
        expect(run?.summary).toContain('## Look at first');
        expect(run?.summary).toContain('- A test was removed: `test/add.test.js`, line 4');
      },
    );
  });

  it('takes a plain pull request where drafts are not to be had', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    here.standIn.fault({ operationId: 'pulls/create', status: 422 });
    const published = await publisherOf(here, { request }).publish({
      spec: specOf(request, harvest),
      harvest,
      result: resultOf(request),
      audit: memoryAudit(),
      signal,
    });
    expect(published.pull?.number).toBe(2);
    expect(here.shop.pulls()).toMatchObject([{ pull: { draft: false } }]);
  });

  it('INJ-012 pushes nothing when the right to ask is gone meanwhile', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    here.shop.setRole('alice', 'read');
    const push = pushTo(here);
    const audit = memoryAudit();
    const publishing = publisherOf(here, { request, push }).publish({
      spec: specOf(request, harvest),
      harvest,
      result: resultOf(request),
      audit,
      signal,
    });
    await expect(publishing).rejects.toMatchObject({ code: 'no_authority' });
    expect(push.count).toBe(0);
    expect(audit.entries).toMatchObject([
      { type: 'publish.authority', decision: { allow: false, reason: 'no_write_access' } },
    ]);
    expect((await here.shop.branches()).size).toBe(1);
  });

  it('pushes nothing for who is no asker any more, and for an asker it does', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    const push = pushTo(here);
    const publish = (askers: string[]): Promise<unknown> => {
      const spec = specOf(request, harvest);
      const publisher = publisherOf(here, { request, push, askers });
      return publisher.publish({ spec, harvest, result: resultOf(request), audit: memoryAudit(), signal });
    };
    await expect(publish(['bob'])).rejects.toMatchObject({
      code: 'no_authority',
      message: "alice is not among the policy's askers any more",
    });
    expect(push.count).toBe(0);
    await publish(['Alice']);
    expect(push.count).toBe(1);
  });

  it('pushes for a member of a team of askers as long as it is one, and names the permission that is missing', async () => {
    await using here = await stage({ members: 'read' });
    await using blind = await stage();
    for (const one of [here, blind]) one.standIn.setTeam('octo-owner', 'core', { alice: 'active' });
    const publish = async (on: Stage, push: ReturnType<typeof pushTo>): Promise<unknown> => {
      const issue = await on.shop.openIssue({ title: 'add() subtracts' });
      const request = requestOn(on, { number: issue.number });
      using harvest = harvestOf(on);
      const publisher = publisherOf(on, { request, push, askers: ['octo-owner/core'] });
      const spec = specOf(request, harvest);
      return await publisher.publish({ spec, harvest, result: resultOf(request), audit: memoryAudit(), signal });
    };
    const [push, none] = [pushTo(here), pushTo(blind)];
    await publish(here, push);
    expect(push.count).toBe(1);
    here.standIn.setTeam('octo-owner', 'core', {});
    const gone = { code: 'no_authority', message: "alice is not among the policy's askers any more" };
    await expect(publish(here, push)).rejects.toMatchObject(gone);
    const unread = { code: 'no_authority', message: expect.stringContaining('permission members: read') as string };
    await expect(publish(blind, none)).rejects.toMatchObject(unread);
    expect([push.count, none.count]).toEqual([1, 0]);
  });

  it('says why when nothing came of it, without a check run', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const trigger = here.shop.comment(issue.number, { body: '/agent', author: 'alice' });
    const request = requestOn(here, { number: issue.number, commentId: trigger.id });
    const publisher = publisherOf(here, { request });
    const error = { code: 'clone' as const, op: 'run.clone', message: 'the repository is empty' };
    await publisher.finish({ result: resultOf(request, { state: 'failed', error, files: [], verification: [] }) });
    const comment = here.shop.comments(issue.number).at(-1)?.body;
    expect(comment).toContain('the repository is empty');
    expect(comment).toContain('has a default branch with a commit');
    expect(here.shop.checkRuns()).toEqual([]);
    expect(here.shop.reactions({ commentId: trigger.id }).map((one) => one.content)).toEqual(['confused']);
  });

  it('tells people in the comment when the check run is refused', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    here.standIn.fault({
      operationId: 'checks/create',
      status: 403,
      times: 9,
      headers: { 'x-accepted-github-permissions': 'checks=write' },
    });
    const publisher = publisherOf(here, { request });
    const published = await publisher.publish({
      spec: specOf(request, harvest),
      harvest,
      result: resultOf(request),
      audit: memoryAudit(),
      signal,
    });
    await expect(publisher.finish({ result: resultOf(request, published), seal })).rejects.toMatchObject({
      kind: 'permission',
    });
    expect(here.shop.comments(issue.number)[0]?.body).toContain('checks=write');
    expect(here.shop.reactions({ number: issue.number })).toHaveLength(1);
  });

  it('survives that somebody deletes the status comment', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    const publisher = publisherOf(here, { request });
    await publisher.queued({ ahead: 0 });
    here.shop.deleteComment(here.shop.comments(issue.number)[0]?.id ?? 0, 'alice');
    await publisher.finish({ result: resultOf(request, { state: 'no_change', files: [] }) });
    expect(here.shop.comments(issue.number)).toMatchObject([
      { body: expect.stringContaining('without a change') as string },
    ]);
  });

  it('agrees on one comment when two workers make it at once', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    await Promise.all([1, 2, 3].map(() => publisherOf(here, { request }).queued({ ahead: 0 })));
    expect(here.shop.comments(issue.number)).toHaveLength(1);
  });

  it('edits less and less often: four runs of an hour stay below what GitHub grants', () => {
    let at = 0;
    let edits = 0;
    while (at < 3_600_000) {
      edits += 1;
      at += pauseAfter(edits, 15_000);
    }
    expect(pauseAfter(1, 15_000)).toBe(15_000);
    expect(pauseAfter(1_000, 15_000)).toBe(120_000);
    expect(4 * edits).toBeLessThan(400);
  });

  it('coalesces progress, and progress never fails a run', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    here.standIn.fault({ operationId: 'issues/create-comment', status: 500 });
    const publisher = publisherOf(here, { request, intervalMs: 60_000 });
    for (let n = 0; n < 200; n += 1) publisher.progress(progress('agent', { atMs: n }));
    await publisher.finish({ result: resultOf(request, { state: 'no_change' }) });
    const writes = here.standIn.requests.filter((one) => one.method !== 'GET' && /comments/.test(one.path));
    expect(writes.length).toBeLessThanOrEqual(3);
    expect(here.shop.comments(issue.number)).toHaveLength(1);
  });

  it('GH-018 sends no secret', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'add() subtracts' });
    const request = requestOn(here, { number: issue.number });
    using harvest = harvestOf(here);
    const redact = (text: string): string => text.replaceAll('hunter2', '[redacted]');
    const found = `glpat-${'aB3dE5fG7h'.repeat(2)}`;
    const publisher = publisherOf(here, { request, redact });
    const result = resultOf(request, {
      agentSummary: `the key is hunter2, and I found ${found}`,
      verification: [{ command: 'x', exitCode: 1, durationMs: 1, tail: 'hunter2' }],
    });
    const published = await publisher.publish({
      spec: specOf(request, harvest, { title: 'fix: hunter2' }),
      harvest,
      result,
      audit: memoryAudit(),
      signal,
    });
    await publisher.finish({ result: { ...result, ...published }, seal });
    const sent = JSON.stringify(here.standIn.requests.map(({ body }) => body));
    expect(sent).toContain('[redacted]');
    expect(sent).not.toContain('hunter2');
    expect(sent).not.toContain(found);
  });
});

describe('a follow-up on a pull request', () => {
  async function followUp(here: Stage) {
    branch(here.shop, 'cofferdam/1-x');
    await here.shop.commit({ message: 'm', branch: 'cofferdam/1-x', files: { 'a.txt': 'a' } });
    const thread = await here.shop.openPull({ title: 't', head: 'cofferdam/1-x', base: 'main', author: 'alice' });
    const sha = CommitSha.parse(thread.pull.headSha);
    const pull = { number: thread.number, branch: 'cofferdam/1-x', sha, base: 'main', sameRepository: true };
    return { thread, sha, request: requestOn(here, { number: thread.number, pull }) };
  }

  it('shows on its head from the start, adds a commit, and leaves one check run per commit', async () => {
    await using here = await stage();
    const { thread, sha, request } = await followUp(here);
    const publisher = publisherOf(here, { request });
    publisher.progress(progress('mirror'));
    await here.standIn.waitFor(() => here.shop.checkRuns(sha).length === 1);
    expect(here.shop.checkRuns(sha)).toMatchObject([{ status: 'in_progress', actions: [{ identifier: 'stop' }] }]);
    using harvest = harvestOf(here, { from: 'cofferdam/1-x' });
    const spec = specOf(request, harvest, { branch: 'cofferdam/1-x', baseRef: 'cofferdam/1-x' });
    const published = await publisher.publish({
      spec,
      harvest,
      result: resultOf(request),
      audit: memoryAudit(),
      signal,
    });
    expect(published.pull?.number).toBe(thread.number);
    await publisher.finish({ result: resultOf(request, published), seal });
    expect(here.shop.pulls()).toHaveLength(1);
    expect(here.shop.checkRuns(harvest.commit)).toMatchObject([{ conclusion: 'success' }]);
    expect(here.shop.checkRuns(sha)).toMatchObject([{ conclusion: 'neutral', status: 'completed' }]);
    expect(here.shop.comments(thread.number)).toHaveLength(1);
  });

  it('ends on its head when nothing is pushed', async () => {
    await using here = await stage();
    const { sha, request } = await followUp(here);
    const publisher = publisherOf(here, { request });
    await publisher.finish({ result: resultOf(request, { state: 'timed_out', reason: 'timeout', files: [] }), seal });
    expect(here.shop.checkRuns(sha)).toMatchObject([{ conclusion: 'timed_out', annotations: [] }]);
  });

  it('overwrites nothing when somebody pushed meanwhile', async () => {
    await using here = await stage();
    const { request } = await followUp(here);
    using harvest = harvestOf(here, { from: 'cofferdam/1-x' });
    const theirs = await here.shop.commit({ message: 'theirs', branch: 'cofferdam/1-x', files: { 'b.txt': 'b' } });
    const spec = specOf(request, harvest, { branch: 'cofferdam/1-x', baseRef: 'cofferdam/1-x' });
    const publishing = publisherOf(here, { request }).publish({
      spec,
      harvest,
      result: resultOf(request),
      audit: memoryAudit(),
      signal,
    });
    await expect(publishing).rejects.toMatchObject({ code: 'github', kind: 'conflict' });
    expect((await here.shop.branches()).get('cofferdam/1-x')).toBe(theirs);
    expect(here.shop.pulls()[0]?.pull.headSha).toBe(theirs);
  });

  it("leaves a person's branch alone: the result is a branch of its own, with a pull request to that one", async () => {
    await using here = await stage();
    branch(here.shop, 'feature');
    await here.shop.commit({ message: 'm', branch: 'feature', files: { 'a.txt': 'a' }, author: 'alice' });
    const thread = await here.shop.openPull({ title: 't', head: 'feature', base: 'main', author: 'alice' });
    const pull = {
      number: thread.number,
      branch: 'feature',
      sha: CommitSha.parse(thread.pull.headSha),
      base: 'main',
      sameRepository: true,
    };
    const request = requestOn(here, { number: thread.number, pull });
    using harvest = harvestOf(here, { from: 'feature' });
    const spec = specOf(request, harvest, { branch: branchFor(request), baseRef: 'feature' });
    const publisher = publisherOf(here, { request });
    const published = await publisher.publish({
      spec,
      harvest,
      result: resultOf(request),
      audit: memoryAudit(),
      signal,
    });
    await publisher.finish({ result: resultOf(request, published), seal });
    expect(
      here.shop
        .pulls()
        .map(({ number, pull: { headRef, baseRef, headSha } }) => ({ number, headRef, baseRef, headSha })),
    ).toEqual([
      { number: thread.number, headRef: 'feature', baseRef: 'main', headSha: thread.pull.headSha },
      { number: published.pull?.number, headRef: spec.branch, baseRef: 'feature', headSha: harvest.commit },
    ]);
    expect(here.shop.pulls()[1]?.body).not.toMatch(/Fixes|For #/);
  });
});
