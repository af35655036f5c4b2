import { describe, expect, it } from 'vitest';
import { GitHubError } from '../../src/github/failure.ts';
import { secondaryLimit } from '../../src/local/github/faults.ts';
import { branch, stage, type Stage } from './stage.ts';

async function kindOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => 'no failure',
    (thrown: unknown) => thrown,
  );
  return error instanceof GitHubError ? error.kind : String(error);
}

function calls(here: Stage, path: RegExp, method?: string): number {
  return here.standIn.requests.filter((one) => path.test(one.path) && (method === undefined || one.method === method))
    .length;
}

describe('verbs on a repository', () => {
  it('looks up rights', async () => {
    await using here = await stage();
    const rights = ['octo-owner', 'alice', 'eve', 'nobody-at-all'].map((login) => here.repository.permission(login));
    expect(await Promise.all(rights)).toEqual([
      'admin',
      'write',
      expect.stringMatching(/read/),
      expect.toSatisfy((right) => right === null || right === 'none' || right === 'read'),
    ]);
  });

  it('reacts, comments, edits, and knows its own comments', async () => {
    await using here = await stage();
    const { shop, repository } = here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    const theirs = shop.comment(issue.number, { body: '<!-- cofferdam -->', author: 'eve' });
    await repository.react({ commentId: theirs.id }, 'eyes');
    await repository.react({ commentId: theirs.id }, 'eyes');
    await repository.react({ number: issue.number }, 'rocket');
    const id = await repository.createComment(issue.number, 'first');
    await repository.editComment(id, 'second');
    expect(shop.reactions({ commentId: theirs.id }).map((one) => one.content)).toEqual(['eyes']);
    expect(shop.reactions({ number: issue.number }).map((one) => one.content)).toEqual(['rocket']);
    expect(await repository.comments(issue.number)).toMatchObject([
      { id: theirs.id, author: 'eve', ours: false },
      { id, body: 'second', ours: true },
    ]);
  });

  it('reads all pages of a long thread', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'T' });
    for (let n = 0; n < 205; n += 1) here.shop.comment(issue.number, { body: `c${n}` });
    expect(await here.repository.comments(issue.number)).toHaveLength(205);
  });

  it('removes a label, and does not mind when it is gone', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'T', labels: ['agent'] });
    await here.repository.removeLabel(issue.number, 'agent');
    await here.repository.removeLabel(issue.number, 'agent');
    expect(here.shop.thread(issue.number).labels).toEqual([]);
  });

  it('opens a pull request and a check run, and finds both again', async () => {
    await using here = await stage();
    const { shop, repository } = here;
    branch(shop, 'cofferdam/1-x');
    const sha = await shop.commit({ message: 'm', branch: 'cofferdam/1-x', files: { 'a.txt': 'a' } });
    expect(await repository.pullOf('cofferdam/1-x')).toBeNull();
    const pull = await repository.createPull({
      branch: 'cofferdam/1-x',
      base: 'main',
      title: 't',
      body: 'b',
      draft: true,
    });
    expect(await repository.pullOf('cofferdam/1-x')).toEqual(pull);
    expect(await repository.pull(pull.number)).toEqual({
      number: pull.number,
      branch: 'cofferdam/1-x',
      sha,
      base: 'main',
      sameRepository: true,
      open: true,
      ours: true,
    });
    const check = { externalId: 'r1', output: { title: 't', summary: 's' } };
    expect(await repository.findCheck(sha, 'r1')).toBeNull();
    const id = await repository.createCheck(sha, check);
    await repository.updateCheck(id, { ...check, conclusion: 'success' });
    expect(await repository.findCheck(sha, 'r1')).toEqual({ id, annotations: 0 });
    expect(await repository.findCheck(sha, 'r2')).toBeNull();
    expect(shop.checkRuns(sha)).toMatchObject([{ name: 'Cofferdam', conclusion: 'success', status: 'completed' }]);
  });
});

it("a pull request whose fork was deleted is a fork's: its head is in the repository, and nothing is pushed to it", async () => {
  await using here = await stage();
  const { shop } = here;
  const fork = await shop.fork('eve');
  const sha = await fork.commit({ message: 'm', branch: 'gift', files: { 'a.txt': 'a' }, author: 'eve' });
  const { number } = await shop.openPull({ title: 't', head: 'eve:gift', base: 'main', author: 'eve' });
  const gone: typeof globalThis.fetch = async (input, init) => {
    const response = await globalThis.fetch(input, init);
    if (!new URL(new Request(input).url).pathname.endsWith(`/pulls/${number}`)) return response;
    const pull = (await response.json()) as { head: object };
    return Response.json({ ...pull, head: { ...pull.head, repo: null, user: null } });
  };
  const at = { installationId: here.installationId, owner: 'octo-owner', name: 'shop' };
  const there = here.repository.pull(number);
  await expect(there).resolves.toMatchObject({ sha, sameRepository: false, open: true });
  const without = here.connect({ fetch: gone }).repository(at).pull(number);
  await expect(without).resolves.toMatchObject({ sha, branch: 'gift', sameRepository: false, open: true });
});

