import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { CofferdamError } from '../../domain/errors.ts';
import { identify } from './identity.ts';

/** Where everything lives that a machine needs and that a checkout must not hold. Short: Unix sockets end at 107 bytes. */
export interface MachinePaths {
  root: string;
  lock: string;
  leases: string;
  /** State of the private Docker; nothing else may live here, since its sweep ends every process that names its `exec`. */
  engine: string;
  engineSocket: string;
  /** That of versions whose sandboxes had no record of processes; it may still be running, with other arguments. */
  earlierEngine: string;
  /** The collector's socket and what tells gVisor of it. */
  kernel: string;
  runsc: string;
  toolbox: string;
  /** Directories that end with the id of the process that works there. */
  work: string;
}

/** The paths under `COFFERDAM_MACHINE_DIR`, or under a directory of the user's own in /var/tmp. Errors: `config`. */
export function machinePaths(env: NodeJS.ProcessEnv = process.env): MachinePaths {
  const root = env['COFFERDAM_MACHINE_DIR'] ?? `/var/tmp/cofferdam-${process.getuid?.() ?? 0}`;
  if (!path.isAbsolute(root)) {
    throw new CofferdamError(
      'config',
      'local.machinePaths',
      `COFFERDAM_MACHINE_DIR must be an absolute path, not ${root}`,
    );
  }
  const engine = path.join(root, 'docker');
  const engineSocket = path.join(engine, 'docker.sock');
  // The longest socket below is containerd's own, made by dockerd.
  if (Buffer.byteLength(path.join(engine, 'exec/containerd/containerd.sock.ttrpc')) > 107) {
    throw new CofferdamError(
      'config',
      'local.machinePaths',
      `COFFERDAM_MACHINE_DIR is too long for Unix sockets: ${root}`,
    );
  }
  return {
    root,
    lock: path.join(root, 'lock'),
    leases: path.join(root, 'leases'),
    engine,
    engineSocket,
    earlierEngine: path.join(root, 'engine'),
    kernel: path.join(root, 'kernel'),
    runsc: path.join(root, 'runsc'),
    toolbox: path.join(root, 'toolbox'),
    work: path.join(root, 'work'),
  };
}

/** Makes the machine directory and refuses one that somebody else could change. Errors: `config`. */
export async function ensureMachineDirectory(paths: MachinePaths): Promise<void> {
  await mkdir(paths.root, { recursive: true, mode: 0o700 });
  const stat = await lstat(paths.root);
  if (!stat.isDirectory() || stat.uid !== process.getuid?.() || (stat.mode & 0o022) !== 0) {
    throw new CofferdamError(
      'config',
      'local.ensureMachineDirectory',
      `${paths.root} belongs to somebody else or may be changed by others; remove it or set COFFERDAM_MACHINE_DIR`,
    );
  }
}

/** Makes `work`, and removes from it what processes that are no more have left. The caller holds the machine's lock. */
export async function clearWork(work: string): Promise<void> {
  await mkdir(work, { recursive: true });
  for (const name of await readdir(work)) {
    const pid = Number(/-(\d+)$/.exec(name)?.[1] ?? process.pid);
    const left = pid === process.pid || (await identify(pid)) === undefined;
    if (left) await rm(path.join(work, name), { recursive: true, force: true });
  }
}
