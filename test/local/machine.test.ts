import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { buildStep } from '../../src/local/machine/build.ts';
import { clearWork, ensureMachineDirectory, machinePaths } from '../../src/local/machine/directory.ts';
import { socketOf } from '../../src/local/machine/docker.ts';
import { engineConfig } from '../../src/local/machine/engine.ts';
import { candidateSockets } from '../../src/local/machine/existing.ts';
import { isPrivateHost } from '../../src/local/machine/host.ts';
import { identify, isAlive } from '../../src/local/machine/identity.ts';
import { dropKeptLease, dropLease, liveLeases, takeKeptLease, takeLease } from '../../src/local/machine/lease.ts';
import { lockFile } from '../../src/local/machine/lock.ts';
import { installLocked } from '../../src/local/machine/npm.ts';
import { mustRun, runCommand } from '../../src/local/machine/process.ts';
import { progressLines, step } from '../../src/local/machine/progress.ts';
import { allOrNone } from '../../src/local/machine/together.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'cofferdam-machine-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** A process that waits, and its pid. */
function sleeper(): { pid: number; end: () => Promise<void> } {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const closed = once(child, 'close');
  const end = async () => {
    child.kill('SIGKILL');
    await closed;
  };
  return { pid: child.pid ?? 0, end };
}

describe('the machine directory', () => {
  it('is where the environment says', () => {
    expect(machinePaths({ COFFERDAM_MACHINE_DIR: '/srv/c' }).engineSocket).toBe('/srv/c/docker/docker.sock');
    expect(machinePaths({}).root).toBe(`/var/tmp/cofferdam-${process.getuid?.() ?? 0}`);
  });

  it.each([
    ['relative/place', /must be an absolute path/],
    [`/${'x'.repeat(80)}`, /too long for Unix sockets/],
  ])('refuses %s', (root, message) => {
    expect(() => machinePaths({ COFFERDAM_MACHINE_DIR: root })).toThrow(message);
  });

  it('is made for its owner only, and refused when others can change it or it is a link', async () => {
    const paths = machinePaths({ COFFERDAM_MACHINE_DIR: path.join(directory, 'm') });
    await ensureMachineDirectory(paths);
    await ensureMachineDirectory(paths);
    await chmod(paths.root, 0o777);
    await expect(ensureMachineDirectory(paths)).rejects.toMatchObject({ code: 'config' });
    const link = machinePaths({ COFFERDAM_MACHINE_DIR: path.join(directory, 'l') });
    await mkdir(path.join(directory, 'elsewhere'));
    await symlink(path.join(directory, 'elsewhere'), link.root);
    await expect(ensureMachineDirectory(link)).rejects.toMatchObject({ code: 'config' });
  });
});

describe('the directory for work', () => {
  it('loses what processes that are no more have left, and nothing of one that still works there', async () => {
    const [gone, other] = [sleeper(), sleeper()];
    await gone.end();
    const work = path.join(directory, 'work');
    await clearWork(work);
    for (const name of [`image-${gone.pid}`, `product-${other.pid}`, `probe-${process.pid}`, 'unnamed']) {
      await mkdir(path.join(work, name));
    }
    await clearWork(work);
    expect(await readdir(work)).toEqual([`product-${other.pid}`]);
    await other.end();
  });
});

describe('identity of a process', () => {
  it('ends with the process, and is not that of another one with the same pid', async () => {
    const process = sleeper();
    const known = await identify(process.pid);
    if (known === undefined) throw new Error('no such process');
    expect(await isAlive(known)).toBe(true);
    expect(await isAlive({ ...known, startTime: '1' })).toBe(false);
    expect(await isAlive({ ...known, bootId: 'another' })).toBe(false);
    await process.end();
    expect(await isAlive(known)).toBe(false);
  });
});

