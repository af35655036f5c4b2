import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ensureMachineDirectory, machinePaths } from '../../src/local/machine/directory.ts';
import type { MachinePaths } from '../../src/local/machine/directory.ts';
import { dockerAt } from '../../src/local/machine/docker.ts';
import { answers, enginePid, startEngine, stopEngine } from '../../src/local/machine/engine.ts';
import { findExistingDocker } from '../../src/local/machine/existing.ts';
import { identify, isAlive } from '../../src/local/machine/identity.ts';
import { prepareMachine } from '../../src/local/machine/machine.ts';
import type { Machine } from '../../src/local/machine/machine.ts';
import { ensurePrivateDocker, leasePrivateDocker } from '../../src/local/machine/private-docker.ts';
import { probeRuntime } from '../../src/local/machine/probe.ts';
import { mustRun } from '../../src/local/machine/process.ts';
import type { MachineProgress } from '../../src/local/machine/progress.ts';
import { startRedis } from '../../src/local/machine/redis.ts';
import { findRunsc } from '../../src/local/machine/runsc.ts';
import { writeKernelSession } from '../../src/local/machine/runtime-entry.ts';

const RUNTIME = 'cofferdam';
/** Its like, which starts without a collector. */
const UNRECORDED = 'cofferdam-unrecorded';
const note = (): void => undefined;
const log: MachineProgress[] = [];
let machine: Machine;

beforeAll(async () => {
  machine = await prepareMachine({
    needs: { redis: true, agents: ['opencode'] },
    onProgress: (event) => log.push(event),
  });
});
afterAll(() => machine.release());

/** Command lines of all processes that name a directory. */
async function processesNaming(directory: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.filter((line) => line.includes(directory)).map((line) => line.replaceAll('\0', ' '));
}

async function mountsUnder(directory: string): Promise<string[]> {
  return (await readFile('/proc/mounts', 'utf8')).split('\n').filter((line) => line.includes(directory));
}

/** Runs a command in a container of the default image, or another, and gives its output. */
async function inContainer(options: {
  socket?: string;
  image?: string;
  command: string[];
  user?: string;
  binds?: string[];
}): Promise<string> {
  const container = await dockerAt(options.socket ?? machine.dockerSocket).createContainer({
    Image: options.image ?? machine.image.ref,
    Cmd: options.command,
    User: options.user ?? '1000:1000',
    HostConfig: { Runtime: UNRECORDED, NetworkMode: 'none', Binds: options.binds ?? [] },
  });
  try {
    await container.start();
    const { StatusCode } = (await container.wait()) as { StatusCode: number };
    const output = (await container.logs({ stdout: true, stderr: true, follow: false })).toString('utf8');
    // Each chunk of a container without a terminal has a header of eight bytes, which begins with 1 or 2 and three zeros.
    // eslint-disable-next-line no-control-regex
    return `${output.replace(/[\x01\x02]\0{3}[\s\S]{4}/g, '')}exit ${StatusCode}`;
  } finally {
    await container.remove({ force: true });
  }
}

describe('a machine that was prepared before', () => {
  it('is found as it is, with nothing built, fetched or installed', async () => {
    const events: MachineProgress[] = [];
    const second = await prepareMachine({
      needs: { redis: true, agents: ['opencode'] },
      onProgress: (event) => events.push(event),
    });
    await second.release();
    expect(second.image).toEqual(machine.image);
    expect(second.toolboxDir).toBe(machine.toolboxDir);
    expect(second.versions).toEqual(machine.versions);
    // Tests beside this one prepare it, too.
    const notes = events.flatMap((event) => (event.kind === 'note' ? [event.text] : []));
    expect(notes.filter((text) => text !== 'waiting for another set-up on this machine')).toEqual([]);
    expect(await answers(machine.dockerSocket)).toBe(true);
  });

  it('names the versions of its parts', () => {
    expect(machine.versions.node).toMatch(/^v24\./);
    expect(machine.versions.git).toMatch(/^\d+\.\d+/);
    expect(machine.versions.docker).toMatch(/^\d+\./);
    expect(machine.versions.runsc).toMatch(/^(20\d{6}|unknown)/);
  });
});