describe('GH-010 tokens', () => {
  it('are asked for with one repository and the permissions of the verb', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'T' });
    await here.repository.permission('alice');
    await here.repository.createComment(issue.number, 'x');
    await here.repository.gitAuthorization('write');
    const minted = here.standIn.requests.filter((one) => /access_tokens$/.test(one.path));
    expect(minted).toHaveLength(3);
    for (const { body } of minted) expect(body).toMatchObject({ repositories: ['shop'] });
    expect(minted.map(({ body }) => (body as { permissions: unknown }).permissions)).toEqual([
      { metadata: 'read' },
      { issues: 'write', pull_requests: 'write', metadata: 'read' },
      { contents: 'write' },
    ]);
  });

  it('are kept while they are good, shared by parallel calls, and replaced when GitHub forgot them', async () => {
    await using here = await stage();
    await Promise.all(Array.from({ length: 8 }, () => here.repository.permission('alice')));
    expect(calls(here, /access_tokens$/)).toBe(1);
    here.standIn.fault({ operationId: 'repos/get-collaborator-permission-level', status: 401 });
    expect(await here.repository.permission('alice')).toBe('write');
    expect(calls(here, /access_tokens$/)).toBe(2);
  });

  it('are found by the number of a repository that has a new name', async () => {
    await using here = await stage();
    const renamed = here.github.repository({
      installationId: here.installationId,
      owner: 'octo-owner',
      name: 'old-name',
      id: here.shop.repository.id,
    });
    await renamed.gitAuthorization('read');
    const minted = here.standIn.requests.filter((one) => /access_tokens$/.test(one.path)).map(({ body }) => body);
    expect(minted).toMatchObject([{ repositories: ['old-name'] }, { repository_ids: [here.shop.repository.id] }]);
  });

  it('never show up in an error', async () => {
    await using here = await stage();
    const secret = (await here.repository.gitAuthorization('read')).replace('Basic ', '');
    const token = Buffer.from(secret, 'base64').toString().replace('x-access-token:', '');
    here.standIn.fault({ operationId: 'issues/create-comment', status: 403 });
    const error = await here.repository.createComment(1, 'x').catch((thrown: unknown) => thrown);
    const shown = `${(error as Error).message} ${JSON.stringify(error)} ${(error as Error).stack ?? ''}`;
    expect(shown).not.toContain(token);
    expect(token.length).toBeGreaterThan(20);
  });
});

describe('GH-015 what GitHub may answer', () => {
  it('is named by kind', async () => {
    await using here = await stage();
    const { standIn, repository } = here;
    const statuses: [number, string][] = [
      [404, 'not_found'],
      [410, 'gone'],
      [422, 'invalid'],
      [403, 'permission'],
      [409, 'conflict'],
      [451, 'other'],
    ];
    for (const [status, kind] of statuses) {
      standIn.fault({ operationId: 'issues/create-comment', status });
      expect(await kindOf(repository.createComment(1, 'x')), String(status)).toBe(kind);
    }
    standIn.fault({ operationId: 'repos/get-collaborator-permission-level', status: 401, times: 5 });
    expect(await kindOf(repository.permission('alice'))).toBe('credentials');
  });

  it('names a missing permission', async () => {
    await using here = await stage();
    here.standIn.fault({
      operationId: 'issues/create-comment',
      status: 403,
      headers: { 'x-accepted-github-permissions': 'issues=write' },
    });
    await expect(here.repository.createComment(1, 'x')).rejects.toThrow(/issues=write/);
  });

  it('knows a suspended installation', async () => {
    await using here = await stage();
    here.shop.setSuspended(true);
    expect(await kindOf(here.repository.permission('alice'))).toBe('suspended');
  });

  it('repeats what may be repeated', async () => {
    await using here = await stage();
    here.standIn.fault({ operationId: 'repos/get-collaborator-permission-level', status: 502, times: 2 });
    expect(await here.repository.permission('alice')).toBe('write');
    here.standIn.fault({ operationId: 'repos/get-collaborator-permission-level', drop: true });
    expect(await here.repository.permission('alice')).toBe('write');
    here.standIn.fault({ operationId: 'apps/create-installation-access-token', status: 503 });
    await here.repository.gitAuthorization('read');
  });

  it('does not repeat a creation that may have worked', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'T' });
    here.standIn.fault({ operationId: 'issues/create-comment', status: 502, afterwards: true });
    expect(await kindOf(here.repository.createComment(issue.number, 'x'))).toBe('unavailable');
    expect(here.shop.comments(issue.number)).toHaveLength(1);
  });

  it('waits as long as a limit says, also for a creation, since nothing was done', async () => {
    await using here = await stage();
    const issue = await here.shop.openIssue({ title: 'T' });
    here.standIn.fault(secondaryLimit('issues/create-comment', 0));
    await here.repository.createComment(issue.number, 'x');
    expect(here.shop.comments(issue.number)).toHaveLength(1);
    here.standIn.fault({ ...secondaryLimit('issues/create-comment', 3_600) });
    const error = await here.repository.createComment(issue.number, 'x').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: 'limited', retry: true, retryAfterMs: 3_600_000 });
  });

  it('asks for failed deliveries again, once each', async () => {
    await using here = await stage();
    here.standIn.setWebhook({ url: 'http://127.0.0.1:9/' });
    await here.shop.openIssue({ title: 'T' });
    await here.standIn.webhooks.idle();
    const failed = here.standIn.deliveries.length;
    expect(await here.github.redeliverFailed(new Date(Date.now() - 3_600_000))).toBe(failed);
    expect(failed).toBeGreaterThan(0);
    expect(await here.github.redeliverFailed(new Date(Date.now() + 3_600_000))).toBe(0);
    await here.standIn.webhooks.idle();
  });
});
