/** What becomes of installation, thread and branches while a run goes on: each has an outcome that says what happened and what to do. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { CommitSha } from '../../src/domain/ids.ts';
import { toRunError } from '../../src/domain/errors.ts';
import type { RunRequest, RunResult } from '../../src/domain/run.ts';
import type { Published } from '../../src/run/ports.ts';
import { digest, harvestOf, memoryAudit, publisherOf, requestOn, resultOf, specOf } from './run.ts';
import { branch, stage, type Stage } from './stage.ts';

const { signal } = new AbortController();
const seal = { count: 42, head: digest };

/** Publishes, with what happens just before, and ends the run as it does; the failure is what its end says. */
async function meanwhile(here: Stage, request: RunRequest, happens: () => unknown): Promise<Ended> {
  const base = request.pull?.branch ?? 'main';
  using harvest = harvestOf(here, { from: base });
  const spec = specOf(request, harvest, { baseRef: base, ...(request.pull === undefined ? {} : { branch: base }) });
  const publisher = publisherOf(here, request);
  await publisher.queued({ ahead: 0 });
  await happens();
  const publishing = publisher.publish({ spec, harvest, result: resultOf(request), audit: memoryAudit(), signal });
  const result = await publishing.then(
    (published: Published) => resultOf(request, published),
    (thrown: unknown) => resultOf(request, { state: 'failed', error: toRunError(thrown, 'run.execute') }),
  );
  const untold = await publisher.finish({ result, seal }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { result, untold, commit: harvest.commit, branch: spec.branch };
}

interface Ended {
  result: RunResult;
  /** Why the end could not be told. */
  untold: unknown;
  commit: CommitSha;
  branch: string;
}

async function onIssue(here: Stage): Promise<RunRequest> {
  const issue = await here.shop.openIssue({ title: 'add() subtracts', author: 'alice' });
  return requestOn(here, { number: issue.number });
}

async function onPull(here: Stage): Promise<RunRequest> {
  branch(here.shop, 'cofferdam/1-x');
  await here.shop.commit({ message: 'm', branch: 'cofferdam/1-x', files: { 'a.txt': 'a' } });
  const thread = await here.shop.openPull({ title: 't', head: 'cofferdam/1-x', base: 'main', author: 'alice' });
  const sha = CommitSha.parse(thread.pull.headSha);
  const pull = { number: thread.number, branch: 'cofferdam/1-x', sha, base: 'main', sameRepository: true };
  return requestOn(here, { number: thread.number, pull });
}

function removeBranch(here: Stage, name: string): void {
  execFileSync('git', ['--git-dir', here.shop.gitDir, 'update-ref', '-d', `refs/heads/${name}`]);
}

const said = (here: Stage, request: RunRequest): string => here.shop.comments(request.source.number)[0]?.body ?? '';

describe('while a run on an issue goes on', () => {
  it('nothing happens: the result is there, and everybody is told', async () => {
    await using here = await stage();
    const request = await onIssue(here);
    const { result, untold } = await meanwhile(here, request, () => undefined);
    expect(result).toMatchObject({ state: 'succeeded', pull: { number: 2 } });
    expect(untold).toBeUndefined();
    expect(said(here, request)).toContain('Done, verified');
  });

  it('the installation is suspended: nothing is pushed, the run says so, and once it is resumed people are told', async () => {
    await using here = await stage();
    const request = await onIssue(here);
    const { result, untold } = await meanwhile(here, request, () => here.shop.setSuspended(true));
    expect(result.error?.message).toContain("The App's installation is suspended; an owner can resume it");
    expect(untold).toMatchObject({ kind: 'suspended' });
    expect((await here.shop.branches()).size).toBe(1);
    here.shop.setSuspended(false);
    await publisherOf(here, request).finish({ result, seal });
    expect(here.shop.comments(request.source.number)).toHaveLength(1);
    expect(said(here, request)).toContain('is suspended; an owner can resume it');
    expect(said(here, request)).toContain('The change is not lost:');
  });

  it.each([
    ['deleted', 'gone', (here: Stage, number: number) => here.shop.deleteIssue(number)],
    ['transferred', 'not_found', (here: Stage, number: number) => here.shop.transferIssue(number)],
  ])('the issue is %s: pull request and check run hold the result', async (_name, kind, happens) => {
    await using here = await stage();
    const request = await onIssue(here);
    const { result, untold, commit } = await meanwhile(here, request, () => happens(here, request.source.number));
    expect(result).toMatchObject({ state: 'succeeded', pull: { number: 2 } });
    expect(here.shop.pulls()[0]?.body).toContain('`alice`');
    expect(here.shop.checkRuns(commit)).toMatchObject([{ status: 'completed', conclusion: 'success' }]);
    // The record of the run has it: on GitHub there is no thread to tell it in.
    expect(untold).toMatchObject({ kind });
  });

  it('the branch that it is for is deleted: the result is pushed, and people are told where it is', async () => {
    await using here = await stage();
    branch(here.shop, 'next');
    const request = await onIssue(here);
    using harvest = harvestOf(here, { from: 'next' });
    const spec = specOf(request, harvest, { baseRef: 'next' });
    const publisher = publisherOf(here, request);
    removeBranch(here, 'next');
    const publishing = publisher.publish({ spec, harvest, result: resultOf(request), audit: memoryAudit(), signal });
    await expect(publishing).rejects.toMatchObject({
      kind: 'base_gone',
      message: `base gone (the branch next was deleted while the run went on; the result is pushed, as the branch ${spec.branch}). Open a pull request from it into another branch, or restore the one that is gone.`,
    });
    expect((await here.shop.branches()).get(spec.branch)).toBe(harvest.commit);
    expect(here.shop.pulls()).toEqual([]);
  });

  it('a pull request that GitHub refuses for another reason is not blamed on the branch', async () => {
    await using here = await stage();
    const request = await onIssue(here);
    const { result } = await meanwhile(here, request, () =>
      here.standIn.fault({ operationId: 'pulls/create', status: 422, times: 2 }),
    );
    expect(result.error?.message).toContain('GitHub refused the content');
  });
});

describe('while a follow-up goes on', () => {
  it('nothing happens: its commit is on the branch', async () => {
    await using here = await stage();
    const request = await onPull(here);
    const { result, commit } = await meanwhile(here, request, () => undefined);
    expect(result.state).toBe('succeeded');
    expect((await here.shop.branches()).get('cofferdam/1-x')).toBe(commit);
  });

  it.each([
    ['closed', (here: Stage, number: number) => here.shop.update(number, { state: 'closed', author: 'alice' })],
    ['merged', (here: Stage, number: number) => here.shop.merge(number, 'alice')],
  ])('the pull request is %s: nothing is pushed to where nobody looks, and people are told', async (_name, happens) => {
    await using here = await stage();
    const request = await onPull(here);
    const { result, untold } = await meanwhile(here, request, () => happens(here, request.source.number));
    expect(result.error?.message).toContain('was closed or merged while the run went on; nothing was pushed');
    expect((await here.shop.branches()).get('cofferdam/1-x')).toBe(request.pull?.sha);
    expect(untold).toBeUndefined();
    expect(said(here, request)).toContain('Reopen it, or ask anew on its issue.');
    expect(said(here, request)).toContain('The change is not lost:');
    expect(here.shop.checkRuns(request.pull?.sha)).toMatchObject([{ status: 'completed', conclusion: 'failure' }]);
  });

  it('its branch is deleted: it is not made again, and people are told', async () => {
    await using here = await stage();
    const request = await onPull(here);
    const { result, untold } = await meanwhile(here, request, () => removeBranch(here, 'cofferdam/1-x'));
    expect(result.error?.message).toContain('the branch has moved since the run began, or is gone');
    expect((await here.shop.branches()).has('cofferdam/1-x')).toBe(false);
    expect(untold).toBeUndefined();
    expect(said(here, request)).toContain('The change is not lost:');
  });
});
