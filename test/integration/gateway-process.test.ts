/** The gateway as the worker runs it: a process of its own, real git, real sockets; no Docker. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { runId } from '../../src/domain/ids.ts';
import type { EgressPolicy } from '../../src/domain/policy.ts';
import type { GatewayHost } from '../../src/main/gateway-client.ts';
import type { AgentMessage, GatewayOptions } from '../../src/run/ports.ts';
import { Raw, connectTo, denials, policyOf } from '../gateway/hermetic.ts';
import { auditOf, openGateway, type OpenedGateway } from '../gateway/process.ts';
import { Pki } from '../security/pki.ts';

const run = promisify(execFile);
let dir: string;
let open: { close: () => Promise<void> }[] = [];

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'cofgp-'));
});
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});
afterEach(async () => {
  for (const gateway of open) await gateway.close();
  open = [];
});

async function start(options: Partial<GatewayOptions> = {}, host: Partial<GatewayHost> = {}): Promise<OpenedGateway> {
  const opened = await openGateway(dir, policyOf([{ host: 'allowed.test' }]), options, host);
  open.push(opened.gateway);
  return opened;
}

async function nameStatus(socket: string, name: string): Promise<number> {
  const raw = new Raw(socket).send(
    `GET http://gateway.cofferdam.internal/v1/name/${name} HTTP/1.1\r\nHost: gateway.cofferdam.internal\r\nConnection: close\r\n\r\n`,
  );
  return Number((await raw.finish()).slice(9, 12));
}

/** The portal's explicit proxy, in short: TCP on loopback to the run's socket. */
async function proxyTo(socket: string): Promise<{ url: string; server: Server }> {
  const server = createServer((client) => {
    const upstream = connect(socket);
    client.pipe(upstream).pipe(client);
    for (const side of [client, upstream]) side.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push({ close: () => Promise.resolve(void server.close()) });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

test('decisions are made in the process and recorded by the worker; the summary comes back', async () => {
  const { gateway, events, socket } = await start();
  expect(await nameStatus(socket, 'allowed.test')).toBe(200);
  expect(await nameStatus(socket, 'evil.test')).toBe(404);
  expect((await connectTo(socket, '1.1.1.1:443')).status).toBe(403);
  await gateway.close();
  expect(denials(events).map((event) => event.decision)).toEqual([
    { allow: false, rule: 'default', reason: 'not_allowed' },
    { allow: false, rule: 'connect', reason: 'ip_literal' },
  ]);
  expect(gateway.egress().map(({ host, port, reason }) => [host, port, reason])).toEqual([
    ['evil.test', 0, 'not_allowed'],
    ['1.1.1.1', 443, 'ip_literal'],
  ]);
  expect(await gateway.closed).toMatchObject({ expected: true });
});

test('the socket directory holds the socket and the CA file, can be entered by the sandbox, and is gone at the end', async () => {
  const { gateway, socket } = await start();
  expect(statSync(gateway.socketDir).mode & 0o777).toBe(0o755);
  expect(statSync(socket).mode & 0o777).toBe(0o666);
  expect(readFileSync(join(gateway.socketDir, 'ca.pem'), 'utf8')).toContain('-----BEGIN CERTIFICATE-----');
  await gateway.close();
  expect(() => statSync(gateway.socketDir)).toThrow();
});

test('gateways of one run begin and end beside each other, also while the one before removes the directory of both', async () => {
  const id = runId(crypto.getRandomValues(new Uint8Array(12)));
  const done = new AbortController();
  let removed = 0;
  const remover = (async () => {
    while (!done.signal.aborted) {
      await rmdir(join(dir, 'runs', id)).then(
        () => (removed += 1),
        () => undefined,
      );
    }
  })();
  const turns = Array.from({ length: 4 }, async () => {
    // Until it struck in between.
    for (let turn = 0; turn < 3 || removed === 0; turn += 1) {
      const { gateway, socket } = await start({ runId: id });
      expect(await nameStatus(socket, 'allowed.test')).toBe(200);
      await gateway.close();
    }
  });
  await Promise.all(turns).finally(() => done.abort());
  await remover;
  expect(() => statSync(join(dir, 'runs', id))).toThrow();
});

test('a policy with a hole, a path that is too long and a missing CA file are named before anything starts', async () => {
  await expect(start({ policy: policyOf([{ host: '*.github.io' }]) })).rejects.toMatchObject({ code: 'policy' });
  await expect(start({}, { dataDir: join(dir, 'x'.repeat(90)) })).rejects.toMatchObject({ code: 'config' });
  await expect(start({}, { caFile: join(dir, 'absent.pem') })).rejects.toMatchObject({ code: 'config' });
});

test('revocation lists that cannot be used are named before anything starts, and good ones reach the process', async () => {
  const pki = new Pki();
  try {
    const crlFile = join(dir, 'lists.pem');
    const revocation = { crlFile, hosts: ['corp.test'] };
    await expect(start({}, { revocation })).rejects.toThrow(/lists\.pem cannot be read/);
    for (const [text, problem] of [
      ['no list\n', /holds no revocation list in PEM/],
      ['-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n', /something else than a revocation list as number 1/],
      ['x'.repeat(9 * 2 ** 20), /is larger than 8 MiB/],
    ] as const) {
      writeFileSync(crlFile, text);
      await expect(start({}, { revocation })).rejects.toThrow(problem);
    }
    writeFileSync(crlFile, pki.list(pki.root, []) + pki.list(pki.issuing, []));
    const { socket } = await start({}, { revocation });
    expect((await connectTo(socket, 'denied.test:443')).status).toBe(403);
  } finally {
    pki.close();
  }
});

test('a record that the worker cannot write ends the connection', async () => {
  const audit = { ...auditOf([]), append: () => Promise.reject(new Error('disk full')) };
  const { socket } = await start({ audit });
  expect((await connectTo(socket, 'allowed.test:443')).status).toBe(503);
});

describe('git', () => {
  let closed: string;
  let policy: EgressPolicy;
  beforeAll(() => {
    closed = join(dir, 'mirrors');
    mkdirSync(closed, { mode: 0o700 });
    const work = join(dir, 'work');
    execFileSync('git', ['init', '-q', '-b', 'main', work]);
    writeFileSync(join(work, 'file'), 'hello\n');
    execFileSync('git', ['-C', work, 'add', '.']);
    execFileSync('git', ['-C', work, '-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-q', '-m', 'one']);
    execFileSync('git', ['clone', '-q', '--bare', work, join(closed, 'r.git')]);
    policy = policyOf([]);
  });
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: '/nonexistent',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
  };

  test('a clone comes from a mirror that only the worker may enter; a push is refused with a text; others are absent', async () => {
    const { socket, events, gateway } = await start({ policy, git: { 'owner/repo': join(closed, 'r.git') } });
    const { url } = await proxyTo(socket);
    const git = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
      run('git', ['-c', `http.proxy=${url}`, ...args], { env });
    const clone = join(dir, 'clone');
    await git('clone', '-q', 'http://git.cofferdam.internal/Owner/Repo.git', clone);
    expect(readFileSync(join(clone, 'file'), 'utf8')).toBe('hello\n');
    await expect(git('-C', clone, 'push', 'origin', 'HEAD:refs/heads/x')).rejects.toMatchObject({
      stderr: expect.stringContaining('403') as string,
    });
    await expect(git('clone', '-q', 'http://git.cofferdam.internal/other/repo.git', join(dir, 'no'))).rejects.toThrow();
    await gateway.close();
    expect(denials(events).map((event) => event.decision?.allow === false && event.decision.reason)).toEqual([
      'git_push',
      'git_repository_not_allowed',
    ]);
    expect(events.filter((event) => event.type === 'git.request' && event.decision?.allow === true)).toHaveLength(3);
  });

  test('a repository that draws on a mirror by alternates is served, too', async () => {
    const quarantine = join(closed, 'q.git');
    execFileSync('git', ['init', '-q', '--bare', quarantine]);
    writeFileSync(join(quarantine, 'objects/info/alternates'), `${join(closed, 'r.git/objects')}\n`);
    const head = execFileSync('git', ['-C', join(closed, 'r.git'), 'rev-parse', 'main'], { encoding: 'utf8' }).trim();
    execFileSync('git', ['-C', quarantine, 'update-ref', 'refs/heads/main', head]);
    execFileSync('git', ['-C', quarantine, 'symbolic-ref', 'HEAD', 'refs/heads/main']);
    const { socket } = await start({ policy, git: { 'owner/repo': quarantine } });
    const { url } = await proxyTo(socket);
    const clone = join(dir, 'clone-of-quarantine');
    await run(
      'git',
      ['-c', `http.proxy=${url}`, 'clone', '-q', 'http://git.cofferdam.internal/owner/repo.git', clone],
      { env },
    );
    expect(readFileSync(join(clone, 'file'), 'utf8')).toBe('hello\n');
  });
});

test('an agent speaks with the process over raw streams and its messages come back', async () => {
  const { gateway } = await start();
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const messages: AgentMessage[] = [];
  const outcome = gateway.runAgent({
    stdin,
    stdout,
    agent: 'opencode',
    cwd: '/workspace',
    prompt: 'do it',
    onMessage: (message) => messages.push(message),
    idleMs: 60_000,
    signal: new AbortController().signal,
  });
  const reply = (id: unknown, result: unknown): boolean =>
    stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);
  let seen = '';
  for await (const chunk of stdin) {
    seen += String(chunk);
    const lines = seen.split('\n');
    seen = lines.pop() ?? '';
    for (const line of lines) {
      const { id, method } = JSON.parse(line) as { id: number; method: string };
      if (method === 'initialize') reply(id, { protocolVersion: 1, agentCapabilities: {} });
      if (method === 'session/new') reply(id, { sessionId: 's' });
      if (method !== 'session/prompt') continue;
      const update = { sessionUpdate: 'agent_message_chunk', content: { type: 'text', text: 'done' } };
      stdout.write(
        `${JSON.stringify({ jsonrpc: '2.0', method: 'session/update', params: { sessionId: 's', update } })}\n`,
      );
      reply(id, { stopReason: 'end_turn' });
    }
  }
  stdout.end();
  expect(await outcome).toMatchObject({ stop: 'end_turn', summary: 'done' });
  expect(messages).toEqual([{ kind: 'text', text: 'done' }]);
});

test('an agent whose gateway dies is lost, and the death is a record', async () => {
  const { gateway, events } = await start();
  const told: string[] = [];
  void gateway.closed.then(() => told.push('gateway'));
  const outcome = gateway.runAgent({
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    agent: 'opencode',
    cwd: '/workspace',
    prompt: '',
    onMessage: () => undefined,
    idleMs: 60_000,
    signal: new AbortController().signal,
  });
  process.kill(gatewayPid(), 'SIGKILL');
  expect((await outcome).stop).toBe('lost');
  // Whoever asks why the agent was lost finds the reason there.
  expect(told).toEqual(['gateway']);
  expect(await gateway.closed).toMatchObject({ expected: false });
  expect(events.map((event) => event.type)).toContain('gateway.lost');
});

test('a process that says something that was not agreed is ended', async () => {
  const entry = '{"type":"audit","id":1,"entry":{"zone":"worker","type":"run.manifest"}}';
  const script = scriptOf(`import { writeSync } from 'node:fs';
    const b = Buffer.from('${entry}'); const l = Buffer.alloc(4); l.writeUInt32BE(b.length);
    process.once('SIGUSR2', () => writeSync(3, Buffer.concat([l, b])));`);
  const { gateway } = await start({}, { script });
  process.kill(gatewayPid(), 'SIGUSR2');
  expect(await gateway.closed).toMatchObject({
    expected: false,
    message: expect.stringContaining('not valid') as string,
  });
});

function scriptOf(code: string): string {
  const file = join(dir, `script-${Math.random().toString(36).slice(2)}.ts`);
  writeFileSync(file, `import '${join(import.meta.dirname, '../../src/main/gateway-process.ts')}';\n${code}\n`);
  return file;
}

/** The gateway process of this test, be its module the product's or one of {@link scriptOf}. */
function gatewayPid(): number {
  for (const thread of readdirSync('/proc/self/task')) {
    const children = readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean);
    for (const pid of children.map(Number)) {
      if (/(?:gateway-process|script-\w+)\.ts/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))) return pid;
    }
  }
  throw new Error('no gateway process');
}