describe('leases', () => {
  it('count while their process lives', async () => {
    const other = sleeper();
    const mine = await takeLease(directory);
    const theirs = await takeLease(directory, other.pid);
    expect((await liveLeases(directory)).toSorted()).toEqual([mine, theirs].toSorted());
    await other.end();
    expect(await liveLeases(directory)).toEqual([mine]);
    expect(await readdir(directory)).toEqual([mine]);
    await dropLease(directory, mine);
    expect(await liveLeases(directory)).toEqual([]);
  });

  it('stay after the process when somebody said so, until they are dropped', async () => {
    await takeKeptLease(directory);
    expect(await liveLeases(directory)).toEqual(['kept.json']);
    await dropKeptLease(directory);
    expect(await liveLeases(directory)).toEqual([]);
  });

  it('do not count when they are not readable as one', async () => {
    await writeFile(path.join(directory, 'broken.json'), '{"kind":"process"}');
    await writeFile(path.join(directory, 'cut.json'), '{');
    expect(await liveLeases(directory)).toEqual([]);
    expect(await liveLeases(path.join(directory, 'nowhere'))).toEqual([]);
  });
});

describe('the lock', () => {
  it('lets one in at a time', async () => {
    const file = path.join(directory, 'lock');
    const inside: string[] = [];
    const work = async (name: string) => {
      const unlock = await lockFile(file);
      inside.push(`${name} in`);
      await new Promise((resolve) => setTimeout(resolve, 50));
      inside.push(`${name} out`);
      await unlock();
    };
    await Promise.all([work('a'), work('b'), work('c')]);
    for (let at = 0; at < inside.length; at += 2) expect(inside[at + 1]).toBe(inside[at]?.replace('in', 'out'));
    expect(inside).toHaveLength(6);
  });

  it('is free again when its holder was killed', async () => {
    const file = path.join(directory, 'lock');
    const module = path.join(import.meta.dirname, '../../src/local/machine/lock.ts');
    const script = `const { lockFile } = await import(${JSON.stringify(module)}); await lockFile(${JSON.stringify(file)}); console.log('held'); setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    holder.kill('SIGKILL');
    const unlock = await lockFile(file);
    await unlock();
  });

  it('stops waiting when it is told to', async () => {
    const file = path.join(directory, 'lock');
    const unlock = await lockFile(file);
    const controller = new AbortController();
    const waiting = lockFile(file, { onWait: () => controller.abort(), signal: controller.signal });
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    await unlock();
  });

  it('says so when it cannot be had', async () => {
    await expect(lockFile(path.join(directory, 'no/such/place'))).rejects.toThrow(/cannot lock/);
  });
});

describe('commands', () => {
  it('give exit code and outputs, and an error only where one is asked for', async () => {
    const argv = ['sh', '-c', 'echo out; echo err >&2; exit 3'];
    expect(await runCommand(argv)).toEqual({ exitCode: 3, stdout: 'out\n', stderr: 'err\n' });
    await expect(mustRun(argv)).rejects.toThrow(/exit code 3:\nerr/);
    await expect(runCommand(['/no/such/program'])).rejects.toMatchObject({ code: 'internal' });
    await expect(runCommand(['sleep', '60'], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'cancelled',
    });
    await expect(runCommand(['sleep', '60'], { timeoutMs: 10 })).rejects.toThrow(/was stopped before it ended/);
  });
});

describe('progress', () => {
  it('of an image names the steps that take time, by what they do', () => {
    expect(buildStep('Step 4/11 : RUN set -eu;     if [ -s /tmp/build/apt.conf ]')).toBe('step 4 of 11: installing');
    expect(buildStep('Step 6/11 : COPY --from=system / /')).toBe('step 6 of 11: copying');
    for (const quick of ['Step 9/11 : WORKDIR /workspace', ' ---> 4f7f3d026248', 'Step 1/2 : RUNNING']) {
      expect(buildStep(quick)).toBeUndefined();
    }
  });

  it('is a line for each step that ends, with notes between', async () => {
    const lines: string[] = [];
    const value = await step(
      progressLines((line) => lines.push(line)),
      'image',
      (note) => {
        note('building');
        return Promise.resolve({ value: 7, text: 'built' });
      },
    );
    expect(value).toBe(7);
    expect(lines.map((line) => line.replace(/\d+\.\d/, 'N'))).toEqual(['  image: building', '  image: built (N s)']);
  });
});

describe('packages of npm', () => {
  it('that cannot be fetched are an error with npm’s reason, and where to look', async () => {
    vi.stubEnv('npm_config_registry', 'http://127.0.0.1:9');
    vi.stubEnv('npm_config_fetch_retries', '0');
    vi.stubEnv('npm_config_cache', path.join(directory, 'cache'));
    const manifest = path.join(import.meta.dirname, '../../src/sandbox/image');
    const target = path.join(directory, 'target');
    await mkdir(target);
    await expect(installLocked({ manifest, target })).rejects.toMatchObject({
      code: 'docker_unavailable',
      message: expect.stringMatching(/ECONNREFUSED[^]*npm config get registry/) as string,
    });
    vi.unstubAllEnvs();
  });
});

describe('several things at the same time', () => {
  it('gives what each gives, in their order', async () => {
    expect(await allOrNone([() => Promise.resolve(1), () => Promise.resolve('two')])).toEqual([1, 'two']);
  });

  it('stops the others when one fails, waits for them, and fails with what came first', async () => {
    const ends: string[] = [];
    const untilStopped = async (signal: AbortSignal): Promise<never> => {
      await once(signal, 'abort');
      ends.push('stopped');
      throw new Error('was stopped');
    };
    await expect(allOrNone([untilStopped, () => Promise.reject(new Error('the first'))])).rejects.toThrow('the first');
    expect(ends).toEqual(['stopped']);
    const stop = new AbortController();
    const both = allOrNone([untilStopped, untilStopped], stop.signal);
    stop.abort();
    await expect(both).rejects.toThrow('was stopped');
    expect(ends).toHaveLength(3);
  });
});

describe('addresses', () => {
  it.each([
    ['127.0.0.1', true],
    ['10.1.2.3', true],
    ['100.64.0.1', true],
    ['[::1]', true],
    ['[::ffff:192.168.0.1]', true],
    ['1.1.1.1', false],
    ['[2606:4700:4700::1111]', false],
  ])('%s is private: %s', async (host, expected) => {
    expect(await isPrivateHost(host)).toBe(expected);
  });

  it('of Docker are what was set, or the usual place, and must be sockets of this machine', () => {
    expect(candidateSockets(undefined)).toEqual(['unix:///var/run/docker.sock']);
    expect(candidateSockets('')).toEqual(['unix:///var/run/docker.sock']);
    expect(candidateSockets('tcp://10.0.0.1:2375')).toEqual(['tcp://10.0.0.1:2375']);
    expect(socketOf('unix:///run/d.sock')).toBe('/run/d.sock');
    expect(socketOf('tcp://10.0.0.1:2375')).toBeUndefined();
  });
});

describe('the private Docker', () => {
  it('has no bridge, no firewall rules, and gVisor without a network as its runtime', () => {
    const options = {
      directory: '/d',
      socket: '/d/s',
      dockerd: '/bin/dockerd',
      runsc: '/r/runsc',
      runtime: 'cofferdam',
      session: '/k/session.json',
      uid: 0,
      gid: 5,
    };
    expect(engineConfig(options)).toMatchObject({
      'data-root': '/d/data',
      'exec-root': '/d/exec',
      hosts: ['unix:///d/s'],
      group: '5',
      bridge: 'none',
      iptables: false,
      'ip-forward': false,
      runtimes: {
        cofferdam: {
          path: '/r/runsc',
          runtimeArgs: ['--platform=systrap', '--network=none', '--host-uds=open', '--pod-init-config=/k/session.json'],
        },
      },
    });
  });
});
