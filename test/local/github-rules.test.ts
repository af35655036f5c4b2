import { generateKeyPairSync } from 'node:crypto';
import { createAppAuth } from '@octokit/auth-app';
import { Octokit } from '@octokit/rest';
import { expect, test } from 'vitest';
import { secondaryLimit } from '../../src/local/github/faults.ts';
import { refusal, stage, text } from './github-support.ts';

const REPO = { owner: 'octo-owner', repo: 'shop' };
const FILES = { 'README.md': '# Shop\n' };
const INACCESSIBLE = /Resource not accessible by integration/;

test('the App is known by its key only, and a token lives one hour', async () => {
  let now = Date.now();
  await using here = await stage({ clock: () => now });
  await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const baseUrl = `${here.standIn.url}/api/v3`;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const foreign = new Octokit({
    baseUrl,
    request: { retries: 0 },
    authStrategy: createAppAuth,
    auth: { appId: here.standIn.app.id, privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() },
  });
  expect(await refusal(foreign.rest.apps.getAuthenticated())).toMatchObject({ status: 401 });
  expect(await refusal(new Octokit({ baseUrl }).rest.repos.get(REPO))).toMatchObject({ status: 401 });
  const octokit = await here.octokit();
  await octokit.rest.repos.get(REPO);
  now += 3_600_001;
  expect(await refusal(octokit.rest.repos.get(REPO))).toMatchObject({ status: 401 });
  const lengths = new Set<number>();
  now = Date.now();
  for (let count = 0; count < 12; count += 1) lengths.add((await here.token()).length);
  expect(lengths.size).toBeGreaterThan(1);
  expect(here.standIn.violations).toEqual([]);
});

test('a token reaches the repositories and permissions that it was narrowed to, and no more', async () => {
  await using here = await stage();
  await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  await here.standIn.createRepository({ owner: REPO.owner, name: 'secret', files: FILES });
  await here.standIn.createRepository({ owner: REPO.owner, name: 'open', private: false, files: FILES });
  await here.standIn.createRepository({ owner: REPO.owner, name: 'foreign', files: FILES, installed: false });
  const narrow = await here.octokit({ repositories: ['shop'], permissions: { contents: 'read', issues: 'write' } });
  await narrow.rest.repos.getContent({ ...REPO, path: 'README.md' });
  await narrow.rest.issues.create({ ...REPO, title: 'allowed' });
  const secret = { owner: REPO.owner, repo: 'secret' };
  expect(await refusal(narrow.rest.repos.get(secret))).toMatchObject({ status: 404 });
  const open = { owner: REPO.owner, repo: 'open', title: 'no' };
  expect(await refusal(narrow.rest.issues.create(open))).toMatchObject({
    status: 403,
    message: text(INACCESSIBLE),
  });
  const pull = { ...REPO, title: 'no', head: 'a', base: 'main' };
  expect(await refusal(narrow.rest.pulls.create(pull))).toMatchObject({ status: 403 });
  const ref = { ...REPO, ref: 'refs/heads/a', sha: '0'.repeat(40) };
  expect(await refusal(narrow.rest.git.createRef(ref))).toMatchObject({ status: 403 });
  expect(await refusal(here.token({ permissions: { administration: 'write' } }))).toMatchObject({ status: 422 });
  expect(await refusal(here.token({ repositories: ['foreign'] }))).toMatchObject({ status: 422 });
  expect(here.standIn.violations).toEqual([]);
  const used = here.standIn.requests.find((one) => one.operationId === 'issues/create' && one.status === 201);
  expect(used?.permissions).toEqual({ contents: 'read', issues: 'write', metadata: 'read' });
});

test('comments on a pull request may be written with either permission, on an issue with one', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const issue = await shop.openIssue({ title: 'an issue' });
  await shop.commit({ branch: 'fix', from: '', message: 'x', files: { a: 'b' } });
  expect(await refusal(shop.openPull({ title: 'unrelated', head: 'fix', base: 'main' }))).toMatchObject({
    status: 422,
  });
  await shop.commit({ branch: 'side', message: 'x', files: { a: 'b' } });
  const pull = await shop.openPull({ title: 'a pull request', head: 'side', base: 'main' });
  const { rest } = await here.octokit({ permissions: { pull_requests: 'write' } });
  await rest.issues.createComment({ ...REPO, issue_number: pull.number, body: 'yes' });
  const onIssue = rest.issues.createComment({ ...REPO, issue_number: issue.number, body: 'no' });
  expect(await refusal(onIssue)).toMatchObject({ status: 403 });
});

