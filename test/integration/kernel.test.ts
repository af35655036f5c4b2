import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempDisposable, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { machinePaths } from '../../src/local/machine/directory.ts';
import { createKernelRecorder } from '../../src/main/kernel-client.ts';
import { endSandboxProcesses } from '../../src/sandbox/host-process.ts';
import { createSandboxes } from '../../src/sandbox/lifecycle.ts';
import { openBench, run, shell } from '../sandbox/real.ts';
import type { Bench } from '../sandbox/real.ts';

let bench: Bench;
/** Where the collector's sockets of this machine lie. */
const { kernel: kernelDir } = machinePaths();

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

type Data = Record<string, unknown>;

/** A sandbox whose record is kept in a list. */
async function recorded(change: Parameters<Bench['create']>[0] = {}) {
  const entries: AuditEntry[] = [];
  const sandbox = await bench.create({ ...change, onRecord: (entry) => entries.push(entry) });
  const ofType = (type: string): Data[] => entries.filter((entry) => entry.type === type).map(({ data }) => data ?? {});
  return { sandbox, entries, ofType };
}

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await what()); tries += 1) {
    if (tries > 600) throw new Error('it did not happen within a minute');
    await delay(100);
  }
}

const alive = (pid: number) =>
  readFile(`/proc/${pid}/stat`, 'utf8').then(
    (text) => !/\) [ZX] /.test(text),
    () => false,
  );

