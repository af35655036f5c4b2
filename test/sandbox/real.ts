import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { SandboxSettings } from '../../src/domain/policy.ts';
import { runId } from '../../src/domain/ids.ts';
import { prepareMachine } from '../../src/local/machine/machine.ts';
import type { Machine } from '../../src/local/machine/machine.ts';
import { createKernelRecorder } from '../../src/main/kernel-client.ts';
import type { KernelHost } from '../../src/main/kernel-client.ts';
import { createSandboxes } from '../../src/sandbox/lifecycle.ts';
import type { SandboxHost } from '../../src/sandbox/lifecycle.ts';
import type { DockerSandbox } from '../../src/sandbox/sandbox.ts';
import type { ExecOptions, SandboxOptions } from '../../src/run/ports.ts';
import { stubGateway } from './stub-gateway.ts';
import type { StubGateway } from './stub-gateway.ts';

/** Real Docker and gVisor, with a stub on the other side of the socket. Everything made through it is gone after `close`. */
export interface Bench {
  machine: Machine;
  installation: string;
  host: SandboxHost;
  /** For hosts of a test's own. */
  kernel: KernelHost;
  create(change?: CreateChange): Promise<DockerSandbox & { gateway: StubGateway; runId: string }>;
  settings(change?: Change): SandboxSettings;
  close(): Promise<void>;
}

type Change = Partial<Record<keyof SandboxSettings, unknown>>;

interface CreateChange {
  settings?: Change;
  host?: SandboxHost;
  gateway?: StubGateway;
  role?: string;
  deadlineMs?: number;
  onRecord?: SandboxOptions['onRecord'];
}

export async function openBench(): Promise<Bench> {
  const machine = await prepareMachine({ onProgress: () => undefined });
  const installation = `test-${randomBytes(4).toString('hex')}`;
  const kernel = createKernelRecorder();
  const host = createSandboxes({
    dockerSocket: machine.dockerSocket,
    installation,
    toolboxDir: machine.toolboxDir,
    kernel,
  });
  const undo: (() => Promise<void>)[] = [];
  const settings = (change: Change = {}) =>
    SandboxSettings.parse({
      image: machine.image.ref,
      runtime: machine.runtime,
      memory: '512MiB',
      disk: '256MiB',
      processes: 128,
      ...change,
    });
  return {
    machine,
    installation,
    host,
    kernel,
    settings,
    async create(change = {}) {
      const gateway = change.gateway ?? (await stubGateway());
      if (change.gateway === undefined) undo.push(() => gateway.close());
      const id = runId(randomBytes(12));
      const sandbox = await (change.host ?? host).create({
        runId: id,
        role: change.role ?? 'agent',
        settings: settings(change.settings),
        socketDir: gateway.socketDir,
        deadline: Date.now() + (change.deadlineMs ?? 600_000),
        ports: [80, 443],
        ...(change.onRecord === undefined ? {} : { onRecord: change.onRecord }),
        signal: new AbortController().signal,
      });
      undo.push(() => sandbox.destroy());
      return { ...sandbox, gateway, runId: id };
    },
    async close() {
      for (const step of undo.toReversed()) await step().catch(() => undefined);
      await host.sweep({ remove: () => Promise.resolve(true) });
      await kernel.close();
      await machine.release();
    },
  };
}

export interface Ran {
  exitCode: number;
  timedOut: boolean;
  text: string;
}

/** Runs a command with its output collected (at most 1 MiB). */
export async function run(
  sandbox: Pick<DockerSandbox, 'exec'>,
  argv: string[],
  options: Partial<ExecOptions> = {},
): Promise<Ran> {
  const output = new PassThrough();
  let text = '';
  output.on('data', (piece: Buffer) => {
    if (text.length < 2 ** 20) text += piece.toString();
  });
  const result = await sandbox.exec({
    argv,
    user: 'agent',
    // No test waits for it: one that is about a limit names its own.
    timeoutMs: 240_000,
    stdout: output,
    stderr: output,
    ...options,
  });
  return { ...result, text };
}

/** Runs a script of the image's shell. */
export function shell(
  sandbox: Pick<DockerSandbox, 'exec'>,
  script: string,
  user: 'agent' | 'root' = 'agent',
): Promise<Ran> {
  return run(sandbox, ['bash', '-c', script], { user, cwd: '/' });
}

/** Runs a Python program of the image. */
export function python(
  sandbox: Pick<DockerSandbox, 'exec'>,
  program: string,
  user: 'agent' | 'root' = 'agent',
): Promise<Ran> {
  return run(sandbox, ['python3', '-c', program], { user, cwd: '/' });
}

/** The allowed way, for the twin of every denial: a name that is resolved, connected by name, and answers. */
export async function allowedWorks(sandbox: Pick<DockerSandbox, 'exec'>): Promise<boolean> {
  const { text } = await shell(sandbox, 'exec 3<>/dev/tcp/allowed.test/443; echo twin >&3; head -n 2 <&3');
  return text === 'hello\ntwin\n';
}
