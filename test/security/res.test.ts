import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dockerAt } from '../../src/local/machine/docker.ts';
import { allowedWorks, openBench, python, run, shell } from '../sandbox/real.ts';
import type { Bench } from '../sandbox/real.ts';
import type { DockerSandbox } from '../../src/sandbox/sandbox.ts';

let bench: Bench;
let neighbour: DockerSandbox;

beforeAll(async () => {
  bench = await openBench();
  neighbour = await bench.create();
});
afterAll(async () => {
  await bench.close();
});

/** A second run is not disturbed by what the first one does. */
async function neighbourWorks(): Promise<void> {
  expect(await allowedWorks(neighbour)).toBe(true);
}

const BOMB = 'bomb() { bomb | bomb & }; bomb; sleep 1000';

describe('processes', () => {
  it.each(['agent', 'root'] as const)(
    'RES-001 a fork bomb as %s meets the process limit, and the command is ended',
    async (user) => {
      const sandbox = await bench.create({ settings: { processes: 64 } });
      const bomb = (timeoutMs: number): Promise<unknown> =>
        run(sandbox, ['bash', '-c', BOMB], { user, timeoutMs }).catch((error: unknown) => error);
      let bombed = await bomb(4_000);
      // On a busy machine it may not have come to the limit in that time.
      if (user === 'agent' && !JSON.stringify(bombed).includes('fork')) bombed = await bomb(60_000);
      await neighbourWorks();
      if (user === 'agent') {
        expect(bombed).toMatchObject({ timedOut: true, text: expect.stringContaining('fork') as string });
        // Its own limit, not the host's: the sandbox lives, and there is room again.
        expect((await shell(sandbox, 'echo alive')).text).toBe('alive\n');
      } else {
        // Root shares its limit with the portal. Either the command was ended, or the sandbox with it; never the host.
        if (bombed instanceof Error) expect(['pids', 'portal_lost', 'timeout']).toContain((await sandbox.ended).reason);
        else expect(bombed).toMatchObject({ timedOut: true });
      }
      await sandbox.destroy();
    },
  );
});

describe('memory', () => {
  it('RES-002 a sandbox that takes too much memory ends with reason oom, and only it', async () => {
    const sandbox = await bench.create({ settings: { memory: '256MiB' } });
    const program = 'const a = []; for (;;) a.push(Buffer.alloc(8 << 20, 1));';
    const taken = run(sandbox, ['node', '-e', program]).catch((error: unknown) => error);
    expect((await sandbox.ended).reason).toBe('oom');
    expect(await taken).toMatchObject({ code: 'oom' });
    await neighbourWorks();
    await sandbox.destroy();
  });

  it('RES-002 files in memory have a size of their own', async () => {
    const sandbox = await bench.create({ settings: { memory: '512MiB', disk: '1GiB' } });
    const script =
      'dd if=/dev/zero of=/tmp/a bs=1M count=400; dd if=/dev/zero of=/dev/shm/a bs=1M count=400; rm /tmp/a /dev/shm/a; echo ok';
    const { text } = await shell(sandbox, script);
    expect(text.match(/No space left/g)).toHaveLength(2);
    expect(text).toContain('ok\n');
    await sandbox.destroy();
  });
});

