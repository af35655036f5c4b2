import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createRepositories } from '../../src/git/mirror.ts';
import { pushBranch } from '../../src/git/push.ts';
import { commitAll, run, serveGit, write } from '../git/fixture.ts';
import { execHere, execSending, scene, type Scene } from '../harvest/fixture.ts';

// GIT-005: everything that can make git run a program is set where the agent can set it (its repository, its attributes, its
// home) and in this process's own environment; then the whole pipeline of the host runs: harvest, push, mirror.

const SAVED = { ...process.env };
let stage: Scene;
let canary: string;
let payload: string;

beforeEach(() => {
  stage = scene({ 'a.txt': 'one\n', 'src/a.ts': 'x\n' });
  canary = stage.bench.path('canary');
  payload = stage.bench.path('payload.sh');
  writeFileSync(payload, `#!/bin/sh\ntouch ${canary}\nexit 0\n`);
  chmodSync(payload, 0o755);
});
afterEach(() => {
  for (const name of Object.keys(process.env)) if (!(name in SAVED)) Reflect.deleteProperty(process.env, name);
  Object.assign(process.env, SAVED);
  stage.bench.remove();
});

const HOOKS = [
  'applypatch-msg',
  'pre-commit',
  'pre-merge-commit',
  'prepare-commit-msg',
  'commit-msg',
  'post-commit',
  'pre-rebase',
  'post-checkout',
  'post-merge',
  'pre-push',
  'pre-receive',
  'update',
  'post-receive',
  'post-update',
  'reference-transaction',
  'push-to-checkout',
  'pre-auto-gc',
  'post-rewrite',
  'fsmonitor-watchman',
  'post-index-change',
  'proc-receive',
];

function hostileConfig(): string {
  const drivers = [
    'filter.evil.clean',
    'filter.evil.smudge',
    'filter.evil.process',
    'diff.evil.textconv',
    'diff.evil.command',
    'merge.evil.driver',
  ];
  const keys = [
    'core.fsmonitor',
    'core.sshCommand',
    'core.pager',
    'core.editor',
    'core.askPass',
    'core.gitProxy',
    'core.alternateRefsCommand',
    'diff.external',
    'credential.helper',
    'gpg.program',
    'gpg.ssh.program',
    'sequence.editor',
    'uploadpack.packObjectsHook',
    'interactive.diffFilter',
    'pager.log',
    'alias.add',
    'alias.bundle',
    'alias.commit-tree',
    'trailer.x.command',
    'web.browser',
    'man.viewer',
    'sendemail.smtpserver',
    ...drivers,
  ];
  const lines = keys.map((key) => {
    const [, section = '', sub, name = ''] = /^([^.]+)(?:\.(.+))?\.([^.]+)$/.exec(key) ?? [];
    const value = key.startsWith('alias.') ? `!${payload}` : payload;
    return `[${section}${sub === undefined ? '' : ` "${sub}"`}]\n\t${name} = ${value}\n`;
  });
  return [
    ...lines,
    `[core]\n\thooksPath = ${stage.bench.path('hooks')}\n\tbare = false\n`,
    '[commit]\n\tgpgSign = true\n[filter "evil"]\n\trequired = true\n[protocol "ext"]\n\tallow = always\n',
    `[url "ext::${payload} "]\n\tinsteadOf = http://\n\tinsteadOf = https://\n\tinsteadOf = file://\n\tinsteadOf = /\n`,
    `[include]\n\tpath = ${stage.bench.path('included')}\n`,
  ].join('');
}

