import { CofferdamError } from '../../domain/errors.ts';
import { VERSION } from '../../domain/version.ts';
import { clearWork, ensureMachineDirectory, machinePaths } from './directory.ts';
import type { MachinePaths } from './directory.ts';
import { dockerAt, socketOf } from './docker.ts';
import { findExistingDocker } from './existing.ts';
import { hostCaFile, isPrivateHost, npmRegistry } from './host.ts';
import { ensureImage } from './image.ts';
import type { SandboxImage } from './image.ts';
import { lockFile } from './lock.ts';
import { findProgram, installPrograms, missingPrograms } from './packages.ts';
import type { ProgramNeed } from './packages.ts';
import { ensurePrivateDocker, leasePrivateDocker } from './private-docker.ts';
import { runCommand } from './process.ts';
import { step } from './progress.ts';
import { runtimeFragment, writeKernelSession } from './runtime-entry.ts';
import type { OnProgress } from './progress.ts';
import { allOrNone } from './together.ts';
import { ensureToolbox } from './toolbox.ts';
import type { ToolboxAgent } from './toolbox.ts';

/** A machine on which sandboxes can run. */
export interface Machine {
  /** Path of Docker's Unix socket. */
  dockerSocket: string;
  /** Name of the gVisor runtime there. */
  runtime: string;
  image: SandboxImage;
  /** Read-only directory for {@link TOOLBOX.mount}. */
  toolboxDir: string;
  /** Path of the redis-server program; undefined when it was not asked for and is not installed. */
  redisServer: string | undefined;
  /** The certificates that this host trusts. */
  caFile: string | undefined;
  /** Whether npm's registry has an address here that is not of the public internet. */
  registryPrivate: boolean;
  /** Whether Docker is our private one. */
  privateDocker: boolean;
  versions: { cofferdam: string; runsc: string; docker: string; git: string; node: string };
  /** Gives the private Docker back; the last one to do so stops it. */
  release(): Promise<void>;
}

interface MachineNeeds {
  /** Agents in the toolbox; each is fetched when first asked for. */
  agents?: readonly ToolboxAgent[];
  /** Whether redis-server must be there. */
  redis?: boolean;
}

export interface PrepareOptions {
  needs?: MachineNeeds;
  onProgress: OnProgress;
  /** Name of the gVisor runtime. */
  runtime?: string;
  /** Whether a runtime will do whose sandboxes have no record of their processes. Default: `required`. */
  processRecord?: 'required' | 'optional';
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
}

/**
 * Finds or provides everything that a run needs on this machine: programs, a Docker with gVisor, the sandbox image, the
 * toolbox. A second call finds it all and takes a few seconds. Calls of several processes wait for each other.
 * Errors: `docker_unavailable`, `runtime_missing`, `config`, `cancelled`; the message says what to do.
 */
export async function prepareMachine(options: PrepareOptions): Promise<Machine> {
  const { onProgress, signal, env = process.env, runtime = 'cofferdam', needs = {} } = options;
  const { processRecord = 'required' } = options;
  const paths = machinePaths(env);
  await ensureMachineDirectory(paths);
  const onWait = () =>
    onProgress({ kind: 'note', step: 'machine', text: 'waiting for another set-up on this machine' });
  const unlock = await lockFile(paths.lock, { onWait, signal });
  const undo: (() => Promise<void>)[] = [];
  try {
    await clearWork(paths.work);
    await writeKernelSession(paths.kernel);
    const [{ docker, image }, toolboxDir] = await allOrNone(
      [
        async (either) => {
          const context = { paths, onProgress, signal: either };
          const found = await provideDocker({ ...context, runtime, processRecord, env, needs, undo });
          return { docker: found, image: await provideImage({ ...context, socket: found.socket }) };
        },
        // Mostly downloads, while the image is mostly work.
        (either) => provideToolbox({ paths, needs, env, onProgress, signal: either }),
      ],
      signal,
    );
    const release = undo[0] ?? (() => Promise.resolve());
    return { ...(await describe({ docker, image, toolboxDir, runtime, signal })), release };
  } catch (error) {
    await unlock();
    for (const step of undo) await step().catch(() => undefined);
    throw error;
  } finally {
    await unlock();
  }
}

interface Context {
  paths: MachinePaths;
  onProgress: OnProgress;
  signal: AbortSignal | undefined;
}

interface FoundDocker {
  socket: string;
  runsc: string;
  isPrivate: boolean;
}

