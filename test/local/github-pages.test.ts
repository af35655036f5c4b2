import { expect, test } from 'vitest';
import { markdownFor } from '../../src/local/github/pages/markdown.ts';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import { stage, type Stage } from './github-support.ts';

const EVIL = `"><img src=x onerror=alert(1)><script>alert(2)</script>'`;
const REPO = { owner: 'octo-owner', repo: 'shop' };

async function hostile(here: Stage): Promise<{ shop: RepositoryHandle; paths: string[] }> {
  const collaborators = { alice: 'write', bob: 'read' } as const;
  const shop = await here.standIn.createRepository({
    owner: REPO.owner,
    name: REPO.repo,
    description: EVIL,
    collaborators,
    files: { 'README.md': EVIL, 'a<b>&"c.txt': EVIL },
    message: EVIL,
  });
  const issue = await shop.openIssue({ title: EVIL, body: EVIL, author: 'alice', labels: [EVIL.slice(0, 50)] });
  shop.comment(issue.number, { body: EVIL, author: 'bob' });
  const { rest } = await here.octokit();
  const sha = (await shop.branches()).get('main') ?? '';
  await rest.git.createRef({ ...REPO, ref: 'refs/heads/x"><s>', sha });
  await shop.commit({ branch: 'x"><s>', message: EVIL, files: { 'a<b>&"c.txt': '<script>\n', new: EVIL } });
  const pull = await shop.openPull({ title: EVIL, body: EVIL, head: 'x"><s>', base: 'main' });
  await shop.review(pull.number, {
    state: 'CHANGES_REQUESTED',
    body: EVIL,
    author: 'alice',
    comments: [{ path: 'new', line: 1, body: EVIL }],
  });
  const { data: run } = await rest.checks.create({
    ...REPO,
    name: EVIL,
    head_sha: pull.pull.headSha,
    details_url: `javascript:alert(1)`,
    conclusion: 'neutral',
    output: {
      title: EVIL,
      summary: EVIL,
      text: EVIL,
      annotations: [{ path: EVIL, start_line: 1, end_line: 1, annotation_level: 'notice', message: EVIL, title: EVIL }],
    },
    actions: [{ label: '"><s>', description: '"><s>', identifier: '"><s>' }],
  });
  const base = '/octo-owner/shop';
  const ends = ['', '/issues', '/issues/1', '/pulls', '/pull/2', '/pull/2/files', '/pull/2/commits', '/commits'];
  const more = [
    `/runs/${run.id}`,
    `/commit/${pull.pull.headSha}`,
    '/blob/main/a%3Cb%3E%26%22c.txt',
    '/tree/x%22%3E%3Cs%3E',
  ];
  const own = ['/', '/octo-owner', '/apps/cofferdam', '/_/deliveries', '/_/requests', '/_/violations'];
  const wrong = [`/${encodeURIComponent(EVIL)}`, '/octo-owner/missing', `${base}/issues/99`, `${base}/blob/main/%00`];
  return { shop, paths: [...own, ...wrong, ...[...ends, ...more].map((end) => base + end)] };
}

function get(here: Stage, path: string): Promise<Response> {
  return fetch(here.standIn.url + path, { headers: { accept: 'text/html' } });
}

function post(
  here: Stage,
  path: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(here.standIn.url + path, {
    method: 'POST',
    redirect: 'manual',
    headers: { origin: here.standIn.url, ...headers },
    body: new URLSearchParams(fields),
  });
}

const as = (login: string): Record<string, string> => ({ cookie: `stand-in-user=${login}` });

