import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type Docker from 'dockerode';
import { CofferdamError } from '../../domain/errors.ts';
import { baseOf, ensureBaseImage } from './base-image.ts';
import { buildImage, writeBuildInputs } from './build.ts';
import { imageId } from './docker.ts';
import { bundledNode, writeNodeRuntime } from './image.ts';
import type { Note } from './progress.ts';

/*
 * The product's own image and the two public images that the Dockerfile and docker-compose.yml name, made here from Debian's
 * archives and this checkout's Node under the same tags. Where a registry of images is reachable, nothing of this is needed.
 */

const ROOT = path.join(import.meta.dirname, '../../..');
const PRODUCT = 'cofferdam/cofferdam:latest';
/** What the Dockerfile copies. */
const SOURCES = ['Dockerfile', 'package.json', 'package-lock.json', '.npmrc', 'LICENSE', 'app.yml', 'src'] as const;
const INPUTS_LABEL = 'cofferdam.inputs';

/** Users have the ids that they have in the public images, since volumes keep them. */
const NODE_BASE = `FROM debian:bookworm-slim
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --shell /bin/bash --create-home node
COPY runtime/ /usr/local/
CMD ["node"]
`;
const REDIS_BASE = `FROM debian:bookworm-slim AS system
LABEL cofferdam.stage=base
COPY build/ /tmp/build/
RUN set -eu; groupadd -r -g 999 redis; useradd -r -g redis -u 999 redis; \\
    if [ -s /tmp/build/apt.conf ]; then cp /tmp/build/apt.conf /etc/apt/apt.conf.d/95build; fi; \\
    apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install redis-server; \\
    apt-get clean; rm -rf /var/lib/apt/lists/* /tmp/build /etc/apt/apt.conf.d/95build; \\
    mkdir /data; chown redis:redis /data
FROM scratch
COPY --from=system / /
USER redis
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
`;

interface Options {
  docker: Docker;
  work: string;
  note: Note;
  signal?: AbortSignal | undefined;
}

/**
 * Provides the product's image and the images that it is made and used with. Returns the product's content id.
 * Errors: `docker_unavailable` with the last lines of a build.
 */
export async function ensureProductImage(options: Options & { redis: string }): Promise<{ ref: string; id: string }> {
  const { docker } = options;
  await ensureMade({
    ...options,
    ref: baseOf(await readFile(path.join(ROOT, 'Dockerfile'), 'utf8')).ref,
    dockerfile: NODE_BASE,
  });
  await ensureMade({ ...options, ref: options.redis, dockerfile: REDIS_BASE });
  const inputs = await inputsHash();
  const present = await docker.listImages({ filters: { reference: [PRODUCT], label: [`${INPUTS_LABEL}=${inputs}`] } });
  if (present[0] !== undefined) return { ref: PRODUCT, id: present[0].Id };
  options.note(`building ${PRODUCT}`);
  await inContext(options, async (context) => {
    for (const name of SOURCES) await cp(path.join(ROOT, name), path.join(context, name), { recursive: true });
    await writeBuildInputs(path.join(context, '.build'), options.signal);
    const labels = { 'cofferdam.image': 'product', [INPUTS_LABEL]: inputs };
    await buildImage({ ...options, context, ref: PRODUCT, labels });
  });
  await removeOld(docker, { label: ['cofferdam.image=product'] });
  // Stages of today are the next build's cache.
  await removeOld(docker, { label: ['cofferdam.stage=product'], until: ['24h'] });
  const id = await imageId(docker, PRODUCT);
  if (id !== undefined) return { ref: PRODUCT, id };
  throw new CofferdamError('docker_unavailable', 'local.ensureProductImage', `the build left no image ${PRODUCT}`);
}

/** Of images without a tag; what is in use stays. */
async function removeOld(docker: Docker, filters: Record<string, string[]>): Promise<void> {
  await docker.pruneImages({ filters: { dangling: ['true'], ...filters } }).catch(() => undefined);
}

/** A public image's stand-in; what the daemon has under that tag is used, be it the public one. */
async function ensureMade(options: Options & { ref: string; dockerfile: string }): Promise<void> {
  const { docker, ref, dockerfile, note, signal } = options;
  if ((await imageId(docker, ref)) !== undefined) return;
  await ensureBaseImage({ ...options, dockerfile });
  note(`making ${ref}`);
  await inContext(options, async (context) => {
    await writeFile(path.join(context, 'Dockerfile'), dockerfile);
    await writeBuildInputs(path.join(context, 'build'), signal);
    if (dockerfile.includes('COPY runtime/')) await writeNodeRuntime(path.join(context, 'runtime'), signal);
    await buildImage({ ...options, context, labels: { 'cofferdam.image': 'base' } });
  });
  await removeOld(docker, { label: ['cofferdam.stage=base'] });
}

async function inContext(options: Options, work: (context: string) => Promise<void>): Promise<void> {
  const context = path.join(options.work, `product-${process.pid}`);
  try {
    await mkdir(context, { recursive: true });
    await work(context);
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

/** Changes with everything that the image is made of in this checkout. */
async function inputsHash(): Promise<string> {
  const hash = createHash('sha256').update(`${(await bundledNode()).version} ${process.arch}\0`);
  for (const name of SOURCES) {
    const entries =
      name === 'src' ? await readdir(path.join(ROOT, name), { recursive: true, withFileTypes: true }) : [];
    const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
    for (const file of name === 'src' ? files.toSorted() : [path.join(ROOT, name)]) {
      hash
        .update(`${path.relative(ROOT, file)}\0`)
        .update(await readFile(file))
        .update('\0');
    }
  }
  return hash.digest('hex').slice(0, 16);
}
