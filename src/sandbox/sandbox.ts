import { setTimeout as delay } from 'node:timers/promises';
import { CofferdamError } from '../domain/errors.ts';
import type { ErrorCode } from '../domain/errors.ts';
import type { EndReason } from '../domain/final-state.ts';
import type { ExecOptions, ExecResult, Sandbox, SandboxOptions, SandboxReceipt } from '../run/ports.ts';
import type { Logger } from '../telemetry/log.ts';
import { demultiplex } from './demultiplex.ts';
import { diskView, watchDisk } from './disk.ts';
import type { ContainerFacts, Docker } from './docker.ts';
import { execute } from './exec.ts';
import type { ExecContext } from './exec.ts';
import { endSandboxProcesses, sandboxProcesses } from './host-process.ts';
import { PORTAL_EXIT, TOOLBOX } from './layout.ts';
import { waitForExit } from './observe.ts';
import type { Exit } from './observe.ts';
import type { SandboxRecord } from './process-record.ts';
import { selfTest } from './self-test.ts';

type End = Awaited<Sandbox['ended']>;

/** What the host can see of this sandbox besides Docker's word. */
export interface HostView {
  /** How the limit of disk is held: watched from here, exact by `tmpfs`, or by nobody, since Docker's storage is not visible. */
  disk: 'watched' | 'tmpfs' | 'none';
  /** A sandbox whose Docker calls hang can be ended. */
  processes: boolean;
}

/** A sandbox of this adapter: the port, and what `doctor` and tests look at. */
export interface DockerSandbox extends Sandbox {
  readonly view: HostView;
  /** `sha256:…` of the image that it was made from. */
  readonly imageId: string;
}

export interface SandboxParts {
  docker: Docker;
  id: string;
  facts: ContainerFacts;
  record: SandboxRecord;
  options: SandboxOptions;
  command: Pick<ExecContext, 'imageEnv' | 'ca' | 'gitBase'>;
  /** Aborted by the kernel's out-of-memory killer: followed from before the start on. */
  oom: AbortSignal;
  /** Ends what was begun for this container before it was one: following events. */
  close: () => void;
  diskFloor: number;
  log: Logger | undefined;
}

const DISK_LOOK_MS = 1_000;
const MAX_TIMER_MS = 2 ** 31 - 1;
/** How long a killed container may take to be gone before its host process is ended. */
const KILL_MS = 10_000;
/** How long Docker may take to remove what runs no more; after a fork bomb it took 105 s here. */
const REMOVAL_MS = 180_000;
const REMOVAL_PAUSE_MS = 1_000;

/** Takes a started container over: watches it, runs commands in it and removes it. */
export async function openSandbox(parts: SandboxParts): Promise<DockerSandbox> {
  const { docker, id, facts, record, options, log } = parts;
  const watching = new AbortController();
  const gone = new AbortController();
  const ended = Promise.withResolvers<End>();
  let cause: End | undefined;
  let destroyed: Promise<void> | undefined;

  const exited = waitForExit(docker, id, watching.signal).catch((): Exit => ({ known: false }));
  /** The first cause wins. Who waits for it is told before the commands are: they fail because of it. */
  const settle = (first: End): void => {
    cause = first;
    ended.resolve(first);
    gone.abort(goneError(first));
  };
  const end = (reason: End['reason'], message: string): void => {
    if (cause !== undefined || destroyed !== undefined) return;
    log?.warn({ runId: options.runId, container: id, reason, detail: message }, 'ending a sandbox');
    settle({ reason, message });
    void killContainer({ docker, id, exited });
  };
  void exited.then((exit) => {
    if (cause !== undefined || destroyed !== undefined) return;
    settle(parts.oom.aborted ? { reason: 'oom', message: 'out of memory' } : endOf(exit));
    watching.abort();
  });
  void record.lost.then((why) => end('record_lost', why));
  const view = await watch({ parts, end, signal: watching.signal });
  const context: ExecContext = {
    docker,
    id,
    ...parts.command,
    gone: gone.signal,
    giveUp: (message) => end('timeout', message),
  };
  return {
    id,
    view,
    imageId: facts.Image,
    ended: ended.promise,
    exec: (exec: ExecOptions): Promise<ExecResult> => execute(context, exec),
    processRecord: () => record.state(),
    selfTest: (signal: AbortSignal): Promise<SandboxReceipt> => selfTest({ context, facts, view, signal }),
    destroy: () => {
      destroyed ??= (async () => {
        gone.abort(goneError(cause ?? { reason: 'exited', message: 'it was removed' }));
        await record.finish(cause === undefined ? () => lastProcess(docker, id) : undefined);
        try {
          await removeContainer(docker, id);
        } finally {
          watching.abort();
          parts.close();
        }
      })();
      return destroyed;
    },
  };
}