test('nothing that a stranger wrote becomes markup on any page', async () => {
  await using here = await stage();
  const { paths } = await hostile(here);
  for (const path of paths) {
    const response = await get(here, path);
    const page = await response.text();
    expect([path, response.status < 500]).toEqual([path, true]);
    expect(response.headers.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'self'/);
    for (const bad of ['<script', '<img src=x', '<s>', 'href="javascript:', "href='javascript:"])
      expect([path, bad, page.includes(bad)]).toEqual([path, bad, false]);
    // Every tag's attributes were written here: none is an event handler.
    const handlers = (page.match(/<[a-z][^>]*>/g) ?? []).filter((tag) =>
      /\son\w+=/.test(tag.replace(/"[^"]*"/g, '""')),
    );
    expect([path, handlers]).toEqual([path, []]);
  }
  expect(here.standIn.violations).toEqual([]);
});

test('addresses and cookies that are none do no harm', async () => {
  await using here = await stage();
  await hostile(here);
  for (const path of [
    '/%',
    '/%ff/%ff',
    '//evil.example/x',
    '/api/v3/%',
    '/api/v3/repos/%ff/x',
    '/octo-owner/shop/tree/%2e%2e',
  ]) {
    const response = await fetch(here.standIn.url + path, {
      headers: { cookie: 'stand-in-user=%', accept: 'text/html' },
    });
    expect([path, response.status < 500 || response.status === 501]).toEqual([path, true]);
  }
  expect(here.standIn.violations.filter((one) => one.kind !== 'unknown-operation')).toEqual([]);
});

test('raw files are text, whatever they hold', async () => {
  await using here = await stage();
  await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, files: { 'x.html': EVIL } });
  const raw = await get(here, '/octo-owner/shop/raw/main/x.html');
  expect([raw.headers.get('content-type'), raw.headers.get('x-content-type-options')]).toEqual([
    'text/plain; charset=utf-8',
    'nosniff',
  ]);
  expect(await raw.text()).toBe(EVIL);
});

test('the forms act as the chosen person, with that role, and cause the webhooks', async () => {
  await using here = await stage();
  const { shop } = await hostile(here);
  const issue = '/octo-owner/shop/issues';
  const opened = await post(here, issue, { title: 'From the page', body: 'text' }, as('bob'));
  expect([opened.status, opened.headers.get('location')]).toEqual([303, '/octo-owner/shop/issues/3']);
  expect(shop.thread(3)).toMatchObject({ title: 'From the page', author: 'bob' });
  expect((await post(here, `${issue}/3/label`, { add: 'agent' }, as('bob'))).status).toBe(403);
  expect((await post(here, `${issue}/3/label`, { add: 'agent' }, as('alice'))).status).toBe(303);
  expect(shop.thread(3).labels).toEqual(['agent']);
  await post(here, `${issue}/3/comment`, { do: 'comment', body: '/agent go' }, as('alice'));
  expect(shop.comments(3)).toMatchObject([{ author: 'alice', body: '/agent go' }]);
  await post(
    here,
    '/octo-owner/shop/_react',
    { kind: 'issue', id: String(shop.thread(3).id), content: 'heart' },
    as('bob'),
  );
  expect(shop.reactions({ number: 3 })).toMatchObject([{ user: 'bob', content: 'heart' }]);
  const [run] = shop.checkRuns();
  expect((await post(here, `/octo-owner/shop/runs/${run?.id ?? 0}`, { action: '"><s>' }, as('bob'))).status).toBe(403);
  expect((await post(here, `/octo-owner/shop/runs/${run?.id ?? 0}`, { action: '"><s>' }, as('alice'))).status).toBe(
    303,
  );
  await post(here, `${issue}/3/comment`, { do: 'close', body: '' }, as('bob'));
  expect(shop.thread(3).state).toBe('closed');
  await here.standIn.webhooks.idle();
  const actions = here.receiver.received.map((one) => `${one.event}.${String(one.payload['action'])}`);
  expect(actions).toEqual(
    expect.arrayContaining(['issues.labeled', 'issue_comment.created', 'check_run.requested_action', 'issues.closed']),
  );
  expect(here.standIn.violations).toEqual([]);
});