function poison(): void {
  const { workspace, bench } = stage;
  const config = hostileConfig();
  for (const directory of [bench.path('hooks'), path.join(workspace, '.git/hooks')]) {
    mkdirSync(directory, { recursive: true });
    for (const hook of HOOKS) {
      writeFileSync(path.join(directory, hook), `#!/bin/sh\ntouch ${canary}\n`);
      chmodSync(path.join(directory, hook), 0o755);
    }
  }
  writeFileSync(bench.path('included'), config.replace(/\[include\][^[]*/, ''));
  write(workspace, {
    'a.txt': 'two\n',
    '.gitattributes': '* filter=evil diff=evil merge=evil\n',
    '.gitmodules': '[submodule "x"]\n\tpath = x\n\turl = https://github.com/acme/x.git\n\tupdate = checkout\n',
    '.git/info/attributes': '* filter=evil diff=evil\n',
    '.git/config': config,
  });
}

function poisonEnvironment(): void {
  const home = stage.bench.path('home');
  write(home, {
    '.gitconfig': hostileConfig(),
    '.config/git/config': hostileConfig(),
    '.netrc': 'machine 127.0.0.1 login x password y\n',
  });
  Object.assign(process.env, {
    HOME: home,
    XDG_CONFIG_HOME: path.join(home, '.config'),
    GIT_CONFIG_GLOBAL: path.join(home, '.gitconfig'),
    GIT_CONFIG_SYSTEM: path.join(home, '.gitconfig'),
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'core.sshCommand',
    GIT_CONFIG_VALUE_0: payload,
    GIT_DIR: path.join(stage.workspace, '.git'),
    GIT_WORK_TREE: stage.workspace,
    GIT_EXTERNAL_DIFF: payload,
    GIT_SSH_COMMAND: payload,
    GIT_ASKPASS: payload,
    GIT_PROXY_COMMAND: payload,
    GIT_PAGER: payload,
    GIT_EDITOR: payload,
    GIT_TEMPLATE_DIR: stage.bench.path('hooks'),
    GIT_EXEC_PATH: stage.bench.path('hooks'),
    http_proxy: 'http://127.0.0.1:9',
    https_proxy: 'http://127.0.0.1:9',
    ALL_PROXY: 'http://127.0.0.1:9',
    LD_PRELOAD_NOT: payload,
  });
}

test('GIT-005 the control: git in that repository, as a careless host would run it, runs the payload', () => {
  poison();
  try {
    run(['status'], { cwd: stage.workspace });
  } catch {
    // Whether it succeeds is of no interest.
  }
  expect(existsSync(canary)).toBe(true);
});

test('GIT-005 the whole pipeline of the host leaves the canary alone', async () => {
  const server = await serveGit(path.dirname(path.dirname(stage.mirror.path)));
  poison();
  poisonEnvironment();
  const clean = { PATH: process.env['PATH'] ?? '' };
  const harvest = await stage.harvest({ exec: (options) => execHere({ ...options, env: clean }) });
  expect(harvest?.files.map((file) => file.path).sort()).toEqual(['.gitattributes', '.gitmodules', 'a.txt']);
  const pushed = await pushBranch({
    repository: harvest?.repository ?? '',
    commit: harvest?.commit ?? '',
    branch: 'cofferdam/12-add-a-thing-x7k2',
    expected: null,
    url: `${server.url}/acme/demo.git`,
    authorization: 'Basic eDp5eXl5eXl5eQ==',
    allowHttp: true,
    signal: new AbortController().signal,
  });
  expect(pushed).toEqual({ ok: true, outcome: 'created' });
  const repositories = createRepositories({
    dataDir: stage.bench.path('data2'),
    remoteUrl: (repository) => `${server.url}/${repository}.git`,
    allowHttp: true,
  });
  const mirror = await repositories.mirror({ repository: 'acme/demo', signal: new AbortController().signal });
  expect(mirror.base).toBe(stage.base);
  await harvest?.dispose();
  await server.close();
  expect(existsSync(canary)).toBe(false);
});

test('GIT-005 a mirror of a poisoned local repository runs nothing of it', async () => {
  commitAll(stage.workspace, 'clean');
  poison();
  run(['config', '--file', path.join(stage.workspace, '.git/config'), '--remove-section', 'include']);
  poisonEnvironment();
  const repositories = createRepositories({
    dataDir: stage.bench.path('data2'),
    remoteUrl: () => `file://${stage.workspace}`,
    allowFile: true,
  });
  const mirror = await repositories.mirror({ repository: 'local/x', signal: new AbortController().signal });
  expect(mirror.defaultBranch).toBe('main');
  expect(existsSync(canary)).toBe(false);
});

test('GIT-005 every git of the host has the hardened environment', async () => {
  // A git of our own in front of the real one writes down how it was called.
  const { gitEnvironment } = await import('../../src/git/environment.ts');
  const env = gitEnvironment({
    transport: { protocol: 'https', origin: 'https://github.test/', authorization: 'Basic secret' },
  });
  expect(env).toMatchObject({
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ALLOW_PROTOCOL: 'https',
  });
  const keys = Object.keys(env).filter((name) => name.startsWith('GIT_CONFIG_KEY_'));
  const config = Object.fromEntries(keys.map((name) => [env[name] ?? '', env[name.replace('KEY', 'VALUE')]]));
  expect(config).toMatchObject({
    'safe.bareRepository': 'explicit',
    'core.hooksPath': '/dev/null',
    'core.fsmonitor': 'false',
    'protocol.allow': 'never',
    'protocol.https.allow': 'always',
    'http.followRedirects': 'false',
    'http.https://github.test/.extraHeader': 'Authorization: Basic secret',
  });
  expect(Object.keys(config).filter((key) => /^protocol\..+\.allow$/.test(key))).toEqual(['protocol.https.allow']);
  expect(gitEnvironment({})['GIT_ALLOW_PROTOCOL']).toBe('none');
  expect(() => gitEnvironment({ env: { LD_PRELOAD: 'x' } })).toThrow(RangeError);
});

test('ESC-005 links of the workspace are not followed by the host', async () => {
  const secret = stage.bench.path('host-secret');
  writeFileSync(secret, 'canary-of-the-host-0123456789');
  const outside = path.relative(path.join(stage.workspace, 'src'), secret);
  run(['-c', 'core.symlinks=true', 'update-index', '--add', '--cacheinfo', `120000,${hashLink(outside)},src/link`], {
    cwd: stage.workspace,
  });
  const bundle = stage.bench.path('b.bundle');
  const tree = run(['write-tree'], { cwd: stage.workspace });
  const commit = run(['commit-tree', tree, '-p', stage.base, '-m', 'x'], { cwd: stage.workspace });
  run(['update-ref', 'refs/cofferdam/result', commit], { cwd: stage.workspace });
  run(['bundle', 'create', '-q', bundle, 'refs/cofferdam/result', `^${stage.base}`], { cwd: stage.workspace });
  await expect(stage.harvest({ exec: execSending(bundle) })).rejects.toMatchObject({
    code: 'harvest',
    message: expect.stringContaining('points out of the repository') as string,
  });
});

function hashLink(target: string): string {
  return run(['hash-object', '-w', '--stdin'], { cwd: stage.workspace, input: target });
}