describe('disk', () => {
  const fill =
    'mkdir -p /workspace/f; for i in $(seq 40); do head -c 32M /dev/zero > /workspace/f/$i || exit 9; done; echo filled';

  it('RES-003 a sandbox that fills the disk ends with reason disk', async () => {
    const sandbox = await bench.create({ settings: { disk: '256MiB', memory: '2GiB' } });
    expect(sandbox.view.disk).toBe('watched');
    const told: string[] = [];
    const filled = shell(sandbox, fill + '; sleep 60')
      .catch((error: unknown) => error)
      .finally(() => told.push('the command'));
    const { reason, message } = await sandbox.ended.finally(() => told.push('the sandbox'));
    expect({ reason, message }).toMatchObject({
      reason: 'disk',
      message: expect.stringContaining('256 MiB') as string,
    });
    expect(await filled).toMatchObject({ code: 'disk' });
    // Whoever asks why the command failed finds the reason there.
    expect(told).toEqual(['the sandbox', 'the command']);
    await neighbourWorks();
    await sandbox.destroy();
  });

  it('RES-003 the twin: as much as allowed is fine, and space that was given back counts no more', async () => {
    const sandbox = await bench.create({ settings: { disk: '256MiB', memory: '2GiB' } });
    const script =
      'for i in 1 2 3 4; do head -c 160M /dev/zero > /workspace/f; sleep 1.2; rm /workspace/f; done; echo ok';
    expect((await shell(sandbox, script)).text).toBe('ok\n');
    await sandbox.destroy();
  });

  it('RES-003 in the exact mode writing stops with “no space”, and nothing else can be written', async () => {
    const sandbox = await bench.create({ settings: { disk: '256MiB', memory: '1GiB', diskMode: 'tmpfs' } });
    const { exitCode, text } = await shell(sandbox, fill);
    expect({ exitCode, text }).toMatchObject({ exitCode: 9, text: expect.stringContaining('No space left') as string });
    for (const [user, directory] of [
      ['agent', '/var/tmp'],
      ['agent', '/home/agent'],
      ['root', '/'],
      ['root', '/usr'],
    ] as const) {
      const tried = await shell(sandbox, `head -c 100K /dev/zero > ${directory}/f && echo written`, user);
      expect({ directory, written: tried.text.includes('written') }).toEqual({ directory, written: user === 'agent' });
    }
    expect(await allowedWorks(sandbox)).toBe(true);
    await sandbox.destroy();
  });

  it('RES-003 root cannot fill the host through Docker’s own files', async () => {
    const sandbox = await bench.create({ settings: { disk: '64MiB', memory: '1GiB' } });
    const script = 'for f in hosts hostname resolv.conf; do head -c 40M /dev/zero >> /etc/$f; done; sleep 60';
    void shell(sandbox, script, 'root').catch(() => undefined);
    expect((await sandbox.ended).reason).toBe('disk');
    await sandbox.destroy();
  });
});

describe('output and time', () => {
  it('RES-005 a flood of output waits for a slow reader, and memory stays flat', async () => {
    const sandbox = await bench.create();
    let bytes = 0;
    const slow = new Writable({
      highWaterMark: 65_536,
      write(piece: Buffer, _encoding, done) {
        bytes += piece.length;
        setTimeout(done, 5);
      },
    });
    const before = process.memoryUsage().rss;
    const result = await sandbox.exec({ argv: ['cat', '/dev/zero'], user: 'agent', stdout: slow, timeoutMs: 8_000 });
    expect(result.timedOut).toBe(true);
    expect(bytes).toBeGreaterThan(2 ** 20);
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 2 ** 20);
    await sandbox.destroy();
  });

  it.each([
    ['sleeps', 'sleep 100000'],
    ['ignores TERM', 'trap "" TERM INT HUP; while :; do sleep 1; done'],
    ['stops itself', 'kill -STOP $$'],
    ['leaves its session', 'setsid bash -c "trap \\"\\" TERM; while :; do sleep 1; done" & wait'],
    ['drops the mark', 'env -i setsid sleep 100000 & exec env -i sleep 100000'],
  ])('RES-012 a command that %s is ended at its time, the sandbox goes on', async (_what, script) => {
    const result = await run(neighbour, ['bash', '-c', script], { timeoutMs: 1_000 });
    expect(result).toMatchObject({ timedOut: true, exitCode: 124 });
    await neighbourWorks();
  });

  it('RES-012 a sandbox ends at its deadline, whatever runs in it', async () => {
    const sandbox = await createUntil(4_000);
    const sleeping = shell(sandbox, 'trap "" TERM; while :; do sleep 1; done').catch((error: unknown) => error);
    expect((await sandbox.ended).reason).toBe('timeout');
    expect(await sleeping).toMatchObject({ code: 'timeout' });
    await sandbox.destroy();
  });

  /** Its start counts: on a busy machine one that was not ready in its time is tried with more. */
  async function createUntil(deadlineMs: number): Promise<DockerSandbox> {
    try {
      return await bench.create({ deadlineMs });
    } catch (error) {
      if (deadlineMs > 60_000) throw error;
      return createUntil(4 * deadlineMs);
    }
  }
});