test('a pull request is made ready and merged on its page', async () => {
  await using here = await stage();
  const { shop } = await hostile(here);
  const path = '/octo-owner/shop/pull/2';
  await post(here, `${path}/merge`, { do: 'draft' }, as('alice'));
  expect(shop.thread(2).pull?.draft).toBe(true);
  expect((await post(here, `${path}/merge`, { do: 'merge' }, as('alice'))).status).toBe(405);
  await post(here, `${path}/merge`, { do: 'ready' }, as('alice'));
  expect((await post(here, `${path}/merge`, { do: 'merge' }, as('bob'))).status).toBe(403);
  await post(here, `${path}/merge`, { do: 'merge' }, as('alice'));
  expect(shop.thread(2)).toMatchObject({ state: 'closed', pull: { mergedBy: 'alice' } });
  expect((await shop.file('new'))?.toString()).toBe(EVIL);
});

test('a form of another site does nothing', async () => {
  await using here = await stage();
  const { shop } = await hostile(here);
  const before = shop.comments(1).length;
  const path = '/octo-owner/shop/issues/1/comment';
  const fields = { do: 'comment', body: '/agent run' };
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: 'null', 'sec-fetch-site': 'cross-site' },
    { origin: 'nonsense' },
    { origin: here.standIn.url.replace('127.0.0.1', 'localhost') },
    { 'sec-fetch-site': 'same-site' },
  ])
    expect((await post(here, path, fields, { ...as('alice'), ...headers })).status).toBe(403);
  expect(shop.comments(1)).toHaveLength(before);
});

test('changing the person leads back to a page of this server only', async () => {
  await using here = await stage();
  await hostile(here);
  const to = async (back: string): Promise<string | null> =>
    (await post(here, '/_/as', { login: 'bob', back })).headers.get('location');
  expect([
    await to('/octo-owner/shop'),
    await to('//evil.example'),
    await to('https://evil.example'),
    await to('/\\evil.example'),
  ]).toEqual(['/octo-owner/shop', '/', '/', '/']);
});

test('the manifest flow shows what is asked for and hands out a code', async () => {
  await using here = await stage();
  const manifest = {
    name: 'Cofferdam',
    redirect_url: 'http://127.0.0.1:1/back',
    default_permissions: { contents: 'write' },
  };
  const elsewhere = { origin: 'http://127.0.0.1:1' };
  const asked = await post(here, '/settings/apps/new?state=abc', { manifest: JSON.stringify(manifest) }, elsewhere);
  expect(await asked.text()).toContain('contents');
  expect(asked.headers.get('content-security-policy')).toContain("form-action 'self' http://127.0.0.1:1");
  const made = await post(here, '/_/manifest', { redirect: manifest.redirect_url, state: 'abc' });
  const back = new URL(made.headers.get('location') ?? '');
  expect([back.host, back.searchParams.get('state')]).toEqual(['127.0.0.1:1', 'abc']);
  const url = `${here.standIn.url}/api/v3/app-manifests/${back.searchParams.get('code') ?? ''}/conversions`;
  expect((await fetch(url, { method: 'POST' })).status).toBe(201);
  expect((await fetch(url, { method: 'POST' })).status).toBe(404);
  expect((await post(here, '/settings/apps/new', { manifest: 'no JSON' })).status).toBe(422);
});

test.each([
  ['HTML is text', '<b onclick=x>hi</b>', '&lt;b onclick=x&gt;hi&lt;/b&gt;'],
  ['comments vanish', 'a<!-- marker -->b', '<p>ab</p>'],
  ['details are kept', '<details><summary>s</summary>\n\ntext\n\n</details>', '<details><summary>'],
  ['details with attributes are text', '<details open onclick=x>', '&lt;details'],
  ['script links are text', '[x](javascript:alert(1))', '[x](javascript:alert(1))'],
  ['pictures are not loaded', '![alt](https://evil.example/a.png)', '<span class="picture">'],
  ['numbers become links', 'Closes #12.', '<a href="/o/r/issues/12"'],
  ['but not inside code', '`#12`', '<code>#12</code>'],
  ['tables', '| a |\n|---|\n| b |', '<td>b</td>'],
])('Markdown: %s', (_name, source, expected) => {
  const page = markdownFor('/o/r')(source).text;
  expect(page).toContain(expected);
  expect(page).not.toMatch(/<(?:img|script|b)\b|href="javascript/);
});
