import { spawn } from 'node:child_process';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type Docker from 'dockerode';
import { followToEnd } from './docker.ts';
import { aptProxyLines, hostCaFile, npmSettings } from './host.ts';
import type { Note } from './progress.ts';

/** Where the Dockerfiles of this project find {@link writeBuildInputs}' files while they build. */
const INSIDE = '/tmp/build';

/**
 * Writes what this host needs to reach its package archives, for the stages of a Dockerfile that are thrown away: `ca.pem`,
 * `apt.conf` (both optional in use) and `npmrc`.
 */
export async function writeBuildInputs(directory: string, signal: AbortSignal | undefined): Promise<void> {
  await mkdir(directory, { recursive: true });
  const apt = await aptProxyLines(signal);
  const npm = await npmSettings(signal);
  const ca = await hostCaFile();
  if (ca !== undefined) {
    await copyFile(ca, path.join(directory, 'ca.pem'));
    apt.push(`Acquire::https::CAInfo "${INSIDE}/ca.pem";`);
    npm.push(`cafile=${INSIDE}/ca.pem`);
  }
  await writeFile(path.join(directory, 'apt.conf'), apt.map((line) => `${line}\n`).join(''));
  await writeFile(path.join(directory, 'npmrc'), npm.map((line) => `${line}\n`).join(''));
}

/** Builds a directory with a Dockerfile, on the host's network. Errors: `docker_unavailable` with the last lines of output. */
export async function buildImage(options: {
  docker: Docker;
  context: string;
  ref: string;
  labels: Record<string, string>;
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<void> {
  const { docker, context, ref, labels, signal } = options;
  const tar = spawn('tar', ['-C', context, '--owner=0', '--group=0', '-c', '.'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const stream = await docker.buildImage(tar.stdout, {
    t: ref,
    networkmode: 'host',
    labels,
    forcerm: true,
    ...(signal === undefined ? {} : { abortSignal: signal }),
  });
  await followToEnd(docker, stream, 'local.buildImage', (line) => {
    const said = buildStep(line);
    if (said !== undefined) options.note(said);
  });
}

/** What Docker says when it begins a step of a Dockerfile, for those that take time. */
export function buildStep(line: string): string | undefined {
  const [, step, of, instruction] = /^Step (\d+)\/(\d+) : (RUN|COPY) /.exec(line) ?? [];
  if (step === undefined || of === undefined) return undefined;
  return `step ${step} of ${of}: ${instruction === 'RUN' ? 'installing' : 'copying'}`;
}
