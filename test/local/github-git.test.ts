import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Octokit } from '@octokit/rest';
import { expect, test } from 'vitest';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import { run, stage, text } from './github-support.ts';

const OWNER = 'octo-owner';
const FILES = { 'README.md': '# Shop\n' };

function remote(shop: RepositoryHandle, token: string): string {
  return shop.cloneUrl.replace('http://', `http://x-access-token:${token}@`);
}

/** Exit and stderr of a git that may not ask anybody for a password. */
async function git(...args: string[]): Promise<{ ok: boolean; stdout: string; stderr: string }> {
  const env = { ...process.env, GIT_TERMINAL_PROMPT: '0', GIT_CONFIG_GLOBAL: '/dev/null' };
  try {
    return {
      ok: true,
      ...(await run('git', ['-c', 'user.name=x', '-c', 'user.email=x@example.com', ...args], { env })),
    };
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    return { ok: false, stdout, stderr };
  }
}

async function commit(clone: string, file: string, content: string): Promise<string> {
  await mkdir(dirname(join(clone, file)), { recursive: true });
  await writeFile(join(clone, file), content);
  await git('-C', clone, 'add', '--all');
  await git('-C', clone, 'commit', '--quiet', '-m', `change ${file}`);
  return (await git('-C', clone, 'rev-parse', 'HEAD')).stdout.trim();
}

test('a private repository asks for a credential, a public one only for pushes', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: OWNER, name: 'shop', files: FILES });
  const open = await here.standIn.createRepository({ owner: OWNER, name: 'open', private: false, files: FILES });
  const clone = join(here.dir, 'open');
  expect(await git('ls-remote', shop.cloneUrl)).toMatchObject({ ok: false });
  expect((await fetch(`${shop.cloneUrl}/info/refs?service=git-upload-pack`)).headers.get('www-authenticate')).toMatch(
    /^Basic/,
  );
  expect(await git('clone', '--quiet', open.cloneUrl, clone)).toMatchObject({ ok: true });
  await commit(clone, 'a.txt', 'a');
  expect(await git('-C', clone, 'push', 'origin', 'main')).toMatchObject({ ok: false });
  expect(await git('ls-remote', remote(shop, 'ghs_wrong'))).toMatchObject({ ok: false });
});

test('a push needs contents: write on that repository', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: OWNER, name: 'shop', files: FILES });
  await here.standIn.createRepository({ owner: OWNER, name: 'other', files: FILES });
  const reader = await here.token({ permissions: { contents: 'read' } });
  const clone = join(here.dir, 'clone');
  expect(await git('clone', '--quiet', remote(shop, reader), clone)).toMatchObject({ ok: true });
  await commit(clone, 'a.txt', 'a');
  const refused = await git('-C', clone, 'push', 'origin', 'main:refs/heads/try');
  expect(refused).toMatchObject({ ok: false, stderr: text('403') });
  const elsewhere = await here.token({ repositories: ['other'] });
  expect(await git('-C', clone, 'push', remote(shop, elsewhere), 'main:refs/heads/try')).toMatchObject({ ok: false });
  expect([...(await shop.branches()).keys()]).toEqual(['main']);
});

test('workflow files need their own permission, whichever commit of the push has them', async () => {
  await using here = await stage({
    app: { permissions: { contents: 'write', metadata: 'read', workflows: 'write' } },
  });
  const shop = await here.standIn.createRepository({ owner: OWNER, name: 'shop', files: FILES });
  const plain = await here.token({ permissions: { contents: 'write' } });
  const clone = join(here.dir, 'clone');
  await git('clone', '--quiet', remote(shop, plain), clone);
  await commit(clone, '.github/workflows/ci.yml', 'on: push\n');
  await commit(clone, 'a.txt', 'a');
  const refused = await git('-C', clone, 'push', 'origin', 'main:refs/heads/ci');
  expect(refused).toMatchObject({ ok: false, stderr: text('without `workflows` permission') });
  expect((await shop.branches()).has('ci')).toBe(false);
  const full = await here.token({ permissions: { contents: 'write', workflows: 'write' } });
  expect(await git('-C', clone, 'push', remote(shop, full), 'main:refs/heads/ci')).toMatchObject({ ok: true });
  await git('-C', clone, 'fetch', '--quiet', 'origin');
  await commit(clone, 'b.txt', 'b');
  expect(await git('-C', clone, 'push', 'origin', 'main:refs/heads/ci')).toMatchObject({ ok: true });
});

