import { chownSync, existsSync, readdirSync, writeFileSync, mkdirSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommitSha } from '../../src/domain/ids.ts';
import { createRepositories, mirrorPath } from '../../src/git/mirror.ts';
import {
  bare,
  commitAll,
  project,
  run,
  serveGit,
  workbench,
  write,
  type GitServer,
  type Workbench,
} from './fixture.ts';

const TOKEN = 'ghs_SecretSecretSecretSecretSecretSecret';
const BASIC = `Basic ${Buffer.from(`x-access-token:${TOKEN}`).toString('base64')}`;
const signal = new AbortController().signal;

let bench: Workbench;
let server: GitServer | undefined;

beforeEach(() => {
  bench = workbench();
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  bench.remove();
});

async function setUp(files: Record<string, string> = { 'a.txt': 'one\n' }) {
  const work = bench.path('work');
  const head = project(work, files);
  const origin = bare(work, bench.path('srv/Acme/Demo.git'));
  server = await serveGit(bench.path('srv'), (request, response) => {
    if (request.headers.authorization === BASIC) return false;
    response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
    return true;
  });
  const { url } = server;
  const repositories = createRepositories({
    dataDir: bench.path('data'),
    remoteUrl: (repository) => `${url}/${repository}.git`,
    credential: () => BASIC,
    allowHttp: true,
  });
  return { work, head, origin, url, repositories };
}

function push(work: string, origin: string): void {
  run(['push', '-q', '--force', origin, 'HEAD'], { cwd: work });
}