describe('the sandbox image', () => {
  it('has the tools that people expect, under gVisor, as its own user', async () => {
    const tools =
      'bash --version; curl --version; git --version; rg --version; python --version; pip --version; python -m venv /tmp/v; gcc --version; g++ --version; make --version; npm --version; ps --version';
    const script = `set -e; dmesg | head -1; id; node --version; ${tools
      .split('; ')
      .map((tool) => `${tool} > /dev/null`)
      .join('; ')}; touch /workspace/x ~/x; pwd`;
    const output = await inContainer({ command: ['bash', '-c', script] });
    expect(output).toContain('Starting gVisor');
    expect(output).toContain('uid=1000(agent) gid=1000(agent)');
    expect(output).toContain('v24.');
    expect(output).toMatch(/\/workspace\nexit 0$/);
  });

  it('compiles C and C++', async () => {
    const script =
      'echo "#include <iostream>\nint main(){std::cout << 42 << std::endl;}" > a.cc && g++ a.cc -o a && ./a';
    expect(await inContainer({ command: ['bash', '-c', script] })).toBe('42\nexit 0');
  });

  it('holds nothing of this host: no certificate, no proxy, no program that gives rights', async () => {
    const script =
      'ls /etc/apt/apt.conf.d /tmp; find / -xdev -type f -perm /6000 2>/dev/null; ls /usr/local/share/ca-certificates';
    const output = await inContainer({ command: ['bash', '-c', script], user: '0:0' });
    expect(output).not.toMatch(/95build|99mmdebstrap|build|ca\.pem|\/bin\//);
    const { Config } = await dockerAt(machine.dockerSocket).getImage(machine.image.ref).inspect();
    expect([Config.Entrypoint, Config.Volumes]).toEqual([null, null]);
  });
});

describe('the toolbox', () => {
  const image = 'cofferdam/test-empty:latest';
  const binds = () => [`${machine.toolboxDir}:/opt/cofferdam:ro`];

  /** An image with nothing but a file that would load a library into every process. */
  beforeAll(async () => {
    const root = await mkdtemp('/var/tmp/cofferdam-t-');
    await mkdir(path.join(root, 'etc'));
    await writeFile(path.join(root, 'etc/ld.so.preload'), '/evil.so\n');
    const tar = spawn('tar', ['-C', root, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const stream = await dockerAt(machine.dockerSocket).importImage(tar.stdout, {
      repo: 'cofferdam/test-empty',
      tag: 'latest',
    });
    stream.resume();
    await once(stream, 'end');
    await rm(root, { recursive: true, force: true });
  });
  afterAll(() => dockerAt(machine.dockerSocket).getImage(image).remove({ force: true }));

  it('brings its own Node, init and busybox into an image that has nothing', async () => {
    const script = 'console.log(process.version, process.execPath, process.ppid)';
    const node = ['/opt/cofferdam/bin/init', '--', '/opt/cofferdam/bin/node', '-e', script];
    expect(await inContainer({ image, command: node, binds: binds() })).toBe(
      `${machine.versions.node} /opt/cofferdam/bin/node 1\nexit 0`,
    );
    const busybox = ['/opt/cofferdam/bin/busybox', 'sh', '-c', 'echo it runs'];
    expect(await inContainer({ image, command: busybox, binds: binds() })).toBe('it runs\nexit 0');
  });

  it('uses no library of the image, and not its preload file (ESC-013)', async () => {
    const script =
      'console.log([...new Set(require("fs").readFileSync("/proc/self/maps","utf8").match(/\\/\\S+/g))].join("\\n"))';
    const output = await inContainer({ command: ['/opt/cofferdam/bin/node', '-e', script], binds: binds() });
    const files = output.split('\n').filter((line) => line.startsWith('/'));
    expect(files).toContain('/opt/cofferdam/lib/libc.so.6');
    expect(files.filter((file) => !file.startsWith('/opt/cofferdam/'))).toEqual([]);
    // The loader complains on standard error about a preload file that it reads.
    const preload = await inContainer({ image, command: ['/opt/cofferdam/bin/node', '-e', ''], binds: binds() });
    expect(preload).toBe('exit 0');
  });

  it('has the agent that was asked for, and is for everybody to read', async () => {
    const opencode = ['/opt/cofferdam/agents/bin/opencode', '--version'];
    expect(await inContainer({ command: opencode, binds: binds() })).toMatch(/^\d+\.\d+\.\d+\nexit 0$/);
    const { stdout } = await mustRun([
      'find',
      machine.toolboxDir,
      '-perm',
      '/6022',
      '-not',
      '-type',
      'l',
      '-o',
      '-type',
      'f',
      '-not',
      '-perm',
      '-444',
    ]);
    expect(stdout).toBe('');
  });
});

describe('a private Docker', () => {
  let paths: MachinePaths;
  const options = () => ({ paths, runtime: RUNTIME, note });

  beforeAll(async () => {
    paths = machinePaths({ COFFERDAM_MACHINE_DIR: await mkdtemp('/var/tmp/cofferdam-t-') });
    await ensureMachineDirectory(paths);
    await mkdir(paths.work);
    // The gVisor that this machine already has: fetching it again would test Debian's mirror.
    const runsc = await findRunsc(machinePaths());
    if (runsc === undefined) throw new Error('no runsc on this machine after its set-up');
    await mkdir(paths.runsc);
    await cp(runsc.path, path.join(paths.runsc, 'runsc'));
  });
  afterEach(() => stopEngine({ directory: paths.engine, socket: paths.engineSocket }));
  afterAll(() => rm(paths.root, { recursive: true, force: true }));

  it('starts, proves gVisor, stops with its last lease, and leaves nothing running', async () => {
    const [first, second] = [await leasePrivateDocker(paths), await leasePrivateDocker(paths)];
    const { socket, runsc } = await ensurePrivateDocker(options());
    expect(runsc).toMatch(/^20\d{6}/);
    const pid = await enginePid(paths.engine);
    await ensurePrivateDocker(options());
    expect(await enginePid(paths.engine)).toBe(pid);
    // One that is slower than two questions wait for their answers is not taken for dead: others' sandboxes may run in it.
    if (pid === undefined) throw new Error('the daemon has no pid');
    process.kill(pid, 'SIGSTOP');
    const slow = ensurePrivateDocker(options());
    await delay(8_000);
    process.kill(pid, 'SIGCONT');
    await slow;
    expect(await enginePid(paths.engine)).toBe(pid);
    await first();
    expect(await answers(socket)).toBe(true);
    await second();
    expect(await answers(socket)).toBe(false);
    expect(await processesNaming(paths.engine)).toEqual([]);
    expect(await mountsUnder(paths.engine)).toEqual([]);
    expect(await readdir(paths.leases)).toEqual([]);
  });

  it('is swept and comes back when it was killed with a sandbox running', async () => {
    const { socket } = await ensurePrivateDocker(options());
    const container = await dockerAt(socket).createContainer({
      Image: 'cofferdam/probe:latest',
      Cmd: ['/opt/cofferdam/bin/busybox', 'sleep', '600'],
      HostConfig: { Runtime: UNRECORDED, NetworkMode: 'none', Binds: [`${machine.toolboxDir}:/opt/cofferdam:ro`] },
    });
    await container.start();
    const pid = await enginePid(paths.engine);
    if (pid === undefined) throw new Error('the daemon has no pid');
    const daemon = await identify(pid);
    process.kill(pid, 'SIGKILL');
    while (daemon !== undefined && (await isAlive(daemon))) await delay(50);
    expect((await processesNaming(`${paths.engine}/exec/`)).some((line) => line.includes('runsc'))).toBe(true);
    await ensurePrivateDocker(options());
    expect((await processesNaming(`${paths.engine}/exec/`)).filter((line) => line.includes('runsc-sandbox'))).toEqual(
      [],
    );
    const { State } = await dockerAt(socket).getContainer(container.id).inspect();
    expect(State.Running).toBe(false);
    await dockerAt(socket).getContainer(container.id).remove();
  });

  it('that was started with other arguments is started anew, but not while somebody else uses it', async () => {
    const dockerd = (await mustRun(['sh', '-c', 'PATH=$PATH:/usr/sbin:/sbin command -v dockerd'])).stdout.trim();
    const runsc = path.join(paths.runsc, 'runsc');
    const earlier = { directory: paths.engine, socket: paths.engineSocket, dockerd, runsc, runtime: RUNTIME };
    await startEngine({ ...earlier, session: '/earlier/session.json', uid: 0, gid: 0 });
    const pid = await enginePid(paths.engine);
    const [ours, theirs] = [await leasePrivateDocker(paths), await leasePrivateDocker(paths)];
    await expect(ensurePrivateDocker(options())).rejects.toMatchObject({ code: 'docker_unavailable' });
    expect(await enginePid(paths.engine)).toBe(pid);
    await theirs();
    await ensurePrivateDocker(options());
    expect(await enginePid(paths.engine)).not.toBe(pid);
    await ours();
  });

  it('is refused when what is registered as its runtime is not gVisor', async () => {
    // runc behind the flags of runsc: registered under the right name, and wrong.
    const impostor = path.join(paths.root, 'impostor');
    const script =
      '#!/bin/sh\nfor a in "$@"; do shift; case $a in --platform=*|--network=*|--host-uds=*|--pod-init-config=*) ;; *) set -- "$@" "$a";; esac; done\nexec runc "$@"\n';
    await writeFile(impostor, script, { mode: 0o755 });
    const session = await writeKernelSession(paths.kernel);
    const socket = paths.engineSocket;
    const dockerd = (await mustRun(['sh', '-c', 'PATH=$PATH:/usr/sbin:/sbin command -v dockerd'])).stdout.trim();
    await startEngine({
      directory: paths.engine,
      socket,
      dockerd,
      runsc: impostor,
      runtime: RUNTIME,
      session,
      uid: 0,
      gid: 0,
    });
    const probe = { docker: dockerAt(socket), work: paths.work };
    expect(await probeRuntime({ ...probe, runtime: RUNTIME })).toEqual({
      usable: false,
      why: 'a container of its runtime cofferdam does not run under gVisor',
    });
    expect(await probeRuntime({ ...probe, runtime: 'runc' })).toMatchObject({ usable: false });
    expect(await probeRuntime({ ...probe, runtime: 'other' })).toEqual({
      usable: false,
      why: 'it has no runtime named other',
    });
  });
});

describe('a Docker that was here before', () => {
  const look = async (dockerHost: string, runtime = RUNTIME) => {
    const notes: string[] = [];
    const work = await mkdtemp('/var/tmp/cofferdam-t-');
    const result = await findExistingDocker({ dockerHost, runtime, work, note: (text) => notes.push(text) });
    await rm(work, { recursive: true });
    return { ...result, notes };
  };

  it('is used when its runtime is gVisor', async () => {
    const { found, notes } = await look(`unix://${machine.dockerSocket}`);
    expect(found).toEqual({ socket: machine.dockerSocket, runsc: machine.versions.runsc });
    expect(notes).toEqual([]);
  });

  it.each([
    ['tcp://127.0.0.1:2375', RUNTIME, /not a Unix socket/],
    ['unix:///nowhere/docker.sock', RUNTIME, /not there/],
    ['ours', 'other', /has no runtime named other/],
  ])('is passed over with the reason: %s', async (address, runtime, reason) => {
    const { found, passedOver, notes } = await look(
      address === 'ours' ? `unix://${machine.dockerSocket}` : address,
      runtime,
    );
    expect(found).toBeUndefined();
    expect(passedOver).toHaveLength(1);
    expect(passedOver[0]).toMatch(reason);
    expect(notes[0]).toContain('not used');
  });
});

describe('a private Redis', () => {
  it('listens on one socket for its user only, and keeps what it was asked to keep', async () => {
    const directory = await mkdtemp('/var/tmp/cofferdam-t-');
    try {
      const redis = await startRedis({ directory, appendOnly: true });
      const cli = (...args: string[]) => mustRun(['redis-cli', '-s', redis.url, ...args]);
      expect((await cli('config', 'get', 'port')).stdout).toBe('port\n0\n');
      expect((await mustRun(['stat', '-c', '%a', directory, redis.url])).stdout).toBe('700\n600\n');
      await cli('set', 'kept', 'yes');
      await redis.stop();
      expect(await identify(redis.pid)).toBeUndefined();
      const again = await startRedis({ directory, appendOnly: true });
      expect((await cli('get', 'kept')).stdout).toBe('yes\n');
      // A second start in the same directory replaces the first, so that two never write the same file.
      const third = await startRedis({ directory, appendOnly: true });
      expect(await identify(again.pid)).toBeUndefined();
      await third.stop();
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  it('ends with the process that started it, even when that is killed', async () => {
    const directory = await mkdtemp('/var/tmp/cofferdam-t-');
    const module = path.join(import.meta.dirname, '../../src/local/machine/redis.ts');
    const script = `const { startRedis } = await import(${JSON.stringify(module)}); const r = await startRedis({ directory: ${JSON.stringify(directory)} }); console.log(r.pid); setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [chunk] = (await once(parent.stdout, 'data')) as [Buffer];
    const redis = await identify(Number(chunk.toString('utf8')));
    if (redis === undefined) throw new Error('no Redis');
    parent.kill('SIGKILL');
    while (await isAlive(redis)) await delay(50);
    await rm(directory, { recursive: true, force: true });
  });

  it('says what is wrong when it cannot start', async () => {
    await expect(startRedis({ directory: `/var/tmp/${'x'.repeat(120)}` })).rejects.toMatchObject({ code: 'config' });
    await expect(access(`/var/tmp/${'x'.repeat(120)}`)).rejects.toThrow();
  });
});