test('a push moves the pull request, and its head can be fetched by number', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({
    owner: OWNER,
    name: 'shop',
    files: FILES,
    collaborators: { alice: 'write' },
  });
  const token = here.standIn.userToken('alice');
  const clone = join(here.dir, 'clone');
  await git('clone', '--quiet', remote(shop, token), clone);
  await git('-C', clone, 'switch', '--quiet', '-c', 'fix');
  const first = await commit(clone, 'a.txt', 'a\n');
  await git('-C', clone, 'push', '--quiet', 'origin', 'fix');
  const pull = await shop.openPull({ title: 'Fix', head: 'fix', base: 'main', author: 'alice' });
  const second = await commit(clone, 'a.txt', 'b\n');
  await git('-C', clone, 'push', '--quiet', 'origin', 'fix');
  await here.standIn.webhooks.idle();
  expect(shop.thread(pull.number).pull?.headSha).toBe(second);
  const synchronize = here.events('pull_request').find((one) => one.payload['action'] === 'synchronize');
  expect(synchronize?.payload).toMatchObject({ before: first, after: second, sender: { login: 'alice' } });
  const fetched = await git('-C', clone, 'fetch', '--quiet', 'origin', `refs/pull/${pull.number}/head`);
  expect(fetched.ok).toBe(true);
  expect((await readFile(join(clone, '.git', 'FETCH_HEAD'), 'utf8')).slice(0, 40)).toBe(second);
  const forged = await git('-C', clone, 'push', 'origin', `${first}:refs/pull/${pull.number}/head`);
  expect(forged.ok).toBe(false);
  await git('-C', clone, 'reset', '--quiet', '--hard', first);
  await git('-C', clone, 'push', '--quiet', '--force', 'origin', 'fix');
  expect(here.standIn.state.pushes.map((one) => one.forced)).toEqual([false, false, true]);
  const [created] = here.events('push');
  expect((created?.payload['commits'] as { id: string }[]).map((one) => one.id)).toEqual([first]);
  await git('-C', clone, 'push', '--quiet', 'origin', ':fix');
  expect(shop.thread(pull.number).state).toBe('closed');
  expect(here.standIn.violations).toEqual([]);
});

test('large pushes arrive whole', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: OWNER, name: 'shop', files: FILES });
  const clone = join(here.dir, 'clone');
  await git('clone', '--quiet', remote(shop, await here.token()), clone);
  const noise = Array.from({ length: 300_000 }, (_none, index) => Math.sin(index).toString(36)).join('\n');
  await commit(clone, 'noise.txt', noise);
  expect(await git('-C', clone, 'push', '--quiet', 'origin', 'main')).toMatchObject({ ok: true });
  expect((await shop.file('noise.txt'))?.toString()).toBe(noise);
});

test('an empty repository can be cloned and has no default branch yet', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: OWNER, name: 'shop' });
  const clone = join(here.dir, 'clone');
  expect(await git('clone', '--quiet', remote(shop, await here.token()), clone)).toMatchObject({ ok: true });
  expect(await shop.branches()).toEqual(new Map());
});

test('a pull request from a fork shows its commits, and its checks do not name it', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: OWNER, name: 'shop', private: false, files: FILES });
  const fork = await shop.fork('eve');
  const base = (await shop.branches()).get('main') ?? '';
  const { rest } = new Octokit({ baseUrl: `${here.standIn.url}/api/v3`, auth: here.standIn.userToken('eve') });
  await rest.git.createRef({ owner: 'eve', repo: 'shop', ref: 'refs/heads/gift', sha: base });
  const first = await fork.commit({ branch: 'gift', message: 'gift', files: { a: 'b' }, author: 'eve' });
  const pull = await shop.openPull({ title: 'A gift', head: 'eve:gift', base: 'main', author: 'eve' });
  const second = await fork.commit({ branch: 'gift', message: 'more', files: { a: 'c' }, author: 'eve' });
  expect(first).not.toBe(second);
  const bot = await here.octokit();
  const at = { owner: OWNER, repo: 'shop' };
  const { data } = await bot.rest.pulls.get({ ...at, pull_number: pull.number });
  expect([data.head.label, data.head.sha, data.commits, data.head.repo.fork]).toEqual(['eve:gift', second, 2, true]);
  const check = await bot.rest.checks.create({ ...at, name: 'c', head_sha: second });
  expect(check.data.pull_requests).toEqual([]);
  const asEve = rest.git.createRef({ ...at, ref: 'refs/heads/gift', sha: base });
  await expect(asEve).rejects.toMatchObject({ status: 403 });
  expect(here.standIn.violations).toEqual([]);
});

test('a push can fail before it is done and after it', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: OWNER, name: 'shop', files: FILES });
  const clone = join(here.dir, 'clone');
  await git('clone', '--quiet', remote(shop, await here.token()), clone);
  const sha = await commit(clone, 'a.txt', 'a');
  here.standIn.fault({ operationId: 'git/push', status: 502 });
  expect(await git('-C', clone, 'push', 'origin', 'main:refs/heads/fix')).toMatchObject({ ok: false });
  expect((await shop.branches()).has('fix')).toBe(false);
  here.standIn.fault({ operationId: 'git/push', drop: true, afterwards: true });
  expect(await git('-C', clone, 'push', 'origin', 'main:refs/heads/fix')).toMatchObject({ ok: false });
  expect((await shop.branches()).get('fix')).toBe(sha);
  expect(await git('-C', clone, 'push', 'origin', 'main:refs/heads/fix')).toMatchObject({ ok: true });
});
