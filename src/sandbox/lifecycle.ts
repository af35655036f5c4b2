import { randomBytes } from 'node:crypto';
import { access } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CofferdamError } from '../domain/errors.ts';
import type { Sandboxes, SandboxOptions } from '../run/ports.ts';
import type { Logger } from '../telemetry/log.ts';
import { demultiplex } from './demultiplex.ts';
import { createDocker } from './docker.ts';
import type { ContainerFacts, Docker } from './docker.ts';
import { CA_FILE, LABEL, LOCAL_NETWORK, TOOLBOX } from './layout.ts';
import type { KernelRecorder } from './kernel/recorder.ts';
import type { RuntimeEntry } from './kernel/runtime.ts';
import { followOom } from './observe.ts';
import { checkMounts } from './preflight.ts';
import { recordingFor, startRecorded } from './process-record.ts';
import type { SandboxRecord } from './process-record.ts';
import { openSandbox, removeContainer } from './sandbox.ts';
import type { DockerSandbox } from './sandbox.ts';
import { containerSpec, portalCommand } from './spec.ts';
import type { ImageFacts } from './spec.ts';

export interface SandboxHostOptions {
  /** Path of Docker's Unix socket. */
  dockerSocket: string;
  /** Id of this installation: goes into a label, and only containers with it are ever removed. */
  installation: string;
  toolboxDir: string;
  /** Base of the git remotes (`https://github.com/`), which is rewritten to the gateway's git proxy inside. */
  gitBase?: string | undefined;
  /** Bytes that must stay free on Docker's disk; a sandbox ends when they are touched. Default 1 GiB. */
  diskFloor?: number;
  /** Keeps the record of processes; needed where the runtime's kernels report. */
  kernel?: KernelRecorder;
  log?: Logger;
}

export interface SandboxHost extends Sandboxes {
  create(options: SandboxOptions): Promise<DockerSandbox>;
  /** Removes those of this installation's containers that `remove` says yes to. */
  sweep(options: { remove: (found: FoundContainer) => Promise<boolean> }): Promise<SweepResult>;
}

interface FoundContainer {
  runId: string;
  role: string;
  running: boolean;
}

interface SweepResult {
  /** Runs whose containers were left alone. */
  kept: string[];
  removed: { container: string; runId: string; role: string }[];
  failed: { container: string; runId: string; message: string }[];
}

const READY_MS = 60_000;
/** How long the words of a portal that ended may be on their way. */
const LAST_WORDS_MS = 2_000;
const SMALL_OUTPUT = 16_384;
const DISK_FLOOR = 2 ** 30;

interface Host {
  docker: Docker;
  options: SandboxHostOptions;
}

/** Sandboxes as containers of this Docker. Connects to nothing until it is used. */
export function createSandboxes(options: SandboxHostOptions): SandboxHost {
  const host: Host = { docker: createDocker({ socketPath: options.dockerSocket }), options };
  return {
    create: (asked) => create(host, asked),
    sweep: ({ remove }) => sweep(host, remove),
  };
}

/** See the port. Besides its errors: `cancelled` when the signal aborts, `config` for a path that cannot be mounted. */
async function create(host: Host, asked: SandboxOptions): Promise<DockerSandbox> {
  const { docker, options } = host;
  throwIfCancelled(asked.signal);
  await checkMounts({ socketDir: asked.socketDir, toolboxDir: options.toolboxDir });
  const { image, hostCpus, runtime } = await requirements(docker, asked.settings);
  const recording = await recordingFor({ runtime, settings: asked.settings, recorder: options.kernel });
  throwIfCancelled(asked.signal);
  const spec = containerSpec({
    installation: options.installation,
    runId: asked.runId,
    role: asked.role,
    settings: asked.settings,
    socketDir: asked.socketDir,
    toolboxDir: options.toolboxDir,
    image,
    hostCpus,
    command: portalCommand({ deadline: asked.deadline, ports: asked.ports }),
  });
  const name = `cofferdam-${asked.runId}-${asked.role}-${randomBytes(3).toString('hex')}`;
  const id = await docker.create(spec, name);
  const following = new AbortController();
  let record: SandboxRecord | undefined;
  try {
    await refusePreload(docker, id);
    const oom = new AbortController();
    await followOom({ docker, id, onOom: () => oom.abort(), signal: following.signal });
    const portal = await portalOf(docker, id, asked.signal);
    record = await startRecorded({ docker, container: id, recording, onRecord: asked.onRecord });
    const facts = await makeReady({ docker: record.docker, id, portal, asked });
    const ca = await access(path.join(asked.socketDir, CA_FILE)).then(
      () => true,
      () => false,
    );
    return await openSandbox({
      docker: record.docker,
      id,
      facts,
      record,
      options: asked,
      command: { imageEnv: image.env, ca, gitBase: options.gitBase },
      oom: oom.signal,
      close: () => following.abort(),
      diskFloor: options.diskFloor ?? DISK_FLOOR,
      log: options.log,
    });
  } catch (error) {
    following.abort();
    await record?.finish();
    await removeContainer(docker, id).catch((left: unknown) =>
      options.log?.error({ err: left }, 'a container is left'),
    );
    throw error;
  }
}

/**
 * The dynamic loader reads this file of the image for every program, the toolbox's too: with it an image could put its code
 * into the portal and into the proof of isolation.
 */
export async function refusePreload(docker: Docker, id: string): Promise<void> {
  if (!(await docker.has(id, '/etc/ld.so.preload'))) return;
  throw new CofferdamError('sandbox', 'sandbox.create', 'the image has an /etc/ld.so.preload, which is refused');
}

