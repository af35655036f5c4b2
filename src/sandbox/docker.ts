import { Duplex, Readable } from 'node:stream';
import Dockerode from 'dockerode';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import type { ContainerSpec, ImageFacts } from './spec.ts';

/**
 * The few calls that are made to the Docker daemon. A wedged sandbox makes the daemon's own calls about it hang, so every
 * call has its own time limit here and none may be made without one.
 *
 * Errors of all calls: `docker_unavailable` when the daemon cannot be reached or does not answer in time, `sandbox` when it
 * refuses.
 */
export interface Docker {
  info(): Promise<DaemonFacts>;
  /** Undefined when there is no such image. */
  image(ref: string): Promise<ImageFacts | undefined>;
  create(spec: ContainerSpec, name: string): Promise<string>;
  /** Whether the container's file system, as its image made it, has something at this path. */
  has(id: string, path: string): Promise<boolean>;
  start(id: string): Promise<void>;
  /** Output of the init process from the beginning, framed (see `demultiplex`): call it before `start`. */
  attach(id: string): Promise<Duplex>;
  /** Undefined when there is no such container. */
  inspect(id: string): Promise<ContainerFacts | undefined>;
  /** Resolves with the exit code when the container is not running any more. No time limit but the signal. */
  wait(id: string, signal: AbortSignal): Promise<number>;
  /** Quietly does nothing when it is not running or not there. */
  kill(id: string): Promise<void>;
  /** With its anonymous volumes; quietly does nothing when it is not there. */
  remove(id: string): Promise<void>;
  list(labels: Record<string, string>): Promise<ListedContainer[]>;
  exec(id: string, spec: ExecSpec): Promise<{ id: string; stream: Duplex }>;
  execStatus(execId: string): Promise<{ running: boolean; exitCode: number | null }>;
  /** Lines of JSON about one container, from `since` (seconds since the epoch, with fraction) on. */
  events(options: { container: string; events: string[]; since: number }): Promise<Readable>;
}

export interface ExecSpec {
  argv: readonly string[];
  /** `uid:gid`. */
  user: string;
  env: readonly string[];
  cwd: string;
  stdin: boolean;
  /** With all capabilities: only ever for the toolbox's static busybox with fixed arguments. */
  privileged?: boolean;
}

const DaemonFacts = z.object({
  Runtimes: z
    .record(z.string(), z.object({ path: z.string().optional(), runtimeArgs: z.array(z.string()).nullish() }))
    .default({}),
  NCPU: z.number().int().positive(),
  ServerVersion: z.string(),
  DockerRootDir: z.string(),
});
type DaemonFacts = z.infer<typeof DaemonFacts>;

const ContainerFacts = z.object({
  Id: z.string(),
  Image: z.string(),
  State: z.object({ Running: z.boolean(), OOMKilled: z.boolean(), ExitCode: z.number().int(), Pid: z.number().int() }),
  HostnamePath: z.string(),
  HostsPath: z.string(),
  ResolvConfPath: z.string(),
  GraphDriver: z.object({ Data: z.record(z.string(), z.string()).nullable() }),
  HostConfig: z.object({
    Runtime: z.string(),
    NetworkMode: z.string(),
    Privileged: z.boolean(),
    CapAdd: z.array(z.string()).nullable(),
    CapDrop: z.array(z.string()).nullable(),
    Binds: z.array(z.string()).nullish(),
    Devices: z.array(z.unknown()).nullish(),
  }),
  Mounts: z.array(z.object({ Type: z.string(), Source: z.string(), Destination: z.string(), RW: z.boolean() })),
});
export type ContainerFacts = z.infer<typeof ContainerFacts>;

const ListedContainer = z.object({ Id: z.string(), State: z.string(), Labels: z.record(z.string(), z.string()) });
type ListedContainer = z.infer<typeof ListedContainer>;

const ImageAnswer = z.object({
  Id: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  Config: z.object({
    Env: z.array(z.string()).nullish(),
    Volumes: z.record(z.string(), z.unknown()).nullish(),
  }),
});

const ExecFacts = z.object({ Running: z.boolean(), ExitCode: z.number().int().nullable() });

const Status = z.object({ statusCode: z.number().int() });

/** Milliseconds that a call may take. Starting and removing wait for gVisor; the others only for the daemon. */
const LIMIT = { short: 20_000, long: 90_000 } as const;

