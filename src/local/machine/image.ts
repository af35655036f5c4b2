import { createHash } from 'node:crypto';
import { spawn } from 'node:child_process';
import { copyFile, cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type Docker from 'dockerode';
import { CofferdamError } from '../../domain/errors.ts';
import { ensureBaseImage } from './base-image.ts';
import { followToEnd, imageId } from './docker.ts';
import { aptProxyLines, hostCaFile } from './host.ts';
import { installLocked, packageVersion } from './npm.ts';
import type { Note } from './progress.ts';

const IMAGE_DIRECTORY = path.join(import.meta.dirname, '../../sandbox/image');
const MODULES = path.join(import.meta.dirname, '../../../node_modules');
const REPOSITORY = 'cofferdam/sandbox';

export interface SandboxImage {
  /** `cofferdam/sandbox:<hash of its inputs>`. */
  ref: string;
  /** The daemon's content id, `sha256:…`. */
  id: string;
}

/** The directory of the Node binary that this checkout brings for this processor. Errors: `config` when it is not installed. */
export async function bundledNode(): Promise<{ directory: string; version: string }> {
  const directory = path.join(MODULES, `node-linux-${process.arch}`);
  try {
    return { directory, version: await packageVersion(directory) };
  } catch (cause) {
    const message = `no Node for ${process.platform}-${process.arch} in node_modules: run \`npm ci --ignore-scripts\``;
    throw new CofferdamError('config', 'local.bundledNode', message, cause);
  }
}

/** The tag of the image that this checkout describes: it changes with the Dockerfile and with what is copied into the image. */
async function imageTag(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of ['Dockerfile', 'package.json', 'package-lock.json']) {
    hash.update(await readFile(path.join(IMAGE_DIRECTORY, name))).update('\0');
  }
  const { version } = await bundledNode();
  return hash.update(`${version} ${process.arch}`).digest('hex').slice(0, 12);
}

/** Provides the sandbox image on the daemon, building it when its inputs changed. The tag `latest` follows. */
export async function ensureImage(options: {
  docker: Docker;
  work: string;
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<SandboxImage & { built: boolean }> {
  const { docker, note } = options;
  const tag = await imageTag();
  const ref = `${REPOSITORY}:${tag}`;
  const present = await imageId(docker, ref);
  if (present !== undefined) return { ref, id: present, built: false };
  const dockerfile = await readFile(path.join(IMAGE_DIRECTORY, 'Dockerfile'), 'utf8');
  await ensureBaseImage({ ...options, dockerfile });
  note('building the image');
  const context = path.join(options.work, `image-${process.pid}`);
  try {
    await writeContext(context, options.signal);
    await build({ ...options, context, ref });
  } finally {
    await rm(context, { recursive: true, force: true });
  }
  const id = await imageId(docker, ref);
  if (id === undefined) {
    throw new CofferdamError('docker_unavailable', 'local.ensureImage', `the build left no image ${ref}`);
  }
  await docker.getImage(ref).tag({ repo: REPOSITORY, tag: 'latest' });
  return { ref, id, built: true };
}

async function writeContext(context: string, signal: AbortSignal | undefined): Promise<void> {
  const runtime = path.join(context, 'runtime');
  await mkdir(path.join(context, 'build'), { recursive: true });
  await mkdir(path.join(runtime, 'bin'), { recursive: true });
  await copyFile(path.join(IMAGE_DIRECTORY, 'Dockerfile'), path.join(context, 'Dockerfile'));
  const apt = await aptProxyLines(signal);
  const ca = await hostCaFile();
  if (ca !== undefined) {
    await copyFile(ca, path.join(context, 'build/ca.pem'));
    apt.push('Acquire::https::CAInfo "/tmp/build/ca.pem";');
  }
  await writeFile(path.join(context, 'build/apt.conf'), apt.map((line) => `${line}\n`).join(''));
  const { directory } = await bundledNode();
  await copyFile(path.join(directory, 'bin/node'), path.join(runtime, 'bin/node'));
  const staging = path.join(context, 'npm');
  await mkdir(staging);
  await installLocked({ manifest: IMAGE_DIRECTORY, target: staging, signal });
  await cp(path.join(staging, 'node_modules/npm'), path.join(runtime, 'lib/node_modules/npm'), { recursive: true });
  await rm(staging, { recursive: true, force: true });
  for (const name of ['npm', 'npx']) {
    await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, path.join(runtime, 'bin', name));
  }
}

async function build(options: {
  docker: Docker;
  context: string;
  ref: string;
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<void> {
  const { docker, context, ref, signal } = options;
  const op = 'local.buildImage';
  const tar = spawn('tar', ['-C', context, '--owner=0', '--group=0', '-c', '.'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const stream = await docker.buildImage(tar.stdout, {
    t: ref,
    networkmode: 'host',
    labels: { 'cofferdam.image': 'sandbox' },
    forcerm: true,
    ...(signal === undefined ? {} : { abortSignal: signal }),
  });
  await followToEnd(docker, stream, op, (line) => {
    if (line.startsWith('Step ')) options.note(line.trim().slice(0, 100));
  });
  // The first stage is kept as untagged layers; nothing uses them again, since the next build has other inputs.
  await docker
    .pruneImages({ filters: { dangling: ['true'], label: ['cofferdam.stage=system'] } })
    .catch(() => undefined);
}
