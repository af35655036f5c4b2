import { mkdir } from 'node:fs/promises';
import { CofferdamError } from '../../domain/errors.ts';
import type { MachinePaths } from './directory.ts';
import { dockerAt } from './docker.ts';
import { answers, enginePid } from './engine.ts';
import { startEngineAsRoot, stopEngineAsRoot } from './engine-root.ts';
import { dropLease, liveLeases, takeLease } from './lease.ts';
import { lockFile } from './lock.ts';
import { findProgram } from './packages.ts';
import { probeRuntime } from './probe.ts';
import { requireRoot } from './process.ts';
import type { Note } from './progress.ts';
import { fetchRunsc, findRunsc } from './runsc.ts';

/** What an operator adds to an existing Docker so that it can be used instead. */
export function runtimeFragment(runtime: string, runsc = '/usr/local/bin/runsc'): string {
  const runtimeArgs = ['--platform=systrap', '--network=none', '--host-uds=open'];
  return JSON.stringify({ runtimes: { [runtime]: { path: runsc, runtimeArgs } } });
}

/**
 * Starts the private Docker if it is not running and proves its runtime. The caller holds the machine's lock and a lease.
 * Errors: `docker_unavailable`, `runtime_missing`, both with the way out.
 */
export async function ensurePrivateDocker(options: {
  paths: MachinePaths;
  runtime: string;
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<{ socket: string; runsc: string }> {
  const { paths, runtime, note, signal } = options;
  const socket = paths.engineSocket;
  const running = (await enginePid(paths.engine)) !== undefined && (await answers(socket));
  if (!running) await requireRoot('a private Docker', signal);
  let runsc = await findRunsc(paths, signal);
  if (runsc === undefined) {
    note('fetching gVisor from Debian’s archives');
    runsc = await fetchRunsc(paths, signal);
  }
  if (running) return { socket, runsc: runsc.version };
  const dockerd = await findProgram('dockerd');
  if (dockerd === undefined) {
    throw new CofferdamError(
      'docker_unavailable',
      'local.ensurePrivateDocker',
      'dockerd is not installed: apt-get install docker.io',
    );
  }
  note('starting a private Docker');
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  await mkdir(paths.engine, { recursive: true });
  await startEngineAsRoot({ directory: paths.engine, socket, dockerd, runsc: runsc.path, runtime, uid, gid }, signal);
  const proof = await probeRuntime({ docker: dockerAt(socket), runtime, work: paths.work, signal });
  if (!proof.usable) {
    throw new CofferdamError(
      'runtime_missing',
      'local.ensurePrivateDocker',
      `the private Docker is not usable: ${proof.why}`,
    );
  }
  return { socket, runsc: runsc.version };
}

/** Takes a lease on the private Docker for this process. The caller holds the machine's lock. */
export async function leasePrivateDocker(paths: MachinePaths): Promise<() => Promise<void>> {
  const lease = await takeLease(paths.leases);
  return async () => {
    const unlock = await lockFile(paths.lock);
    try {
      await dropLease(paths.leases, lease);
      await stopIfUnused(paths);
    } finally {
      await unlock();
    }
  };
}

/** Stops the private Docker when no live lease is left. The caller holds the machine's lock. Returns the leases that keep it. */
export async function stopIfUnused(paths: MachinePaths): Promise<string[]> {
  const live = await liveLeases(paths.leases);
  if (live.length === 0) await stopEngineAsRoot({ directory: paths.engine, socket: paths.engineSocket });
  return live;
}
