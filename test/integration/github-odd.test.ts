/** What becomes of a repository, a thread, or an installation while somebody waits: each has a clear outcome. */
import { describe, expect, it } from 'vitest';
import { install, oneCommit, type Execute, type Installation } from '../github/installation.ts';

/** What a GitHub Enterprise Server of some years does not say: limits, permissions that an operation needs, by which App it was written. */
const enterprise: typeof globalThis.fetch = async (input, init) => {
  const response = await globalThis.fetch(input, init);
  const { pathname } = new URL(new Request(input).url);
  expect(pathname).toMatch(/^\/api\/v3\//);
  if (pathname === '/api/v3/app')
    return new Response('{"message":"Not Found"}', { status: 404, headers: response.headers });
  const headers = new Headers(response.headers);
  for (const name of [...headers.keys()]) if (/^x-(ratelimit|accepted)/.test(name)) headers.delete(name);
  const text = await response.text();
  const known = (key: string, value: unknown): unknown => (key === 'performed_via_github_app' ? undefined : value);
  const body = response.status === 200 && text !== '' ? JSON.stringify(JSON.parse(text, known)) : text;
  headers.delete('content-length');
  return new Response(response.status === 204 ? null : body, { status: response.status, headers });
};

/** An installation with an issue; what happens before the run publishes is the test's. */
async function odd(
  before?: (one: Installation, number: number) => void,
): Promise<Installation & { number: number; label: () => Promise<void> }> {
  const state: { one?: Installation; number: number } = { number: 0 };
  const execute: Execute = async (request, publisher, signal) => {
    if (state.one === undefined) throw new Error('not there yet');
    before?.(state.one, state.number);
    return oneCommit(state.one.here)(request, publisher, signal);
  };
  const one = await install({ execute });
  const { shop } = one.here;
  const issue = await shop.openIssue({ title: 'add() subtracts', author: 'alice' });
  Object.assign(state, { one, number: issue.number });
  return Object.assign(one, {
    number: issue.number,
    label: async () => {
      await shop.addLabel(issue.number, 'agent', 'alice');
      await one.settle();
    },
  });
}

const refusal = (one: Installation): string | undefined => {
  const found = one.audited.find(({ decision }) => !decision.allow && decision.reason === 'github_refused');
  return found === undefined ? undefined : String(found.data['why']);
};

describe('before a run begins', () => {
  it('in an archived repository nothing begins, and the record says why', async () => {
    await using one = await odd();
    one.here.shop.setArchived(true);
    await one.label();
    expect(one.begun).toEqual([]);
    expect(refusal(one)).toContain('The repository is archived and takes nothing; an owner can unarchive it.');
  });

  it('with a suspended installation nothing begins, and the record says why', async () => {
    await using one = await odd();
    // GitHub sends nothing for a suspended one: this is on its way when somebody suspends it.
    one.here.standIn.webhooks.hold();
    await one.here.shop.addLabel(one.number, 'agent', 'alice');
    one.here.shop.setSuspended(true);
    one.here.standIn.webhooks.release();
    await one.settle();
    expect(one.begun).toEqual([]);
    expect(refusal(one)).toContain("The App's installation is suspended; an owner can resume it in its settings.");
  });

  it.each(['deleteIssue', 'transferIssue'] as const)(
    'after %s nothing begins, and the record says why',
    async (gone) => {
      await using one = await odd();
      one.here.standIn.webhooks.hold();
      await one.here.shop.addLabel(one.number, 'agent', 'alice');
      one.here.shop[gone](one.number);
      one.here.standIn.webhooks.release();
      await one.settle();
      expect(one.begun).toEqual([]);
      expect(refusal(one)).toContain('It was deleted');
    },
  );

  it('a permission that is missing is named in the record', async () => {
    await using one = await odd();
    one.here.standIn.fault({
      operationId: 'reactions/create-for-issue',
      status: 403,
      times: 9,
      message: 'Resource not accessible by integration',
      headers: { 'x-accepted-github-permissions': 'issues=write' },
    });
    await one.label();
    expect(one.begun).toEqual([]);
    expect(refusal(one)).toContain('missing permission: issues=write');
  });

  it('as usual, everything begins, and nothing is refused', async () => {
    await using one = await odd();
    await one.label();
    expect(one.begun).toHaveLength(1);
    expect(one.here.shop.pulls()).toHaveLength(1);
    expect(refusal(one)).toBeUndefined();
  });
});

it('a GitHub Enterprise Server that says less gets one comment, one pull request, one check run', async () => {
  await using one = await install({
    fetch: enterprise,
    execute: (request, publisher, signal) => oneCommit(one.here)(request, publisher, signal),
  });
  const { shop } = one.here;
  const issue = await shop.openIssue({ title: 'T', author: 'alice' });
  await shop.addLabel(issue.number, 'agent', 'alice');
  await one.settle();
  expect(shop.comments(issue.number)).toHaveLength(1);
  expect(shop.comments(issue.number)[0]?.body).toContain('Done, verified');
  expect(shop.pulls()).toHaveLength(1);
  expect(shop.checkRuns()).toMatchObject([{ status: 'completed', conclusion: 'success' }]);
  // What it wrote is its own: nothing begins by it, and the next request goes on in the same comment.
  shop.comment(issue.number, { body: '/agent again', author: 'alice' });
  await one.settle();
  expect(one.begun).toHaveLength(2);
  expect(shop.comments(issue.number).filter(({ author }) => author.endsWith('[bot]'))).toHaveLength(1);
});

describe('a locked conversation', () => {
  it('takes no comment and no reaction; pull request and check run are made all the same', async () => {
    await using one = await odd();
    const { shop } = one.here;
    shop.setLocked(one.number, true);
    await one.label();
    expect(shop.comments(one.number)).toEqual([]);
    expect(shop.pulls()).toHaveLength(1);
    expect(shop.checkRuns()).toMatchObject([{ status: 'completed', conclusion: 'success' }]);
    expect(shop.thread(one.number).labels).toEqual([]);
    expect(refusal(one)).toBeUndefined();
  });

  it('that is locked while the run goes on keeps its comment as it was', async () => {
    await using one = await odd((at, number) => at.here.shop.setLocked(number, true));
    const { shop } = one.here;
    await one.label();
    expect(shop.comments(one.number)).toHaveLength(1);
    expect(shop.comments(one.number)[0]?.body).not.toContain('Done');
    expect(shop.checkRuns()).toMatchObject([{ status: 'completed', conclusion: 'success' }]);
  });
});

describe('while a run goes on', () => {
  it('a repository that gets another name gets its result', async () => {
    await using one = await odd((at) => at.here.shop.move({ name: 'store' }));
    const { shop } = one.here;
    await one.label();
    expect((await shop.branches()).size).toBe(2);
    expect(shop.pulls()).toHaveLength(1);
    expect(shop.checkRuns()).toMatchObject([{ status: 'completed', conclusion: 'success' }]);
    expect(shop.comments(one.number)[0]?.body).toContain('Done, verified');
  });

  it.each([
    ['archived', (at: Installation) => at.here.shop.setArchived(true), 'The repository is archived'],
    ['of an installation that was suspended', (at: Installation) => at.here.shop.setSuspended(true), 'is suspended'],
    ['moved to an account without the App', (at: Installation) => at.here.shop.move({ owner: 'new-owner' }), 'moved'],
  ])('a repository that is %s gets nothing, and the run says why', async (_name, happens, why) => {
    const failures: unknown[] = [];
    const state: { one?: Installation } = {};
    await using one = await install({
      execute: async (request, publisher, signal) => {
        if (state.one === undefined) throw new Error('not there yet');
        happens(state.one);
        return oneCommit(state.one.here)(request, publisher, signal).catch((thrown: unknown) => {
          failures.push(thrown);
          return { state: 'failed' };
        });
      },
    });
    state.one = one;
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    await shop.addLabel(issue.number, 'agent', 'alice');
    await one.settle();
    expect((await shop.branches()).size).toBe(1);
    expect(shop.pulls()).toEqual([]);
    expect(failures).toEqual([expect.objectContaining({ message: expect.stringContaining(why) as string })]);
  });
});