/** A client for the daemon that listens on this Unix socket. Nothing is connected yet. */
export function createDocker(options: { socketPath: string }): Docker {
  const daemon = new Dockerode({ socketPath: options.socketPath });
  const at = (id: string) => daemon.getContainer(id);
  return {
    info: () => call('info', LIMIT.short, async () => DaemonFacts.parse(await daemon.info())),
    image: (ref) => tolerate([404], () => call('image', LIMIT.short, () => inspectImage(daemon, ref))),
    create: (spec, name) =>
      call('create', LIMIT.long, async (abortSignal) => {
        const made = await daemon.createContainer({ ...spec, name, abortSignal });
        return made.id;
      }),
    has: async (id, path) =>
      (await tolerate([404], () =>
        call('has', LIMIT.short, async (abortSignal) => {
          await at(id).infoArchive({ path, abortSignal });
          return true;
        }),
      )) ?? false,
    start: (id) => call('start', LIMIT.long, async (abortSignal) => void (await at(id).start({ abortSignal }))),
    attach: (id) =>
      call('attach', LIMIT.short, async (abortSignal) => {
        const stream = await at(id).attach({
          stream: true,
          stdout: true,
          stderr: true,
          hijack: true,
          abortSignal,
        });
        return instance(Duplex, stream);
      }),
    inspect: (id) =>
      tolerate([404], () =>
        call('inspect', LIMIT.short, async (abortSignal) =>
          ContainerFacts.parse(await at(id).inspect({ abortSignal })),
        ),
      ),
    wait: (id, abortSignal) => waitForEnd(daemon, id, abortSignal),
    kill: async (id) => {
      await tolerate([404, 409], () =>
        call('kill', LIMIT.short, async (abortSignal) => void (await at(id).kill({ abortSignal }))),
      );
    },
    // 409: a removal of the same container is already in progress.
    remove: async (id) => {
      await tolerate([404, 409], () =>
        call(
          'remove',
          LIMIT.short,
          async (abortSignal) => void (await at(id).remove({ force: true, v: true, abortSignal })),
        ),
      );
    },
    list: (labels) =>
      call('list', LIMIT.short, async (abortSignal) =>
        z
          .array(ListedContainer)
          .parse(await daemon.listContainers({ all: true, filters: labelFilter(labels), abortSignal })),
      ),
    exec: (id, spec) => startExec(daemon, id, spec),
    execStatus: (execId) =>
      call('execStatus', LIMIT.short, async (abortSignal) => {
        const status = ExecFacts.parse(await daemon.getExec(execId).inspect({ abortSignal }));
        return { running: status.Running, exitCode: status.ExitCode };
      }),
    events: ({ container, events, since }) =>
      call('events', LIMIT.short, async (abortSignal) => {
        const filters = { container: [container], type: ['container'], event: events };
        return instance(
          Readable,
          await daemon.getEvents({ filters, since, abortSignal } as Dockerode.GetEventsOptions),
        );
      }),
  };
}

async function inspectImage(daemon: Dockerode, ref: string): Promise<ImageFacts> {
  const { Id, Config } = ImageAnswer.parse(await daemon.getImage(ref).inspect());
  return { id: Id, env: Config.Env ?? [], volumes: Object.keys(Config.Volumes ?? {}) };
}

async function startExec(daemon: Dockerode, id: string, spec: ExecSpec): Promise<{ id: string; stream: Duplex }> {
  return await call('exec', LIMIT.long, async (abortSignal) => {
    const exec = await daemon.getContainer(id).exec({
      Cmd: [...spec.argv],
      User: spec.user,
      Env: [...spec.env],
      WorkingDir: spec.cwd,
      AttachStdin: spec.stdin,
      AttachStdout: true,
      AttachStderr: true,
      Tty: false,
      Privileged: spec.privileged ?? false,
      abortSignal,
    });
    const stream = await exec.start({ hijack: true, stdin: spec.stdin, abortSignal });
    return { id: exec.id, stream };
  });
}

/** The library types its streams more loosely than what it gives. */
function instance<T>(kind: abstract new (...args: never[]) => T, stream: unknown): T {
  if (!(stream instanceof kind)) throw new TypeError('Docker gave no stream');
  return stream;
}

async function waitForEnd(daemon: Dockerode, id: string, abortSignal: AbortSignal): Promise<number> {
  try {
    const answer: unknown = await daemon.getContainer(id).wait({ condition: 'not-running', abortSignal });
    return z.object({ StatusCode: z.number().int() }).parse(answer).StatusCode;
  } catch (cause) {
    throw asError('wait', cause);
  }
}

function labelFilter(labels: Record<string, string>): Record<string, string[]> {
  return { label: Object.entries(labels).map(([name, value]) => `${name}=${value}`) };
}

/** One call with its time limit. The request is aborted, but the answer does not depend on the abort being noticed. */
async function call<T>(op: string, limitMs: number, make: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const limit = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    limit.reject(unavailable(op, `Docker did not answer within ${limitMs / 1000} s`));
    abort.abort();
  }, limitMs);
  try {
    return await Promise.race([make(abort.signal), limit.promise]);
  } catch (cause) {
    throw asError(op, cause);
  } finally {
    clearTimeout(timer);
  }
}

async function tolerate<T>(statusCodes: number[], make: () => Promise<T>): Promise<T | undefined> {
  try {
    return await make();
  } catch (error) {
    const status = error instanceof CofferdamError ? Status.safeParse(error.cause) : undefined;
    if (status?.success === true && statusCodes.includes(status.data.statusCode)) return undefined;
    throw error;
  }
}

function asError(op: string, cause: unknown): CofferdamError {
  if (cause instanceof CofferdamError) return cause;
  const reason = cause instanceof Error ? cause.message.trim() : String(cause);
  if (Status.safeParse(cause).success || cause instanceof z.ZodError) {
    return new CofferdamError('sandbox', `sandbox.docker.${op}`, `Docker refused: ${reason}`, cause);
  }
  return unavailable(op, `Docker cannot be reached: ${reason}`, cause);
}

function unavailable(op: string, message: string, cause?: unknown): CofferdamError {
  return new CofferdamError('docker_unavailable', `sandbox.docker.${op}`, message, cause);
}
