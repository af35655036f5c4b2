import { createHash } from 'node:crypto';
import { copyFile, cp, mkdir, readFile, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import type Docker from 'dockerode';
import { CofferdamError } from '../../domain/errors.ts';
import { ensureBaseImage } from './base-image.ts';
import { buildImage, writeBuildInputs } from './build.ts';
import { imageId } from './docker.ts';
import { installLocked, packageVersion } from './npm.ts';
import type { Note } from './progress.ts';
import { allOrNone } from './together.ts';

const IMAGE_DIRECTORY = path.join(import.meta.dirname, '../../sandbox/image');
const MODULES = path.join(import.meta.dirname, '../../../node_modules');
const REPOSITORY = 'cofferdam/sandbox';
/** The first major version of Node that runs this project. */
const NODE_MAJOR = 24;

export interface SandboxImage {
  /** `cofferdam/sandbox:<hash of its inputs>`. */
  ref: string;
  /** The daemon's content id, `sha256:…`. */
  id: string;
}

/**
 * The Node that sandboxes get: the binary that this checkout brings for this processor, or where it brings none (as in the
 * product's own image) the one that runs this. Errors: `config` when that one is too old.
 */
export async function bundledNode(): Promise<{ file: string; version: string }> {
  const directory = path.join(MODULES, `node-linux-${process.arch}`);
  const version = await packageVersion(directory).catch(() => undefined);
  if (version !== undefined) return { file: path.join(directory, 'bin/node'), version };
  if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) {
    return { file: process.execPath, version: process.versions.node };
  }
  const message = `no Node for ${process.platform}-${process.arch} in node_modules: run \`npm install --no-save --ignore-scripts\``;
  throw new CofferdamError('config', 'local.bundledNode', message);
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
  const context = path.join(options.work, `image-${process.pid}`);
  try {
    // Each waits for downloads of its own.
    await allOrNone(
      [(signal) => ensureBaseImage({ ...options, dockerfile, signal }), (signal) => writeContext(context, signal)],
      options.signal,
    );
    note('building the image');
    await buildImage({ ...options, context, ref, labels: { 'cofferdam.image': 'sandbox' } });
    // The first stage is kept as untagged layers; nothing uses them again, since the next build has other inputs.
    await docker
      .pruneImages({ filters: { dangling: ['true'], label: ['cofferdam.stage=system'] } })
      .catch(() => undefined);
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
  await mkdir(context, { recursive: true });
  await copyFile(path.join(IMAGE_DIRECTORY, 'Dockerfile'), path.join(context, 'Dockerfile'));
  await writeBuildInputs(path.join(context, 'build'), signal);
  await writeNodeRuntime(path.join(context, 'runtime'), signal);
}

/** Node and npm as they lie below /usr/local. */
export async function writeNodeRuntime(runtime: string, signal: AbortSignal | undefined): Promise<void> {
  await mkdir(path.join(runtime, 'bin'), { recursive: true });
  const { file } = await bundledNode();
  await copyFile(file, path.join(runtime, 'bin/node'));
  const staging = `${runtime}-npm`;
  await mkdir(staging);
  await installLocked({ manifest: IMAGE_DIRECTORY, target: staging, signal });
  await cp(path.join(staging, 'node_modules/npm'), path.join(runtime, 'lib/node_modules/npm'), { recursive: true });
  await rm(staging, { recursive: true, force: true });
  for (const name of ['npm', 'npx']) {
    await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, path.join(runtime, 'bin', name));
  }
}