/** What must be there: the runtime by its name (no other one is ever taken instead) and the image. */
export async function requirements(
  docker: Docker,
  settings: { runtime: string; image: string },
): Promise<{ image: ImageFacts; hostCpus: number; runtime: RuntimeEntry }> {
  const info = await docker.info();
  const runtime = info.Runtimes[settings.runtime];
  if (runtime === undefined) {
    const message = `Docker has no runtime named ${settings.runtime}`;
    throw new CofferdamError('runtime_missing', 'sandbox.create', message);
  }
  const image = await docker.image(settings.image);
  if (image === undefined) {
    throw new CofferdamError(
      'sandbox',
      'sandbox.create',
      `Docker has no image ${settings.image}: build or load it first`,
    );
  }
  return { image, hostCpus: info.NCPU, runtime };
}

/** What the container's init says, from its first word on: asked for before the start. Resolves to when it is ready. */
async function portalOf(docker: Docker, id: string, signal: AbortSignal): Promise<{ ready: Promise<void> }> {
  const output = new PassThrough();
  const attached = await docker.attach(id);
  attached.on('error', () => undefined);
  void demultiplex(attached, { stdout: output, stderr: output })
    .catch(() => undefined)
    .finally(() => output.end());
  const ready = portalReady(output, signal);
  ready.catch(() => undefined);
  return { ready };
}

/**
 * Makes a started container ready, in this order: gVisor shows itself, then every address becomes local, then the portal
 * answers. Until then nothing of the image runs, only the toolbox.
 */
async function makeReady(options: {
  docker: Docker;
  id: string;
  portal: { ready: Promise<void> };
  asked: SandboxOptions;
}): Promise<ContainerFacts> {
  const { docker, id, portal, asked } = options;
  throwIfCancelled(asked.signal);
  try {
    await proveAndAddress(docker, id, asked.settings.runtime);
  } catch (thrown) {
    // A portal that ends takes its container along, maybe before these commands came to it: then its own words are the reason.
    await Promise.race([portal.ready, sleep(LAST_WORDS_MS, undefined, { ref: false })]);
    throw thrown;
  }
  await portal.ready;
  const facts = await docker.inspect(id);
  if (facts === undefined) throw new CofferdamError('sandbox', 'sandbox.create', 'the container is gone');
  return facts;
}

/** Proves gVisor and makes every address local, with the toolbox's own programs. */
async function proveAndAddress(docker: Docker, id: string, runtime: string): Promise<void> {
  const banner = await toolboxExec(docker, id, { argv: [TOOLBOX.busybox, 'dmesg'], privileged: false });
  if (!banner.output.includes('Starting gVisor')) {
    const message = `the runtime ${runtime} does not run containers under gVisor`;
    throw new CofferdamError('runtime_missing', 'sandbox.create', message);
  }
  const address = await toolboxExec(docker, id, {
    argv: [TOOLBOX.busybox, 'ip', 'addr', 'add', LOCAL_NETWORK, 'dev', 'lo'],
    privileged: true,
  });
  if (address.exitCode !== 0) {
    const message = `the sandbox's addresses cannot be set: ${address.output.trim()}`;
    throw new CofferdamError('sandbox', 'sandbox.create', message);
  }
}

/** The portal's first line says that it listens and that the gateway holds it. Its later output is thrown away. */
async function portalReady(output: PassThrough, signal: AbortSignal): Promise<void> {
  let text = '';
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const fail = (what: string): void => {
    const said = text.trim() === '' ? '' : `: ${text.trim().slice(0, 500)}`;
    reject(new CofferdamError('sandbox', 'sandbox.create', `${what}${said}`));
  };
  const timer = setTimeout(() => fail('the portal did not become ready in time'), READY_MS);
  const onAbort = (): void => reject(new CofferdamError('cancelled', 'sandbox.create', 'cancelled'));
  signal.addEventListener('abort', onAbort, { once: true });
  output.on('data', (piece: Buffer) => {
    if (text.length < SMALL_OUTPUT) text += piece.toString('utf8');
    if (text.includes('{"portal":"ready"}\n')) resolve(undefined);
  });
  output.on('end', () => fail('the portal ended before it was ready'));
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

async function toolboxExec(
  docker: Docker,
  id: string,
  options: { argv: string[]; privileged: boolean },
): Promise<{ exitCode: number | null; output: string }> {
  const exec = await docker.exec(id, { ...options, user: '0:0', env: [], cwd: '/', stdin: false });
  exec.stream.on('error', () => undefined);
  const collected = new PassThrough();
  let output = '';
  collected.on('data', (piece: Buffer) => {
    if (output.length < SMALL_OUTPUT) output += piece.toString('utf8');
  });
  const limit = setTimeout(() => exec.stream.destroy(), READY_MS);
  await demultiplex(exec.stream, { stdout: collected, stderr: collected }).catch(() => undefined);
  clearTimeout(limit);
  const { exitCode } = await docker.execStatus(exec.id);
  return { exitCode, output };
}

function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new CofferdamError('cancelled', 'sandbox.create', 'cancelled');
}

async function sweep(host: Host, remove: (found: FoundContainer) => Promise<boolean>): Promise<SweepResult> {
  const found = await host.docker.list({ [LABEL.installation]: host.options.installation });
  const result: SweepResult = { kept: [], removed: [], failed: [] };
  for (const { Id, Labels, State } of found) {
    const runId = Labels[LABEL.run] ?? '';
    const role = Labels[LABEL.role] ?? '';
    if (!(await remove({ runId, role, running: State !== 'exited' && State !== 'dead' }))) {
      result.kept.push(runId);
      continue;
    }
    try {
      await removeContainer(host.docker, Id);
      result.removed.push({ container: Id, runId, role });
    } catch (error) {
      result.failed.push({ container: Id, runId, message: error instanceof Error ? error.message : String(error) });
    }
  }
  return result;
}
