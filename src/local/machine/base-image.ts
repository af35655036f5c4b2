import { chmod, mkdir, rm } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import path from 'node:path';
import type Docker from 'dockerode';
import { CofferdamError } from '../../domain/errors.ts';
import { followToEnd, imageId } from './docker.ts';
import { aptProxyLines } from './host.ts';
import { findProgram } from './packages.ts';
import { asRoot, mustRun } from './process.ts';
import type { Note } from './progress.ts';
import { debianArchives, sourceLines } from './sources.ts';
import type { DebianArchive } from './sources.ts';

/** The image that a Dockerfile begins with. Errors: `config` when it has no FROM line. */
export function baseOf(dockerfile: string): { ref: string; repo: string; tag: string; release: string } {
  const ref = /^FROM\s+(\S+)/im.exec(dockerfile)?.[1];
  const [repo, tag] = (ref ?? '').split(':');
  if (ref === undefined || repo === undefined || tag === undefined) {
    throw new CofferdamError('config', 'local.baseOf', 'the Dockerfile has no `FROM image:tag` line');
  }
  return { ref, repo, tag, release: tag.replace(/-slim$/, '') };
}

/**
 * Provides the base image under the tag that the Dockerfile names, so that the file builds unchanged elsewhere: what the daemon
 * has is used; else the system is made from this host's own Debian archives; where that is not possible it is pulled.
 */
export async function ensureBaseImage(options: {
  docker: Docker;
  dockerfile: string;
  work: string;
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<void> {
  const { docker, work, note, signal } = options;
  const base = baseOf(options.dockerfile);
  if ((await imageId(docker, base.ref)) !== undefined) return;
  if ((await findProgram('mmdebstrap')) === undefined) {
    note(`pulling ${base.ref}`);
    const stream = await docker.pull(base.ref);
    await followToEnd(docker, stream, 'local.ensureBaseImage', () => undefined);
    return;
  }
  note(`making ${base.ref} from this host's Debian archives`);
  const directory = path.join(work, `base-${process.pid}`);
  const tar = path.join(directory, 'base.tar');
  await mkdir(directory, { recursive: true });
  try {
    // mmdebstrap's own sandbox user must be able to enter its temporary directory.
    await chmod(directory, 0o755);
    const archives = await debianArchives(signal);
    const argv = debootstrapCommand({ archives, release: base.release, tar, proxies: await aptProxyLines(signal) });
    await mustRun(asRoot(argv), { signal });
    const stream = await docker.importImage(createReadStream(tar), { repo: base.repo, tag: base.tag });
    await followToEnd(docker, stream, 'local.ensureBaseImage', () => undefined);
  } finally {
    await mustRun(asRoot(['rm', '-f', tar]));
    await rm(directory, { recursive: true, force: true });
  }
}

/** The command that makes a minimal system as a tar file; documentation is left out as in Debian's own slim images. */
export function debootstrapCommand(options: {
  archives: readonly DebianArchive[];
  release: string;
  tar: string;
  proxies: readonly string[];
}): string[] {
  const { archives, release, tar, proxies } = options;
  const keyrings = [...new Set(archives.flatMap(({ signedBy }) => (signedBy === undefined ? [] : [signedBy])))];
  const left = [
    '/usr/share/doc/*',
    '/usr/share/man/*',
    '/usr/share/info/*',
    '/usr/share/locale/*',
    '/usr/share/lintian/*',
  ];
  return [
    'mmdebstrap',
    '--quiet',
    '--mode=root',
    '--variant=minbase',
    // An image that was cut off by a power failure is made anew: dpkg need not sync each file, here and in the builds upon it.
    '--dpkgopt=force-unsafe-io',
    ...left.map((glob) => `--dpkgopt=path-exclude=${glob}`),
    '--dpkgopt=path-include=/usr/share/doc/*/copyright',
    ...proxies.map((line) => `--aptopt=${line}`),
    // A mirror with a key of its own works inside the image only with that key.
    ...keyrings.map((file) => `--customize-hook=test -e "$1${file}" || install -D -m 644 "${file}" "$1${file}"`),
    '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"',
    release,
    tar,
    ...sourceLines(archives, release, true),
  ];
}