describe('the record of a sandbox’s processes', () => {
  it('has programs with arguments, directory, parent and exit, and the host’s own commands', async () => {
    const { sandbox, entries, ofType } = await recorded();
    await shell(sandbox, 'cd /tmp && mkdir "a b" && /bin/false; exit 7');
    await run(sandbox, ['true', 'as', 'root'], { user: 'root' });
    await sandbox.destroy();
    const starts = ofType('process.start');
    const made = starts.find((data) => data['process.executable.path'] === '/usr/bin/mkdir');
    expect(made).toMatchObject({ 'process.command_args': ['mkdir', 'a b'], cwd: '/tmp' });
    const script = starts.find((data) => JSON.stringify(data['process.command_args']).includes('exit 7'));
    expect(script).toMatchObject({ byHost: true });
    expect(script?.['process.command_args']).toEqual(['bash', '-c', 'cd /tmp && mkdir "a b" && /bin/false; exit 7']);
    expect(made?.['process.parent_pid']).toBe(script?.['process.pid']);
    expect(starts.some((data) => JSON.stringify(data['process.command_args']) === '["true","as","root"]')).toBe(true);
    const codeOf = (pid: unknown) =>
      ofType('process.exit').find((data) => data['process.pid'] === pid)?.['process.exit.code'];
    expect(codeOf(made?.['process.pid'])).toBe(0);
    expect(codeOf(script?.['process.pid'])).toBe(7);
    expect(new Set(entries.map(({ zone, source }) => `${zone} ${source ?? ''}`))).toEqual(new Set(['sandbox sandbox']));
    expect(ofType('kernel.gap')).toEqual([]);
    expect(entries.at(-1)).toMatchObject({ type: 'kernel.end', data: { complete: true, missed: 0 } });
    expect(sandbox.processRecord()).toBe('complete');
  });

  it('never has a value of an environment', async () => {
    const { sandbox, entries } = await recorded();
    const canary = 'canary-5f1c3e';
    await run(sandbox, ['bash', '-c', 'env | wc -l; /bin/true'], { env: { SECRET: canary } });
    await sandbox.destroy();
    expect(entries.length).toBeGreaterThan(5);
    expect(JSON.stringify(entries)).not.toContain(canary);
  });

  it('tells what was opened for writing and not what was read', async () => {
    const { sandbox, ofType } = await recorded();
    await shell(
      sandbox,
      'cd /tmp; for i in $(seq 300); do echo x > f$i; done; cat /etc/passwd > /dev/null; echo > /etc/no',
    );
    await sandbox.destroy();
    const opened = ofType('kernel.open').filter((data) => data['process.command'] === 'bash');
    const paths = opened.flatMap((data) => data['paths'] as string[]);
    expect(opened.reduce((sum, data) => sum + (data['count'] as number), 0)).toBe(300);
    expect(opened.length).toBeLessThan(60);
    expect(paths).toContain('/tmp/f1');
    expect(opened.reduce((sum, data) => sum + (data['refused'] as number), 0)).toBe(1);
    expect(paths).not.toContain('/etc/passwd');
  });

  it('NET-002, NET-016 tells a connection to a port that leads nowhere, and datagrams', async () => {
    const { sandbox, ofType } = await recorded();
    await shell(sandbox, 'exec 3<>/dev/tcp/1.1.1.1/25; exec 3<>/dev/udp/8.8.8.8/443; echo x >&3');
    await run(sandbox, [
      'python3',
      '-c',
      'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("9.9.9.9", 4433))',
    ]);
    await sandbox.destroy();
    expect(ofType('kernel.connect')).toContainEqual(
      expect.objectContaining({
        'process.command': 'bash',
        'network.peer.address': '1.1.1.1',
        'network.peer.port': 25,
        'network.transport': 'tcp',
        outcome: 'ECONNREFUSED',
      }),
    );
    expect(ofType('kernel.connect')).toContainEqual(
      expect.objectContaining({
        'network.peer.address': '8.8.8.8',
        'network.peer.port': 443,
        'network.transport': 'udp',
      }),
    );
    expect(ofType('kernel.socket')).toContainEqual(
      expect.objectContaining({ 'process.command': 'python3', 'network.transport': 'udp', outcome: 'ok' }),
    );
  });

  it('of two sandboxes at once is kept apart', async () => {
    const both = await Promise.all([recorded(), recorded()]);
    await Promise.all(
      both.map(({ sandbox }, index) => shell(sandbox, `for i in $(seq 30); do /bin/echo mine-${index}; done`)),
    );
    await Promise.all(both.map(({ sandbox }) => sandbox.destroy()));
    for (const [index, { entries, ofType }] of both.entries()) {
      const mine = ofType('process.start').filter(
        (data) => (data['process.command_args'] as string[])[1] === `mine-${index}`,
      );
      expect(mine.length).toBe(30);
      expect(JSON.stringify(entries)).not.toContain(`mine-${1 - index}`);
      expect(entries.at(-1)).toMatchObject({ type: 'kernel.end', data: { complete: true } });
    }
  });

  it('of two workers’ sandboxes goes to the worker that started each', async () => {
    const [first, second] = [createKernelRecorder(), createKernelRecorder()];
    const kernels = [first, second];
    const all = await Promise.all(
      [0, 1, 2, 3].map((index) => recorded({ host: hostWith(index % 2 === 0 ? first : second) })),
    );
    expect(new Set(kernels.map((kernel) => kernel.collector())).size).toBe(2);
    await Promise.all(all.map(({ sandbox }, index) => shell(sandbox, `/bin/echo mine-${index}`)));
    await Promise.all(all.map(({ sandbox }) => sandbox.destroy()));
    for (const [index, { entries }] of all.entries()) {
      expect(JSON.stringify(entries).match(/mine-\d/g)).toContain(`mine-${index}`);
      expect(new Set(JSON.stringify(entries).match(/mine-\d/g)).size).toBe(1);
    }
    await Promise.all(kernels.map((kernel) => kernel.close()));
  });

  it('of a sandbox that ended by itself has an end, and does not claim to be whole', async () => {
    const { sandbox, entries } = await recorded();
    expect(await endSandboxProcesses(sandbox.id)).toBe(1);
    await sandbox.ended;
    await sandbox.destroy();
    expect(entries.at(-1)).toMatchObject({ type: 'kernel.end', data: { complete: false } });
    expect(sandbox.processRecord()).toBe('gaps');
  });
});

