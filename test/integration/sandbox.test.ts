import { createHash, randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkSandboxHost } from '../../src/sandbox/doctor.ts';
import { createSandboxes } from '../../src/sandbox/lifecycle.ts';
import { openBench, run, shell } from '../sandbox/real.ts';
import type { Bench } from '../sandbox/real.ts';
import type { DockerSandbox } from '../../src/sandbox/sandbox.ts';
import type { StubGateway } from '../sandbox/stub-gateway.ts';

let bench: Bench;
let sandbox: DockerSandbox & { gateway: StubGateway; runId: string };

beforeAll(async () => {
  bench = await openBench();
  sandbox = await bench.create();
});
afterAll(async () => {
  await bench.close();
});

describe('commands', () => {
  it('run as the agent or as root, in the directory and with the variables that were asked for', async () => {
    const agent = await run(sandbox, ['sh', '-c', 'id -u; pwd; echo $GREETING'], { env: { GREETING: 'hei' } });
    expect(agent).toMatchObject({ exitCode: 0, text: '1000\n/workspace\nhei\n' });
    const root = await run(sandbox, ['sh', '-c', 'id -u; pwd'], { user: 'root', cwd: '/tmp' });
    expect(root.text).toBe('0\n/tmp\n');
  });

  it('give their exit codes, also when there is no such program', async () => {
    for (const code of [0, 1, 7, 255]) expect((await shell(sandbox, `exit ${code}`)).exitCode).toBe(code);
    expect((await run(sandbox, ['no-such-program'])).exitCode).toBeGreaterThan(125);
    expect((await shell(sandbox, 'kill -KILL $$')).exitCode).toBe(137);
  });

  it('keep their two outputs apart', async () => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    await sandbox.exec({ argv: ['sh', '-c', 'echo out; echo err >&2'], user: 'agent', stdout, stderr });
    expect([String(stdout.read()), String(stderr.read())]).toEqual(['out\n', 'err\n']);
  });

  it('get their input, its end, and can still answer', async () => {
    const stdin = Readable.from([Buffer.from('one\n'), Buffer.from('two\n')]);
    const counted = await run(sandbox, ['sh', '-c', 'wc -l; echo after; exit 5'], { stdin });
    expect(counted).toMatchObject({ exitCode: 5, text: '2\nafter\n' });
  });

  it('pass 24 MiB through unchanged', async () => {
    const payload = randomBytes(24 * 2 ** 20);
    const stdin = Readable.from(Array.from({ length: 24 }, (_, i) => payload.subarray(i * 2 ** 20, (i + 1) * 2 ** 20)));
    const stdout = new PassThrough();
    const hash = createHash('sha256');
    let bytes = 0;
    stdout.on('data', (piece: Buffer) => {
      bytes += piece.length;
      hash.update(piece);
    });
    await sandbox.exec({ argv: ['cat'], user: 'agent', stdin, stdout });
    expect(bytes).toBe(payload.length);
    expect(hash.digest('hex')).toBe(createHash('sha256').update(payload).digest('hex'));
  });

  it('survive a reader and a writer that go away', async () => {
    const gone = new PassThrough();
    gone.destroy();
    expect(await sandbox.exec({ argv: ['seq', '100000'], user: 'agent', stdout: gone })).toMatchObject({ exitCode: 0 });
    const stdin = new PassThrough();
    setTimeout(() => stdin.destroy(new Error('writer failed')), 200);
    expect((await run(sandbox, ['sh', '-c', 'cat; echo end'], { stdin })).text).toBe('end\n');
  });

  it('are ended when they are cancelled, and the sandbox goes on', async () => {
    const abort = new AbortController();
    const sleeping = run(sandbox, ['sleep', '987'], { signal: abort.signal }).catch((error: unknown) => error);
    const sleeps = async (): Promise<boolean> => (await shell(sandbox, 'pgrep -f "sleep 98[7]"')).exitCode === 0;
    await expect.poll(sleeps).toBe(true);
    abort.abort();
    expect(await sleeping).toMatchObject({ code: 'cancelled' });
    expect(await sleeps()).toBe(false);
  });

  it('leave no zombies: init takes in what they left', async () => {
    // So few at once that a slow init does not fill the sandbox's limit of processes.
    await shell(sandbox, 'for i in $(seq 300); do (true &); [ $((i % 30)) -gt 0 ] || sleep 0.1; done');
    await expect.poll(async () => (await shell(sandbox, 'ps -eo stat | grep -c Z')).text).toBe('0\n');
  });

  it('find git’s remote rewritten to the gateway', async () => {
    const host = createSandboxes({
      dockerSocket: bench.machine.dockerSocket,
      installation: bench.installation,
      toolboxDir: bench.machine.toolboxDir,
      gitBase: 'http://127.0.0.1:1234/',
      kernel: bench.kernel,
    });
    const other = await bench.create({ host });
    const { text } = await shell(
      other,
      'GIT_TRACE_CURL=1 git ls-remote http://127.0.0.1:1234/o/r.git 2>&1 | head -n 20',
    );
    expect(text).toContain('git.cofferdam.internal');
    await other.destroy();
  });
});