const root = process.getuid?.() === 0;
test.runIf(root)(
  'as root: the process has a user of its own, no groups, no capabilities, no environment, and reads nothing of the worker',
  async () => {
    const key = join(dir, 'app-key.pem');
    writeFileSync(key, 'secret key', { mode: 0o600 });
    const docker = join(dir, 'docker.sock');
    const server = createServer((socket) => socket.end('hello from docker'));
    await new Promise<void>((resolve) => server.listen(docker, resolve));
    execFileSync('chmod', ['660', docker]);
    const probe = `
    import { readFileSync as read } from 'node:fs'; import { connect } from 'node:net';
    const attempt = (f) => { try { return 'read ' + f().length } catch (e) { return e.code } };
    const dial = (path) => new Promise((r) => { const s = connect(path); s.on('connect', () => r('connected')); s.on('error', (e) => r(e.code)); });
    const all = async () => ({ uid: process.getuid(), groups: process.getgroups(), env: Object.keys(process.env).sort(),
      key: attempt(() => read('${key}')), environ: attempt(() => read('/proc/' + process.ppid + '/environ')),
      self: attempt(() => read('/proc/self/environ')), docker: await dial('${docker}'),
      caps: /CapEff:\\s*(\\w+)/.exec(read('/proc/thread-self/status', 'latin1'))?.[1] });
    const before = all();
    const timer = setInterval(async () => { if (process.getuid() === 0) return; clearInterval(timer);
      process.stderr.write('PROBE ' + JSON.stringify([await before, await all()]) + '\\n', () => process.exit()); }, 20);`;
    const words: string[] = [];
    const { gateway } = await start({}, { script: scriptOf(probe), log: (line) => words.push(line) });
    expect(await gateway.closed).toMatchObject({ expected: false });
    server.close();
    const [before, after] = JSON.parse(/PROBE (.*)/.exec(words.join(''))?.[1] ?? '[]') as Record<string, unknown>[];
    // The same attempts succeed for root: what fails below fails for lack of rights.
    expect(before).toMatchObject({
      uid: 0,
      key: 'read 10',
      docker: 'connected',
      environ: expect.stringMatching(/^read/) as string,
    });
    expect(after).toMatchObject({
      key: 'EACCES',
      docker: 'EACCES',
      environ: 'EACCES',
      groups: [after?.['uid']],
      caps: '0000000000000000',
    });
    expect(after?.['uid']).toBeGreaterThanOrEqual(62_000);
    expect(after?.['env']).toEqual(['LC_ALL', 'PATH', 'TZ', 'UV_THREADPOOL_SIZE']);
  },
);
test.runIf(!root)('NOT RUN: needs root to show that the gateway process gives up its rights', ({ skip }) => {
  skip();
});
