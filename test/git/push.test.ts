import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { pushBranch, type PushOptions } from '../../src/git/push.ts';
import { bare, commitAll, project, run, serveGit, workbench, type GitServer, type Workbench } from './fixture.ts';

const TOKEN = 'ghs_SecretSecretSecretSecretSecretSecret';
const BASIC = `Basic ${Buffer.from(`x-access-token:${TOKEN}`).toString('base64')}`;
const BRANCH = 'cofferdam/12-add-a-thing-x7k2';

let bench: Workbench;
let server: GitServer;
let origin: string;
let repository: string;
let base: string;
let next: string;
let after: string;

beforeEach(async () => {
  bench = workbench();
  const work = bench.path('work');
  base = project(work, { 'a.txt': 'one\n' });
  origin = bare(work, bench.path('srv/Acme/Demo.git'));
  next = commitAll(work, 'next');
  after = commitAll(work, 'after');
  repository = bare(work, bench.path('result.git'));
  server = await serveGit(bench.path('srv'), (request, response) => {
    if (request.headers.authorization === BASIC) return false;
    response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
    return true;
  });
});
afterEach(async () => {
  await server.close();
  bench.remove();
});

function push(options: Partial<PushOptions> = {}) {
  return pushBranch({
    repository,
    commit: next,
    branch: BRANCH,
    expected: null,
    url: `${server.url}/Acme/Demo.git`,
    authorization: BASIC,
    allowHttp: true,
    signal: new AbortController().signal,
    ...options,
  });
}

const tip = () => run(['for-each-ref', '--format=%(objectname)', `refs/heads/${BRANCH}`], { cwd: origin });

function hook(name: string, script: string): void {
  const file = path.join(origin, 'hooks', name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

describe('one branch', () => {
  test('is created, moved forward, and left alone when it is there', async () => {
    expect(await push()).toEqual({ ok: true, outcome: 'created' });
    expect(tip()).toBe(next);
    expect(await push()).toEqual({ ok: true, outcome: 'unchanged' });
    expect(await push({ commit: after, expected: next })).toEqual({ ok: true, outcome: 'updated' });
    expect(tip()).toBe(after);
    expect(run(['for-each-ref', '--format=%(refname)'], { cwd: origin }).split('\n').sort()).toEqual([
      `refs/heads/${BRANCH}`,
      'refs/heads/main',
    ]);
  });

  test('is never rewritten, never taken over', async () => {
    await push({ commit: after });
    expect(await push({ commit: next })).toMatchObject({ ok: false, reason: 'stale' });
    expect(await push({ commit: next, expected: after })).toMatchObject({ ok: false, reason: 'stale' });
    expect(await push({ commit: after, expected: base })).toEqual({ ok: true, outcome: 'unchanged' });
    expect(tip()).toBe(after);
  });

  test('that moved meanwhile is stale', async () => {
    await push();
    const other = run(['commit-tree', '-p', next, '-m', 'theirs', `${next}^{tree}`], { cwd: origin });
    run(['update-ref', `refs/heads/${BRANCH}`, other], { cwd: origin });
    expect(await push({ commit: after, expected: next })).toMatchObject({ ok: false, reason: 'stale' });
    expect(tip()).toBe(other);
  });

  test.each([
    'main',
    'cofferdam/../main',
    'cofferdam/',
    'cofferdam/A',
    'refs/heads/cofferdam/1-a',
    'cofferdam/1 a',
    '+cofferdam/1',
  ])('another branch (%s) is refused before git runs', async (branch) => {
    await expect(push({ branch })).rejects.toMatchObject({ code: 'internal' });
    expect(server.requests).toEqual([]);
  });
});

describe('failures are named', () => {
  test('a refused token, without telling it', async () => {
    const wrong = `Basic ${Buffer.from('x-access-token:wrongwrongwrong').toString('base64')}`;
    const result = await push({ authorization: wrong });
    expect(result).toMatchObject({ ok: false, reason: 'auth' });
    expect(JSON.stringify(result)).not.toMatch(/wrongwrong|eC1hY2/);
  });

  test('GIT-020 a redirect is not followed', async () => {
    const foreign = await serveGit(bench.path('srv'));
    const moved = await serveGit(bench.path('srv'), (request, response) => {
      response.writeHead(307, { location: `${foreign.url}${request.url ?? ''}` }).end();
      return true;
    });
    expect(await push({ url: `${moved.url}/Acme/Demo.git` })).toMatchObject({ ok: false, reason: 'redirect' });
    expect(foreign.requests).toEqual([]);
    await foreign.close();
    await moved.close();
  });

  test.each([
    ['protected', 'echo "error: GH006: Protected branch update failed" >&2; exit 1'],
    ['protected', 'echo "- push declined due to repository rule violations" >&2; exit 1'],
    [
      'workflows',
      'echo "refusing to allow a GitHub App to create or update workflow without \\`workflows\\` permission" >&2; exit 1',
    ],
    ['rejected', 'echo "no" >&2; exit 1'],
  ])('a hook of the server: %s', async (reason, script) => {
    hook('pre-receive', script);
    expect(await push()).toMatchObject({ ok: false, reason });
    expect(tip()).toBe('');
  });

  test('a repository that is not there, a host that does not answer', async () => {
    expect(await push({ url: `${server.url}/Acme/None.git` })).toMatchObject({ ok: false, reason: 'not_found' });
    expect(await push({ url: 'http://127.0.0.1:9/Acme/Demo.git' })).toMatchObject({ ok: false, reason: 'unreachable' });
  });

  test('text of the server cannot pass for a failure of git, nor bring control characters', async () => {
    hook('pre-receive', 'printf "fatal: Authentication failed\\033[31m\\007\\n" >&2; exit 1');
    const result = await push();
    expect(result).toMatchObject({ ok: false, reason: 'rejected' });
    // eslint-disable-next-line no-control-regex -- the point of the test
    expect(JSON.stringify(result)).not.toMatch(/[\u001b\u0007]|\\u001b/);
  });

  test('an abort is an error', async () => {
    await expect(push({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'cancelled' });
  });
});

test('hooks and configuration of the pushing repository do not run', async () => {
  const canary = bench.path('canary');
  const file = path.join(repository, 'hooks', 'pre-push');
  run(['init', '-q', '--bare', repository]);
  writeFileSync(file, `#!/bin/sh\ntouch ${canary}\n`);
  chmodSync(file, 0o755);
  run(['config', 'core.hooksPath', path.dirname(file)], { cwd: repository });
  run(['config', `url.ext::sh -c "touch ${canary}".pushInsteadOf`, server.url], { cwd: repository });
  const result = await push();
  expect(result).toMatchObject({ ok: false });
  run(['config', '--unset-all', `url.ext::sh -c "touch ${canary}".pushInsteadOf`], { cwd: repository });
  expect(await push()).toEqual({ ok: true, outcome: 'created' });
  expect(() => run(['--version'], { cwd: canary })).toThrow();
});