test('a request that the description does not allow is a 422 and a violation', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const issue = await shop.openIssue({ title: 'an issue' });
  const { rest } = await here.octokit();
  const head_sha = (await shop.branches()).get('main') ?? '';
  const check = { ...REPO, name: 'Cofferdam', head_sha };
  const action = { label: 'a', description: 'b', identifier: 'c' };
  const wrong = [
    () => rest.reactions.createForIssue({ ...REPO, issue_number: issue.number, content: 'wave' as 'eyes' }),
    () => rest.checks.create({ ...check, actions: [action, action, action, action] }),
    () => rest.checks.create({ ...check, actions: [{ ...action, label: 'x'.repeat(21) }] }),
    () => rest.checks.create({ ...check, output: { title: 'long', summary: 'x'.repeat(65_536) } }),
    () => rest.issues.create({ ...REPO, title: undefined as unknown as string }),
  ];
  for (const call of wrong) expect(await refusal(call())).toMatchObject({ status: 422 });
  expect(here.standIn.violations.map((one) => [one.kind, one.where])).toEqual([
    ['request', 'reactions/create-for-issue'],
    ['request', 'checks/create'],
    ['request', 'checks/create'],
    ['request', 'checks/create'],
    ['request', 'issues/create'],
  ]);
});

test('what is not in the description is refused as on GitHub', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES, drafts: false });
  const { rest } = await here.octokit();
  const main = (await shop.branches()).get('main') ?? '';
  await rest.git.createRef({ ...REPO, ref: 'refs/heads/same', sha: main });
  await rest.git.createRef({ ...REPO, ref: 'refs/heads/fix', sha: main });
  await shop.commit({ branch: 'fix', message: 'x', files: { a: 'b' } });
  const pull = { ...REPO, title: 'Fix', head: 'fix', base: 'main' };
  const refused: [() => Promise<unknown>, RegExp][] = [
    [() => rest.pulls.create({ ...pull, head: 'missing' }), /head/],
    [() => rest.pulls.create({ ...pull, base: 'missing' }), /base/],
    [() => rest.pulls.create({ ...pull, head: 'same' }), /No commits between main and same/],
    [() => rest.pulls.create({ ...pull, draft: true }), /Draft pull requests are not supported/],
    [() => rest.checks.create({ ...REPO, name: 'c', head_sha: main, status: 'completed' }), /conclusion/],
    [() => rest.checks.create({ ...REPO, name: 'c', head_sha: 'f'.repeat(40) }), /No commit found for SHA/],
    [() => rest.git.createRef({ ...REPO, ref: 'refs/heads/fix', sha: main }), /Reference already exists/],
    [() => rest.git.updateRef({ ...REPO, ref: 'heads/fix', sha: main }), /not a fast forward/],
  ];
  for (const [call, message] of refused)
    expect(await refusal(call())).toMatchObject({ status: 422, message: text(message) });
  await rest.pulls.create(pull);
  expect(await refusal(rest.pulls.create(pull))).toMatchObject({
    status: 422,
    message: text('A pull request already exists for octo-owner:fix.'),
  });
  const issue = await shop.openIssue({ title: 'long' });
  const long = { ...REPO, issue_number: issue.number, body: 'ä'.repeat(65_536) };
  await rest.issues.createComment(long);
  expect(await refusal(rest.issues.createComment({ ...long, body: long.body + 'x' }))).toMatchObject({ status: 422 });
  expect(here.standIn.violations).toEqual([]);
});

test('only the App that made a check run may change it', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const sha = (await shop.branches()).get('main') ?? '';
  await shop.reportCi({ sha, branch: 'main', conclusion: 'success' });
  const { rest } = await here.octokit();
  const [run] = (await rest.checks.listForRef({ ...REPO, ref: sha })).data.check_runs;
  const change = rest.checks.update({ ...REPO, check_run_id: run?.id ?? 0, conclusion: 'failure' });
  expect(await refusal(change)).toMatchObject({ status: 403, message: text('Invalid app_id') });
});