/** Starts what ends a sandbox from outside. Everything stops with the signal. */
async function watch(options: {
  parts: SandboxParts;
  end: (reason: EndReason, message: string) => void;
  signal: AbortSignal;
}): Promise<HostView> {
  const { end, signal } = options;
  const { facts, oom, options: asked, diskFloor } = options.parts;
  const onOom = (): void => end('oom', 'the sandbox used more memory than sandbox.memory allows');
  oom.addEventListener('abort', onOom, { once: true });
  if (oom.aborted) onOom();
  const left = Math.min(Math.max(asked.deadline - Date.now(), 0), MAX_TIMER_MS);
  const timer = setTimeout(() => end('timeout', 'the sandbox reached its deadline'), left);
  signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  const disk = (await diskView(facts)) === 'full';
  if (disk) {
    const onFull = (message: string): void => end('disk', message);
    // In `tmpfs` mode the sandbox cannot grow on the host's disk; the floor still holds for the others' sake.
    const limit = asked.settings.diskMode === 'tmpfs' ? Number.POSITIVE_INFINITY : asked.settings.disk;
    watchDisk({ facts, limit, floor: diskFloor, everyMs: DISK_LOOK_MS, onFull, signal });
  }
  const held = asked.settings.diskMode === 'tmpfs' ? 'tmpfs' : disk ? 'watched' : 'none';
  return { disk: held, processes: (await sandboxProcesses(facts.Id)).length > 0 };
}

/** A process that does nothing but end: the report of its end carries the final number of reports that were dropped. */
async function lastProcess(docker: Docker, id: string): Promise<void> {
  const argv = [TOOLBOX.busybox, 'true'];
  const exec = await docker.exec(id, { argv, user: '0:0', env: [], cwd: '/', stdin: false });
  exec.stream.on('error', () => undefined);
  await demultiplex(exec.stream, {}).catch(() => undefined);
}

function goneError(end: End): CofferdamError {
  const code: ErrorCode =
    end.reason === 'oom' || end.reason === 'disk' || end.reason === 'timeout' ? end.reason : 'sandbox';
  return new CofferdamError(code, 'sandbox.exec', `the sandbox has ended: ${end.message}`);
}

/** The portal's exit code is the container's; what it means is this file's and the portal's agreement. */
function endOf(exit: Exit): End {
  if (!exit.known) return { reason: 'exited', message: 'the container is gone or Docker is' };
  if (exit.oomKilled) return { reason: 'oom', message: 'the sandbox used more memory than sandbox.memory allows' };
  switch (exit.code) {
    case PORTAL_EXIT.gatewayLost:
      return { reason: 'gateway_lost', message: 'the portal lost the gateway' };
    case PORTAL_EXIT.deadline:
      return { reason: 'timeout', message: 'the portal reached the deadline' };
    // gVisor's kernel crashes with this code when the host refuses it another task.
    case 2:
      return { reason: 'pids', message: 'the sandbox kernel ended, as it does at the wall of host tasks' };
    default:
      return { reason: 'portal_lost', message: `the portal ended with code ${exit.code}` };
  }
}

async function killContainer(options: { docker: Docker; id: string; exited: Promise<Exit> }): Promise<void> {
  const { docker, id, exited } = options;
  const isGone = async (ms: number) => await Promise.race([exited.then(() => true), delay(ms, false, { ref: false })]);
  void docker.kill(id).catch(() => undefined);
  if (await isGone(KILL_MS)) return;
  await endSandboxProcesses(id);
  await isGone(KILL_MS);
}

/**
 * Removes a container and looks whether it is gone. When Docker does not answer, the host process of the sandbox is ended,
 * after which Docker answers again. Errors: `sandbox` when something is left; its host then needs a person.
 */
export async function removeContainer(docker: Docker, id: string): Promise<void> {
  if (await removed(docker, id)) return;
  const ended = await endSandboxProcesses(id);
  // Nothing of it runs any more, and Docker may still take its time to see that.
  const patient = AbortSignal.timeout(REMOVAL_MS);
  do {
    if (await removed(docker, id)) return;
    await delay(REMOVAL_PAUSE_MS);
  } while (!patient.aborted);
  const seen = ended === 0 ? ', and its host process cannot be seen from here' : '';
  const message = `the container ${id.slice(0, 12)} cannot be removed${seen}; take this host out of service and remove it by hand`;
  throw new CofferdamError('sandbox', 'sandbox.destroy', message);
}

async function removed(docker: Docker, id: string): Promise<boolean> {
  try {
    // A removal that was asked for twice answers before it is done.
    for (let pause = 50; pause < 5_000; pause *= 2) {
      await docker.remove(id);
      if ((await docker.inspect(id)) === undefined) return true;
      await delay(pause);
    }
  } catch {
    // Not answering, or refusing: both are dealt with by the caller.
  }
  return false;
}
