import { spawn } from 'node:child_process';
import { access, chmod, mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { CofferdamError } from '../../domain/errors.ts';
import { commandLine, identify } from './identity.ts';
import { mustRun, runCommand } from './process.ts';
import { runtimeEntries } from './runtime-entry.ts';

/**
 * A private dockerd without systemd, bridge or firewall rules, whose one extra runtime is gVisor. Everything here needs root.
 * Its state directory is used for nothing else: the sweep ends every process whose arguments name the `exec` directory in it.
 */
export interface EngineOptions {
  directory: string;
  socket: string;
  dockerd: string;
  runsc: string;
  /** Name of the runtime entry. */
  runtime: string;
  /** The file that tells sandboxes' kernels what to report. */
  session: string;
  /** Owner of the directory and group of the socket: the user that set it up. */
  uid: number;
  gid: number;
}

/** The daemon's configuration file. */
export function engineConfig(options: EngineOptions): Record<string, unknown> {
  return {
    'data-root': path.join(options.directory, 'data'),
    'exec-root': path.join(options.directory, 'exec'),
    pidfile: path.join(options.directory, 'docker.pid'),
    hosts: [`unix://${options.socket}`],
    group: String(options.gid),
    bridge: 'none',
    iptables: false,
    'ip-forward': false,
    'ip-masq': false,
    'live-restore': false,
    'shutdown-timeout': 5,
    'log-driver': 'json-file',
    'log-opts': { 'max-size': '10m', 'max-file': '2' },
    runtimes: runtimeEntries(options),
  };
}

/** The pid of the running daemon that was started with this directory's configuration; undefined when there is none. */
export async function enginePid(directory: string): Promise<number | undefined> {
  const text = await readFile(path.join(directory, 'docker.pid'), 'utf8').catch(() => '');
  const pid = /^\d+$/.test(text.trim()) ? Number(text) : undefined;
  if (pid === undefined || (await identify(pid)) === undefined) return undefined;
  return (await commandLine(pid)).includes(path.join(directory, 'daemon.json')) ? pid : undefined;
}

/** How long a daemon that is kept from the processors by others may take for an answer, and for its end after KILL. */
const PATIENCE_MS = 60_000;

/** Whether a daemon answers on the socket within three seconds. */
export async function answers(socket: string): Promise<boolean> {
  try {
    await new Docker({ socketPath: socket, timeout: 3000 }).ping();
    return true;
  } catch {
    return false;
  }
}

/** Whether this directory's daemon runs and answers. One that is only slow is waited for: whoever takes it for dead ends the sandboxes of all. */
export async function engineAnswers({ directory, socket }: { directory: string; socket: string }): Promise<boolean> {
  const until = performance.now() + PATIENCE_MS;
  while ((await enginePid(directory)) !== undefined) {
    if (await answers(socket)) return true;
    if (performance.now() > until) return false;
    await sleep(200);
  }
  return false;
}

/**
 * Starts the daemon and waits until it answers; a daemon that already answers is left alone, what a killed one left is swept.
 * Preconditions: root; the caller holds the machine's lock. Errors: `docker_unavailable` with the end of the daemon's log.
 */
export async function startEngine(options: EngineOptions): Promise<void> {
  const { directory, socket } = options;
  if (await engineAnswers({ directory, socket })) return;
  if ((await enginePid(directory)) !== undefined) await stopEngine({ directory, socket });
  await sweepEngine({ directory, socket });
  await mkdir(directory, { recursive: true });
  await chmod(directory, 0o711);
  const config = path.join(directory, 'daemon.json');
  await writeFile(config, JSON.stringify(engineConfig(options), null, 2));
  const log = path.join(directory, 'dockerd.log');
  const output = await open(log, 'w');
  const [file, ...args] = [...(await mountNamespace()), options.dockerd, '--config-file', config];
  const child = spawn(file, args, { detached: true, stdio: ['ignore', output.fd, output.fd], cwd: '/' });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  child.unref();
  await output.close();
  try {
    await untilItAnswers(socket, ended);
  } catch (error) {
    if (child.pid !== undefined) await terminate(child.pid);
    await sweepEngine({ directory, socket });
    const tail = (await readFile(log, 'utf8').catch(() => '')).trim().split('\n').slice(-6).join('\n');
    throw new CofferdamError(
      'docker_unavailable',
      'local.startEngine',
      `dockerd did not start (log: ${log}); its last words:\n${tail}`,
      error,
    );
  }
}

/** Polls for a minute, or until the process ended. */
async function untilItAnswers(socket: string, ended: Promise<void>): Promise<void> {
  const state = { over: false };
  void ended.then(() => (state.over = true));
  for (let tries = 0; tries < 300; tries += 1) {
    if (await answers(socket)) return;
    if (state.over) throw new Error('the process ended');
    await sleep(200);
  }
  throw new Error('no answer within a minute');
}

/**
 * dockerd starts a containerd of its own only where no system-wide one shows its socket. Where one does, both daemons would
 * work in the same namespace and clear away each other's containers, so ours gets a view in which that socket is absent.
 */
async function mountNamespace(): Promise<[string, ...string[]] | []> {
  const system = await access('/run/containerd/containerd.sock').then(
    () => true,
    () => false,
  );
  if (!system) return [];
  const hide = 'mount -t tmpfs -o mode=711 cofferdam /run/containerd && exec "$@"';
  return ['unshare', '--mount', '--propagation', 'slave', 'sh', '-c', hide, 'sh'];
}

/** Ends the daemon's containers and the daemon, and removes what is left of them. Harmless when nothing runs. Preconditions: as above. */
export async function stopEngine({ directory, socket }: { directory: string; socket: string }): Promise<void> {
  const pid = await enginePid(directory);
  if (pid !== undefined) {
    await killContainers(socket);
    await terminate(pid);
  }
  await sweepEngine({ directory, socket });
}

async function killContainers(socket: string): Promise<void> {
  const docker = new Docker({ socketPath: socket, timeout: 10_000 });
  const running = await docker.listContainers().catch(() => []);
  // A wedged sandbox answers no kill; the sweep ends its host process later.
  await Promise.allSettled(running.map(({ Id }) => docker.getContainer(Id).kill()));
}

/** TERM, then KILL after 20 seconds. */
async function terminate(pid: number): Promise<void> {
  const started = (await identify(pid))?.startTime;
  for (let tries = 0; tries < 100; tries += 1) {
    const now = await identify(pid);
    if (now === undefined || now.startTime !== started) return;
    if (tries === 0) process.kill(pid, 'SIGTERM');
    await sleep(200);
  }
  process.kill(pid, 'SIGKILL');
  const until = performance.now() + PATIENCE_MS;
  while ((await identify(pid))?.startTime === started && performance.now() < until) await sleep(200);
}

/**
 * Removes what a daemon that was killed leaves: shims, gofers, sandboxes and containerd (their arguments name our exec
 * directory), mounts, pid and socket files. Images and stopped containers stay.
 */
async function sweepEngine({ directory, socket }: { directory: string; socket: string }): Promise<void> {
  const exec = path.join(directory, 'exec');
  for (const until = performance.now() + PATIENCE_MS; performance.now() < until;) {
    const left = await processesNaming(`${exec}/`);
    if (left.length === 0) break;
    for (const pid of left) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone between the listing and the signal.
      }
    }
    await sleep(200);
  }
  for (const mount of await mountsUnder(directory)) await runCommand(['umount', '-l', mount]);
  // Never delete through a mount that would not go away: a container's root may hang there.
  const mounts = await mountsUnder(directory);
  if (mounts.length > 0) {
    throw new CofferdamError(
      'docker_unavailable',
      'local.sweepEngine',
      `cannot unmount ${mounts.join(', ')}; unmount it as root`,
    );
  }
  await mustRun(['rm', '-rf', '--one-file-system', exec]);
  await rm(path.join(directory, 'docker.pid'), { force: true });
  await rm(socket, { force: true });
}

async function processesNaming(text: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const lines = await Promise.all(pids.map((pid) => commandLine(pid)));
  return pids.filter((pid, index) => pid !== process.pid && lines[index]?.some((argument) => argument.includes(text)));
}

async function mountsUnder(directory: string): Promise<string[]> {
  const mounts = (await readFile('/proc/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
  return mounts.filter((mount) => mount.startsWith(`${directory}/`)).toSorted((a, b) => b.length - a.length);
}