test('long lists come in pages', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const { number } = await shop.openIssue({ title: 'busy' });
  for (let count = 1; count <= 35; count += 1) shop.comment(number, { body: `comment ${count}`, author: 'alice' });
  const octokit = await here.octokit();
  const first = await octokit.rest.issues.listComments({ ...REPO, issue_number: number });
  expect(first.data).toHaveLength(30);
  expect(first.headers.link).toMatch(/page=2>; rel="next"/);
  const all = await octokit.paginate(octokit.rest.issues.listComments, { ...REPO, issue_number: number, per_page: 10 });
  expect(all.map((one) => one.body)).toEqual(Array.from({ length: 35 }, (_none, index) => `comment ${index + 1}`));
  const { data: deliveries } = await here.appOctokit.rest.apps.listWebhookDeliveries({ per_page: 100 });
  const paged = await here.appOctokit.paginate(here.appOctokit.rest.apps.listWebhookDeliveries, { per_page: 10 });
  expect(paged.map((one) => one.id)).toEqual(deliveries.map((one) => one.id));
  expect(here.standIn.violations).toEqual([]);
});

test('what the stand-in does not know is a 501 and a violation, never a guess', async () => {
  await using here = await stage();
  await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const octokit = await here.octokit();
  expect(await refusal(octokit.rest.repos.delete(REPO))).toMatchObject({ status: 501 });
  expect(await refusal(octokit.graphql('{ viewer { login } }'))).toMatchObject({ status: 501 });
  expect(here.standIn.violations.map((one) => one.kind)).toEqual(['unknown-operation', 'graphql']);
});

test('roles decide what people may do', async () => {
  await using here = await stage();
  const collaborators = { alice: 'write', mia: 'maintain', tom: 'triage', bob: 'read' } as const;
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES, collaborators });
  here.standIn.createUser('eve');
  const { rest } = await here.octokit();
  const levels: Record<string, string> = {};
  for (const username of ['octo-owner', 'mia', 'alice', 'tom', 'bob', 'eve'])
    levels[username] = (await rest.repos.getCollaboratorPermissionLevel({ ...REPO, username })).data.permission;
  expect(levels).toEqual({
    'octo-owner': 'admin',
    mia: 'write',
    alice: 'write',
    tom: 'read',
    bob: 'read',
    eve: 'none',
  });
  expect(await refusal(rest.repos.getCollaboratorPermissionLevel({ ...REPO, username: 'nobody' }))).toMatchObject({
    status: 404,
  });
  shop.setRole('alice', 'read');
  const after = await rest.repos.getCollaboratorPermissionLevel({ ...REPO, username: 'alice' });
  expect(after.data.permission).toBe('read');
  const sha = (await shop.branches()).get('main') ?? '';
  const run = await rest.checks.create({
    ...REPO,
    name: 'Cofferdam',
    head_sha: sha,
    conclusion: 'neutral',
    actions: [{ label: 'Retry', description: 'again', identifier: 'retry' }],
  });
  expect(() => shop.clickAction(run.data.id, 'retry', 'bob')).toThrow(/push access/);
  expect(() => shop.clickAction(run.data.id, 'other', 'mia')).toThrow(/offers no action/);
});

test('faults can be put into single operations', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const { number } = await shop.openIssue({ title: 'an issue' });
  const { rest } = await here.octokit();
  const comment = { ...REPO, issue_number: number, body: 'hello' };
  here.standIn.fault(secondaryLimit('issues/create-comment', 60));
  expect(await refusal(rest.issues.createComment(comment))).toMatchObject({
    status: 403,
    message: text('secondary rate limit'),
  });
  expect(shop.comments(number)).toHaveLength(0);
  here.standIn.fault({ operationId: 'issues/create-comment', status: 502, afterwards: true });
  expect(await refusal(rest.issues.createComment(comment))).toMatchObject({ status: 502 });
  expect(shop.comments(number)).toHaveLength(1);
  here.standIn.fault({ operationId: 'issues/create-comment', drop: true });
  expect((await refusal(rest.issues.createComment(comment))).status).not.toBe(201);
  await rest.issues.createComment(comment);
  expect(shop.comments(number)).toHaveLength(2);
});

test('no token is in the log of requests', async () => {
  await using here = await stage();
  await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: FILES });
  const token = await here.token();
  await fetch(`${here.standIn.url}/api/v3/repos/octo-owner/shop`, { headers: { authorization: `Bearer ${token}` } });
  expect(here.standIn.requests.at(-1)).toMatchObject({ operationId: 'repos/get', status: 200, caller: 'installation' });
  expect(JSON.stringify(here.standIn.requests)).not.toContain(token);
});

test('a host name of somebody else is refused', async () => {
  await using here = await stage();
  const { port } = new URL(here.standIn.url);
  const { request } = await import('node:http');
  const status = await new Promise((resolve) => {
    request({ host: '127.0.0.1', port, path: '/', headers: { host: `rebound.example:${port}` } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).end();
  });
  expect(status).toBe(421);
});