/** An existing Docker if it will do, else the private one; programs that are missing are installed on the way. */
async function provideDocker(
  context: Context & {
    runtime: string;
    processRecord: 'required' | 'optional';
    env: NodeJS.ProcessEnv;
    needs: MachineNeeds;
    undo: (() => Promise<void>)[];
  },
): Promise<FoundDocker> {
  const { paths, runtime, processRecord, env, needs, onProgress, signal, undo } = context;
  const dockerHost = env['DOCKER_HOST'];
  // A child of a process that holds the private Docker gets its address; it must hold it, too.
  const ours = socketOf(dockerHost ?? '') === paths.engineSocket;
  const { found, passedOver } = ours
    ? { found: undefined, passedOver: [] }
    : await step(onProgress, 'existing Docker', async (note) => {
        const value = await findExistingDocker({ dockerHost, runtime, processRecord, work: paths.work, note, signal });
        return { value, text: value.found === undefined ? 'none with gVisor' : value.found.socket };
      });
  const asItIs = env['COFFERDAM_DOCKER'] === 'existing';
  if (asItIs && found === undefined) throw noExistingDocker({ runtime, kernelDir: paths.kernel, passedOver });
  await provideProgram({ ...context, asItIs }, [
    'git',
    ...(needs.redis === true ? (['redis'] as const) : []),
    ...(found === undefined ? (['docker', 'mmdebstrap'] as const) : []),
  ]);
  if (found !== undefined) return { ...found, isPrivate: false };
  undo.push(await leasePrivateDocker(paths));
  return step(onProgress, 'Docker with gVisor', async (note) => {
    try {
      const value = { ...(await ensurePrivateDocker({ paths, runtime, note, signal })), isPrivate: true };
      return { value, text: `private, gVisor ${value.runsc}` };
    } catch (cause) {
      if (!(cause instanceof CofferdamError) || signal?.aborted === true) throw cause;
      const message = `${cause.message}\nAn existing Docker can be used instead once its daemon.json has this runtime: ${runtimeFragment({ runtime, kernelDir: paths.kernel })}\n${passedOver.join('\n')}`;
      throw new CofferdamError(cause.code, 'local.provideDocker', message.trim(), cause);
    }
  });
}

/** `COFFERDAM_DOCKER=existing` was said, as the product's own image does: nothing is started or installed here. */
function noExistingDocker(options: {
  runtime: string;
  kernelDir: string;
  passedOver: readonly string[];
}): CofferdamError {
  const { passedOver } = options;
  const message = `no usable Docker, and COFFERDAM_DOCKER=existing forbids to start one. Its daemon.json needs this runtime, with the path of runsc there: ${runtimeFragment(options)}\n${passedOver.join('\n')}`;
  return new CofferdamError('docker_unavailable', 'local.provideDocker', message.trim());
}

async function provideProgram(context: Context & { asItIs: boolean }, needs: readonly ProgramNeed[]): Promise<void> {
  const missing = await missingPrograms(needs);
  if (missing.length === 0) return;
  if (context.asItIs) {
    const message = `missing here: ${missing.join(', ')}; COFFERDAM_DOCKER=existing forbids to install anything`;
    throw new CofferdamError('docker_unavailable', 'local.provideProgram', message);
  }
  await step(context.onProgress, 'packages', async (note) => {
    note(`installing ${missing.join(', ')} with apt-get`);
    await installPrograms(missing, context.signal);
    return { value: undefined, text: `installed ${missing.join(', ')}` };
  });
}

function provideImage(context: Context & { socket: string }): Promise<SandboxImage> {
  const { paths, socket, onProgress, signal } = context;
  return step(onProgress, 'sandbox image', async (note) => {
    const { built, ...image } = await ensureImage({ docker: dockerAt(socket), work: paths.work, note, signal });
    return { value: image, text: `${built ? 'built' : 'found'} ${image.ref}` };
  });
}

function provideToolbox(context: Context & { needs: MachineNeeds; env: NodeJS.ProcessEnv }): Promise<string> {
  const { paths, needs, env, onProgress, signal } = context;
  return step(onProgress, 'toolbox', async (note) => {
    const { directory, built } = await ensureToolbox({
      root: paths.toolbox,
      agents: needs.agents ?? [],
      partsFrom: env['COFFERDAM_TOOLBOX_PARTS'],
      note,
      signal,
    });
    return { value: directory, text: `${built ? 'made' : 'found'} ${directory}` };
  });
}

async function describe(options: {
  docker: FoundDocker;
  image: SandboxImage;
  toolboxDir: string;
  runtime: string;
  signal: AbortSignal | undefined;
}): Promise<Omit<Machine, 'release'>> {
  const { docker, image, toolboxDir, runtime, signal } = options;
  const [engine, git, redisServer, caFile, registryPrivate] = await Promise.all([
    dockerAt(docker.socket).version(),
    runCommand(['git', '--version'], { signal }),
    findProgram('redis-server'),
    hostCaFile(),
    // Offline there is no registry to allow; a sandbox then says so itself.
    npmRegistry(signal)
      .then((registry) => isPrivateHost(registry.hostname))
      .catch(() => false),
  ]);
  return {
    dockerSocket: docker.socket,
    runtime,
    image,
    toolboxDir,
    redisServer,
    caFile,
    registryPrivate,
    privateDocker: docker.isPrivate,
    versions: {
      cofferdam: VERSION,
      runsc: docker.runsc,
      docker: engine.Version,
      git: git.stdout.trim().replace(/^git version /, ''),
      node: process.version,
    },
  };
}