describe('mirror over HTTP', () => {
  test('clones, then follows the remote; the default branch and a named branch', async () => {
    const { work, head, origin, repositories } = await setUp();
    const first = await repositories.mirror({ repository: 'Acme/Demo', signal });
    expect(first).toMatchObject({ base: head, baseRef: 'main', defaultBranch: 'main' });

    write(work, { 'b.txt': 'two\n' });
    const second = commitAll(work, 'second');
    push(work, origin);
    run(['checkout', '-q', '-b', 'feature/x'], { cwd: work });
    const third = commitAll(work, 'third');
    push(work, origin);
    expect((await repositories.mirror({ repository: 'Acme/Demo', signal })).base).toBe(second);
    const branch = await repositories.mirror({ repository: 'Acme/Demo', ref: 'feature/x', signal });
    expect(branch).toMatchObject({ base: third, baseRef: 'feature/x', defaultBranch: 'main', path: first.path });
  });

  test('a pull request head is fetched when it is asked for', async () => {
    const { work, origin, repositories } = await setUp();
    run(['checkout', '-q', '-b', 'p'], { cwd: work });
    const head = commitAll(work, 'from a fork');
    run(['push', '-q', origin, 'HEAD:refs/pull/7/head'], { cwd: work });
    const mirror = await repositories.mirror({ repository: 'Acme/Demo', ref: 'refs/pull/7/head', signal });
    expect(mirror).toMatchObject({ base: head, baseRef: 'refs/pull/7/head' });
    expect(run(['for-each-ref', '--format=%(refname)'], { cwd: mirror.path })).toContain('refs/pull/7/head');
  });

  test('a head from a fork is the commit that was asked about, with the place where its history began', async () => {
    const { work, head, origin, repositories } = await setUp();
    run(['checkout', '-q', '-b', 'p'], { cwd: work });
    write(work, { 'gift.txt': '1\n' });
    const asked = CommitSha.parse(commitAll(work, 'asked about'));
    write(work, { 'gift.txt': '2\n' });
    commitAll(work, 'later');
    const ref = 'refs/pull/7/head';
    run(['push', '-q', origin, `HEAD:${ref}`], { cwd: work });
    const wanted = { repository: 'Acme/Demo', ref, fork: { commit: asked, onto: 'main' }, signal };
    expect(await repositories.mirror(wanted)).toMatchObject({ base: asked, since: head, defaultBranch: 'main' });

    run(['commit', '-q', '--amend', '-m', 'pushed over'], { cwd: work });
    run(['reset', '-q', '--soft', 'main'], { cwd: work });
    commitAll(work, 'pushed over');
    run(['push', '-q', '-f', origin, `HEAD:${ref}`], { cwd: work });
    await expect(repositories.mirror(wanted)).rejects.toThrow(/pushed over since/);
    const never = { ...wanted, fork: { commit: CommitSha.parse('1'.repeat(40)), onto: 'main' } };
    await expect(repositories.mirror(never)).rejects.toThrow(/pushed over since/);
    await expect(
      repositories.mirror({ ...wanted, fork: { commit: CommitSha.parse(head), onto: 'gone' } }),
    ).rejects.toThrow(/gone/);
  });

  test('a history that has nothing in common with the branch is new from its head on', async () => {
    const { work, head, origin, repositories } = await setUp();
    run(['checkout', '-q', '--orphan', 'alien'], { cwd: work });
    const alien = CommitSha.parse(commitAll(work, 'alien'));
    run(['push', '-q', origin, 'HEAD:refs/pull/8/head'], { cwd: work });
    const fork = { commit: alien, onto: 'main' };
    const mirror = await repositories.mirror({ repository: 'Acme/Demo', ref: 'refs/pull/8/head', fork, signal });
    expect(mirror).toMatchObject({ base: alien, since: head });
  });

  test('a rewritten branch keeps the old commit in the mirror, a directory may become a branch', async () => {
    const { work, head, origin, repositories } = await setUp();
    run(['push', '-q', origin, 'HEAD:refs/heads/a'], { cwd: work });
    const mirror = await repositories.mirror({
      repository: 'acme/demo'.replace('acme', 'Acme').replace('demo', 'Demo'),
      signal,
    });
    run(['push', '-q', origin, ':refs/heads/a', 'HEAD:refs/heads/a/b'], { cwd: work });
    run(['commit', '-q', '--amend', '-m', 'rewritten'], { cwd: work });
    push(work, origin);
    const again = await repositories.mirror({ repository: 'Acme/Demo', ref: 'a/b', signal });
    expect(again.base).toBe(head);
    expect((await repositories.mirror({ repository: 'Acme/Demo', signal })).base).not.toBe(head);
    expect(run(['cat-file', '-t', head], { cwd: mirror.path })).toBe('commit');
  });

  test.each([
    ['an empty repository', 'Acme/Empty', undefined, 'clone', /is empty/],
    ['a repository that is not there', 'Acme/None', undefined, 'clone', /was not found/],
    ['a branch that is not there', 'Acme/Demo', 'nope', 'clone', /no ref refs\/heads\/nope/],
    ['a pull request that is not there', 'Acme/Demo', 'refs/pull/9/head', 'clone', /no such ref/],
    ['a ref that is no ref', 'Acme/Demo', 'refs/x..y', 'clone', /not a ref/],
    ['a HEAD that names no branch', 'Acme/Headless', undefined, 'clone', /no default branch/],
    ['a name that leaves the directory', '../../etc', undefined, 'config', /not a repository name/],
    ['a name with dots only', 'Acme/..', undefined, 'config', /not a repository name/],
  ])('%s is a clear error', async (_name, repository, ref, code, message) => {
    const { origin, repositories } = await setUp();
    run(['init', '-q', '--bare', bench.path('srv/Acme/Empty.git')]);
    run(['clone', '-q', '--bare', origin, bench.path('srv/Acme/Headless.git')]);
    run(['symbolic-ref', 'HEAD', 'refs/heads/gone'], { cwd: bench.path('srv/Acme/Headless.git') });
    await expect(
      repositories.mirror({ repository, ...(ref === undefined ? {} : { ref }), signal }),
    ).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
  });

  test('a refused credential is an error of GitHub and does not tell it', async () => {
    const { url } = await setUp();
    const wrong = createRepositories({
      dataDir: bench.path('data'),
      remoteUrl: (repository) => `${url}/${repository}.git`,
      credential: () => `Basic ${Buffer.from('x-access-token:wrongwrongwrong').toString('base64')}`,
      allowHttp: true,
    });
    const error = await wrong.mirror({ repository: 'Acme/Demo', signal }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'github' });
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('wrongwrong');
  });

  test('GIT-020 a redirect to another host is not followed and the token stays', async () => {
    const { origin } = await setUp();
    const foreign = await serveGit(path.dirname(path.dirname(origin)));
    const moved = await serveGit(bench.path('srv'), (request, response) => {
      response.writeHead(302, { location: `${foreign.url}${request.url ?? ''}` }).end();
      return true;
    });
    const repositories = createRepositories({
      dataDir: bench.path('data2'),
      remoteUrl: (repository) => `${moved.url}/${repository}.git`,
      credential: () => BASIC,
      allowHttp: true,
    });
    await expect(repositories.mirror({ repository: 'Acme/Demo', signal })).rejects.toMatchObject({
      code: 'clone',
      message: expect.stringContaining('redirect') as string,
    });
    expect(moved.requests[0]?.authorization).toBe(BASIC);
    expect(foreign.requests).toEqual([]);
    await foreign.close();
    await moved.close();
  });

  test('what a killed git left behind does not stop the next fetch', async () => {
    const { work, origin, repositories } = await setUp();
    const mirror = await repositories.mirror({ repository: 'Acme/Demo', signal });
    const next = commitAll(work, 'next');
    push(work, origin);
    mkdirSync(path.join(mirror.path, 'refs/heads'), { recursive: true });
    for (const orphan of ['packed-refs.lock', 'HEAD.lock', 'refs/heads/main.lock', 'objects/pack/tmp_pack_abc']) {
      writeFileSync(path.join(mirror.path, orphan), '');
    }
    expect((await repositories.mirror({ repository: 'Acme/Demo', signal })).base).toBe(next);
    expect(readdirSync(path.join(mirror.path, 'objects/pack')).filter((name) => name.startsWith('tmp_'))).toEqual([]);
  });

  test('parallel calls, also from another instance, agree', async () => {
    const { head, url, repositories } = await setUp();
    const other = createRepositories({
      dataDir: bench.path('data'),
      remoteUrl: (repository) => `${url}/${repository}.git`,
      credential: () => BASIC,
      allowHttp: true,
    });
    const answers = await Promise.all(
      [repositories, other, repositories, other].map((r) => r.mirror({ repository: 'Acme/Demo', signal })),
    );
    expect(new Set(answers.map((answer) => answer.base))).toEqual(new Set([head]));
  });

  test('many small fetches are rolled up without losing an object', async () => {
    const { work, head, origin, repositories } = await setUp();
    const mirror = await repositories.mirror({ repository: 'Acme/Demo', signal });
    const packs = path.join(mirror.path, 'objects/pack');
    for (let i = 0; i < 42; i++) {
      const blob = run(['hash-object', '-w', '--stdin'], { cwd: mirror.path, input: `loose ${i}` });
      run(['pack-objects', '-q', path.join(packs, 'pack')], { cwd: mirror.path, input: `${blob}\n` });
    }
    expect(readdirSync(packs).filter((name) => name.endsWith('.pack')).length).toBeGreaterThan(40);
    commitAll(work, 'next');
    push(work, origin);
    await repositories.mirror({ repository: 'Acme/Demo', signal });
    expect(readdirSync(packs).filter((name) => name.endsWith('.pack')).length).toBeLessThan(20);
    expect(run(['cat-file', '-t', head], { cwd: mirror.path })).toBe('commit');
  });

  test('stops when it is told to', async () => {
    const { repositories } = await setUp();
    const stopped = repositories.mirror({ repository: 'Acme/Demo', signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('which remotes are allowed', () => {
  test.each([
    ['plain http without allowHttp', 'http://127.0.0.1:1/a/b.git'],
    ['a file without allowFile', 'file:///etc'],
    ['ssh', 'ssh://git@example.test/a/b.git'],
    ['a remote helper', 'ext::sh -c id'],
    ['no URL', '-u/etc'],
    ['a URL with a password', 'https://u:p@example.test/a/b.git'],
  ])('%s is refused before git runs', async (_name, url) => {
    const repositories = createRepositories({ dataDir: bench.path('data'), remoteUrl: () => url });
    await expect(repositories.mirror({ repository: 'a/b', signal })).rejects.toMatchObject({ code: 'config' });
    expect(existsSync(bench.path('data'))).toBe(false);
  });

  test('names become directories without collisions', () => {
    expect(mirrorPath('/d', 'Acme/Demo', 'https://github.com/x')).toBe('/d/mirrors/github.com/acme/demo.git');
    expect(mirrorPath('/d', 'a/b', 'http://127.0.0.1:80/x')).not.toBe(mirrorPath('/d', 'a/b', 'http://127.0.0.1:81/x'));
  });
});

describe('mirror of a local path', () => {
  test('a work tree, with spaces in its name, that another user owns', async () => {
    const work = bench.path('my project');
    const head = project(work, { 'a.txt': 'one\n' });
    if (process.getuid?.() === 0) {
      for (const name of ['.', '.git']) chownSync(path.join(work, name), 12345, 12345);
    }
    const repositories = createRepositories({
      dataDir: bench.path('data'),
      remoteUrl: () => pathToFileURL(work).href,
      allowFile: true,
    });
    const mirror = await repositories.mirror({ repository: 'local/project', signal });
    expect(mirror).toMatchObject({ base: head, baseRef: 'main', defaultBranch: 'main' });
    expect(mirror.path).toContain('/mirrors/local/my_project-');
  });
});