/** Edge values thrown at every system call, by children that are ended from outside; then what a kernel's tables could break on. */
const FUZZ = `
import ctypes, mmap, os, random, resource, signal, sys, time
libc = ctypes.CDLL(None)
# What ends, stops or waits for others than the child itself.
skip = {34, 56, 57, 58, 59, 60, 61, 62, 101, 129, 130, 200, 231, 234, 247, 297, 322, 424, 435}
values = [0, 1, 2, -1, 3, 7, 64, 4096, 2**31 - 1, 2**31, 2**63 - 1, -2**63, 0x41414141]
# An alarm of its own does not end it surely: what it calls may take that back, or block the signal.
def ended(pid, seconds):
    until = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > until: os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
for child in range(8):
    pid = os.fork()
    if pid == 0:
        random.seed(20261125 + child)
        for turn in range(400):
            number = random.choice([n for n in range(450) if n not in skip])
            libc.syscall(ctypes.c_long(number), *[ctypes.c_long(random.choice(values)) for _ in range(6)])
        os._exit(0)
    ended(pid, 2)
for size in (1 << 40, 1 << 46, 1 << 62):
    try: mmap.mmap(-1, size); print('mapped')
    except (OSError, ValueError, OverflowError): print('refused')
pid = os.fork()
if pid == 0:
    # Deep, not large: how a sandbox ends that takes too much memory is shown elsewhere.
    resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
    sys.setrecursionlimit(10**9)
    def deep(n): return deep(n + 1)
    try: deep(0)
    finally: os._exit(0)
ended(pid, 20)
path = '/tmp/d'
for turn in range(500):
    try: os.mkdir(path)
    except OSError: break
    path += '/d'
print('alive')
`;

describe('the kernel of the sandbox, its processors and its files', () => {
  it('ESC-022 survives hostile system calls, or ends alone', async () => {
    const sandbox = await bench.create();
    const fuzzed = await python(sandbox, FUZZ).catch((error: unknown) => error);
    if (fuzzed instanceof Error) expect((await sandbox.ended).reason).toMatch(/^(?:oom|portal_lost|exited|pids)$/);
    else expect(fuzzed).toMatchObject({ exitCode: 0, text: expect.stringMatching(/alive\n$/) as string });
    await neighbourWorks();
    await sandbox.destroy();
  });

  it('RES-007 busy loops on more threads than it has processors leave the neighbour alone, and are ended', async () => {
    const sandbox = await bench.create({ settings: { cpus: 1 } });
    const facts = await dockerAt(bench.machine.dockerSocket).getContainer(sandbox.id).inspect();
    expect(facts.HostConfig.NanoCpus).toBe(1e9);
    const script = 'for i in 1 2 3 4; do while :; do :; done & done; wait';
    const spinning = run(sandbox, ['bash', '-c', script], { timeoutMs: 4_000 });
    for (let turn = 0; turn < 5; turn += 1) await neighbourWorks();
    expect(await spinning).toMatchObject({ timedOut: true });
    expect((await shell(sandbox, 'echo alive')).text).toBe('alive\n');
    await sandbox.destroy();
  });

  it('RES-011 a sparse file is no larger than the disk it may use', async () => {
    const limit = 256 * 2 ** 20;
    const script = (size: number): string =>
      // On one stream, since two come in any order.
      `exec 2>&1; truncate -s ${size} /workspace/sparse; echo $?; stat -c %s /workspace/sparse; rm /workspace/sparse`;
    expect((await shell(neighbour, script(limit))).text).toBe(`0\n${limit}\n`);
    for (const size of [limit + 1, 2 ** 40, 2 ** 53]) {
      const { text } = await shell(neighbour, script(size));
      // The file size limit: a signal, and nothing was made larger.
      expect(text).toMatch(/File size limit exceeded|File too large|Invalid argument/);
      expect(text).toMatch(/\n(?:153|1)\n0\n$/);
    }
    await neighbourWorks();
  });
});