describe('what a run leaves behind', () => {
  it('INJ-017 is nothing that another run would find: no note, no cache, no setting', async () => {
    const note = `note-${randomBytes(6).toString('hex')}`;
    const places =
      '~ ~/.cache ~/.config /tmp /var/tmp /dev/shm /workspace /root /etc /usr/local/bin /opt /opt/cofferdam /run /var/cache';
    const leave = `for d in ${places}; do mkdir -p $d && touch $d/${note}; done 2>/dev/null; true`;
    const look = `for d in ${places} /home/*; do ls $d/${note}; done 2>/dev/null | wc -l`;
    const first = await bench.create();
    for (const user of ['agent', 'root'] as const) await run(first, ['sh', '-c', leave], { user });
    // The twin: the run itself finds its own.
    expect(Number((await run(first, ['sh', '-c', look], { user: 'root' })).text)).toBeGreaterThan(10);
    const beside = await bench.create();
    expect((await run(beside, ['sh', '-c', look], { user: 'root' })).text).toBe('0\n');
    await Promise.all([first.destroy(), beside.destroy()]);
    const next = await bench.create();
    expect((await run(next, ['sh', '-c', look], { user: 'root' })).text).toBe('0\n');
    await next.destroy();
  });
});

describe('the host', () => {
  it('is looked at by doctor: everything there', async () => {
    const found = await checkSandboxHost({
      dockerSocket: bench.machine.dockerSocket,
      installation: bench.installation,
      toolboxDir: bench.machine.toolboxDir,
      settings: bench.settings(),
      kernel: bench.kernel,
      runtimeEntry: '{}',
    });
    expect(found.map(({ name, ok }) => [name, ok])).toEqual([
      ['docker', true],
      ['runtime', true],
      ['process record', true],
      ['image', true],
      ['gvisor', true],
    ]);
  });

  it('is looked at by doctor: something missing, with what to do', async () => {
    const look = (change: { dockerSocket?: string; settings?: Record<string, unknown> }) =>
      checkSandboxHost({
        dockerSocket: change.dockerSocket ?? bench.machine.dockerSocket,
        installation: bench.installation,
        toolboxDir: bench.machine.toolboxDir,
        settings: bench.settings(change.settings),
        kernel: bench.kernel,
        runtimeEntry: '{}',
      });
    for (const [change, missing] of [
      [{ dockerSocket: '/nonexistent/docker.sock' }, 'docker'],
      [{ settings: { runtime: 'nope' } }, 'runtime'],
      [{ settings: { image: 'no-such:1' } }, 'image'],
      [{ settings: { runtime: 'runc' } }, 'process record'],
      [{ settings: { runtime: 'runc', processRecord: 'optional' } }, 'gvisor'],
    ] as const) {
      const bad = (await look(change)).filter((item) => !item.ok);
      expect(bad.map((item) => item.name)).toEqual([missing]);
      expect(bad[0]?.fix).not.toBe('');
    }
  });

  it('says when Docker is not there', async () => {
    const host = createSandboxes({
      dockerSocket: '/nonexistent/docker.sock',
      installation: bench.installation,
      toolboxDir: bench.machine.toolboxDir,
    });
    await expect(bench.create({ host })).rejects.toMatchObject({ code: 'docker_unavailable' });
  });

  it('CRA-012 refuses a socket path that is too long', async () => {
    const gateway = { ...sandbox.gateway, socketDir: `/tmp/${'x'.repeat(100)}` };
    await expect(bench.create({ gateway })).rejects.toMatchObject({ code: 'config' });
  });
});