describe('a collector that goes', () => {
  it('is replaced once, which the record says; when that goes too, the sandbox is ended', async () => {
    const kernel = createKernelRecorder();
    const host = createSandboxes({
      dockerSocket: bench.machine.dockerSocket,
      installation: bench.installation,
      toolboxDir: bench.machine.toolboxDir,
      kernel,
    });
    const { sandbox, ofType } = await recorded({ host });
    const first = kernel.collector();
    if (first === undefined) throw new Error('no collector');
    process.kill(first, 'SIGKILL');
    await until(() => kernel.collector() !== undefined && kernel.collector() !== first);
    await until(async () => {
      await run(sandbox, ['/bin/sh', '-c', '/bin/echo again']);
      return JSON.stringify(ofType('process.start')).includes('again');
    });
    await until(() => ofType('kernel.gap').length > 0);
    expect(ofType('kernel.gap')).toContainEqual(expect.objectContaining({ reason: 'collector' }));
    expect(sandbox.processRecord()).toBe('gaps');
    const second = kernel.collector();
    if (second === undefined) throw new Error('no second collector');
    process.kill(second, 'SIGKILL');
    expect(await sandbox.ended).toMatchObject({ reason: 'record_lost' });
    await sandbox.destroy();
    await kernel.close();
  });

  it('is gone with its worker, even when that is killed', async () => {
    const module = path.join(import.meta.dirname, '../../src/main/kernel-link.ts');
    const script = `const { openLink } = await import(${JSON.stringify(module)});
      const link = await openLink({ endpoint: ${JSON.stringify(path.join(kernelDir, 'collector.sock'))}, user: { uid: 62999, gid: 62999 }, timeoutMs: 60000, onMessage: () => {}, onLastWords: () => {} });
      console.log(JSON.stringify([link.pid, link.socket])); setInterval(() => {}, 1000);`;
    const worker = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [chunk] = (await once(worker.stdout, 'data')) as [Buffer];
    const [collector, socket] = JSON.parse(chunk.toString('utf8')) as [number, string];
    expect(await alive(collector)).toBe(true);
    const status = await readFile(`/proc/${collector}/status`, 'utf8');
    expect(/^Uid:\t(.*)$/m.exec(status)?.[1]).toBe('62999\t62999\t62999\t62999');
    expect(await readFile(`/proc/${collector}/environ`, 'latin1')).toBe(
      'PATH=/usr/local/bin:/usr/bin:/bin\0LC_ALL=C\0TZ=UTC\0',
    );
    worker.kill('SIGKILL');
    await until(async () => !(await alive(collector)));
    // Its socket is swept by the next one, which leaves none either.
    const sockets = (await readdir(kernelDir)).filter((name) => name.startsWith(`k${process.pid}-`)).length;
    const kernel = createKernelRecorder();
    const { sandbox } = await recorded({ host: hostWith(kernel) });
    expect(await readdir(kernelDir)).not.toContain(path.basename(socket));
    await sandbox.destroy();
    const last = kernel.collector() ?? 0;
    await kernel.close();
    expect(await alive(last)).toBe(false);
    expect((await readdir(kernelDir)).filter((name) => name.startsWith(`k${process.pid}-`)).length).toBe(sockets);
  });

  it('knows of a sandbox before that starts, however busy it is', async () => {
    const kernel = createKernelRecorder();
    let starts = 0;
    const recording = (): Promise<unknown> =>
      kernel.record({
        container: 'a'.repeat(64),
        endpoint: path.join(kernelDir, 'collector.sock'),
        runsc: undefined,
        start: () => {
          starts += 1;
          return Promise.reject(new Error('not today'));
        },
        onLine: () => undefined,
      });
    await expect(recording()).rejects.toThrow('not today');
    const collector = kernel.collector();
    if (collector === undefined) throw new Error('no collector');
    process.kill(collector, 'SIGSTOP');
    const second = expect(recording()).rejects.toThrow('not today');
    await delay(1_000);
    expect(starts).toBe(1);
    process.kill(collector, 'SIGCONT');
    await second;
    expect(starts).toBe(2);
    await kernel.close();
  });

  it('cannot be had: no sandbox, and nothing of one', async () => {
    await bench.host.sweep({ remove: () => Promise.resolve(true) });
    await using dir = await mkdtempDisposable(path.join(tmpdir(), 'cofferdam-no-collector-'));
    const script = path.join(dir.path, 'collector.mjs');
    await writeFile(script, 'console.error("no library"); process.exit(3);');
    const kernel = createKernelRecorder({ script });
    await expect(recorded({ host: hostWith(kernel) })).rejects.toMatchObject({
      code: 'sandbox',
      message: expect.stringContaining('no library') as string,
    });
    expect((await bench.host.sweep({ remove: () => Promise.resolve(true) })).removed).toEqual([]);
    await kernel.close();
  });
});

describe('a runtime that reports nothing', () => {
  const runtime = 'cofferdam-unrecorded';

  it('is refused', async () => {
    await expect(bench.create({ settings: { runtime } })).rejects.toMatchObject({ code: 'runtime_missing' });
  });

  it('is used when the operator’s policy says so, and the result shows it', async () => {
    const { sandbox, entries } = await recorded({ settings: { runtime, processRecord: 'optional' } });
    expect((await shell(sandbox, 'echo hello')).text).toBe('hello\n');
    await sandbox.destroy();
    expect(sandbox.processRecord()).toBe('none');
    expect(entries).toEqual([]);
  });
});

function hostWith(kernel: ReturnType<typeof createKernelRecorder>) {
  const { dockerSocket, toolboxDir } = bench.machine;
  return createSandboxes({ dockerSocket, installation: bench.installation, toolboxDir, kernel });
}
