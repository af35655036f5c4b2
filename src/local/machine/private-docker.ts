import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { CofferdamError } from '../../domain/errors.ts';
import type { MachinePaths } from './directory.ts';
import { dockerAt } from './docker.ts';
import { engineAnswers, enginePid } from './engine.ts';
import { startEngineAsRoot, stopEngineAsRoot } from './engine-root.ts';
import { dropLease, liveLeases, takeLease } from './lease.ts';
import { lockFile } from './lock.ts';
import { findProgram } from './packages.ts';
import { probeRuntime } from './probe.ts';
import { requireRoot } from './process.ts';
import type { Note } from './progress.ts';
import { fetchRunsc, findRunsc } from './runsc.ts';
import { runtimeEntries, writeKernelSession } from './runtime-entry.ts';

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
  const session = await writeKernelSession(paths.kernel);
  const running = await isCurrent(options, session);
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
  await startEngineAsRoot(
    { directory: paths.engine, socket, dockerd, runsc: runsc.path, runtime, session, uid, gid },
    signal,
  );
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

const Runtimes = z.object({
  Runtimes: z.record(z.string(), z.object({ runtimeArgs: z.array(z.string()).nullish() })),
});

/**
 * Whether the private Docker runs with the arguments that this version gives it. One that was started with others is
 * stopped, so that it can be started anew; not while somebody else uses it. Errors: `docker_unavailable` in that case.
 */
async function isCurrent(
  options: { paths: MachinePaths; runtime: string; note: Note },
  session: string,
): Promise<boolean> {
  const { paths, runtime, note } = options;
  const socket = paths.engineSocket;
  if (!(await engineAnswers({ directory: paths.engine, socket }))) return false;
  const wanted = runtimeEntries({ runtime, runsc: '', session })[runtime]?.runtimeArgs;
  const { Runtimes: registered } = Runtimes.parse(await dockerAt(socket).info());
  if (isDeepStrictEqual(registered[runtime]?.runtimeArgs, wanted)) return true;
  const [ours, ...others] = await liveLeases(paths.leases);
  if (others.length > 0) {
    throw new CofferdamError(
      'docker_unavailable',
      'local.ensurePrivateDocker',
      `the private Docker was started with other arguments for its runtime ${runtime} and is in use (${[ours, ...others].join(', ')} in ${paths.leases}): try again when those processes have ended, or set COFFERDAM_MACHINE_DIR to a directory of your own`,
    );
  }
  note('restarting the private Docker with this version’s arguments');
  await stopEngineAsRoot({ directory: paths.engine, socket });
  return false;
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
  if (live.length === 0) {
    await stopEngineAsRoot({ directory: paths.engine, socket: paths.engineSocket });
    if ((await enginePid(paths.earlierEngine)) !== undefined) {
      const socket = path.join(paths.earlierEngine, 'docker.sock');
      await stopEngineAsRoot({ directory: paths.earlierEngine, socket });
    }
  }
  return live;
}
