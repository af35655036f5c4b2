import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { SandboxSettings } from '../domain/policy.ts';
import { demultiplex } from './demultiplex.ts';
import { createDocker, type Docker } from './docker.ts';
import { commandEnvironment } from './environment.ts';
import { TOOLBOX } from './layout.ts';
import type { KernelRecorder } from './kernel/recorder.ts';
import { refusePreload, requirements } from './lifecycle.ts';
import { recordingFor, startRecorded } from './process-record.ts';
import type { SandboxRecord } from './process-record.ts';
import { removeContainer } from './sandbox.ts';
import { containerSpec, type ImageFacts } from './spec.ts';

/** Where probe containers are made. */
export interface ProbeHost {
  dockerSocket: string;
  installation: string;
  toolboxDir: string;
  settings: SandboxSettings;
  kernel: KernelRecorder;
}

const MAX_OUTPUT = 65_536;

/** Both output streams of a command in a container without any way out, which is gone afterwards. */
export async function probe(
  docker: Docker,
  host: ProbeHost,
  options: { command: (image: ImageFacts) => readonly string[]; limitMs: number },
): Promise<string> {
  const { settings } = host;
  const { image, hostCpus, runtime } = await requirements(docker, settings);
  const recording = await recordingFor({ runtime, settings, recorder: host.kernel });
  const spec = containerSpec({
    installation: host.installation,
    runId: 'probe',
    role: 'probe',
    settings,
    socketDir: undefined,
    toolboxDir: host.toolboxDir,
    image,
    hostCpus,
    command: options.command(image),
  });
  const id = await docker.create(
    spec,
    `cofferdam-probe-${process.pid}-${Date.now()}-${randomBytes(3).toString('hex')}`,
  );
  let record: SandboxRecord | undefined;
  try {
    await refusePreload(docker, id);
    const output = new PassThrough();
    let text = '';
    output.on('data', (piece: Buffer) => (text.length < MAX_OUTPUT ? (text += piece.toString('utf8')) : undefined));
    const attached = await docker.attach(id);
    attached.on('error', () => undefined);
    const finished = demultiplex(attached, { stdout: output, stderr: output }).catch(() => undefined);
    record = await startRecorded({ docker, container: id, recording, onRecord: undefined });
    await Promise.race([finished, delay(options.limitMs, undefined, { ref: false })]);
    return text;
  } finally {
    await record?.finish();
    await removeContainer(docker, id).catch(() => undefined);
  }
}

/**
 * Runs a shell script of ours in the sandbox image, with the environment that commands get there, no network and no
 * workspace: what the image's own programs are configured for.
 */
export async function askImage(host: ProbeHost, script: string, limitMs: number): Promise<string> {
  const docker = createDocker({ socketPath: host.dockerSocket });
  return probe(docker, host, {
    limitMs,
    command: ({ env }) => {
      const variables = commandEnvironment({ user: 'agent', imageEnv: env, ca: false, gitBase: undefined, extra: {} });
      return [TOOLBOX.busybox, 'env', '-i', ...variables, '/bin/sh', '-c', script];
    },
  });
}
