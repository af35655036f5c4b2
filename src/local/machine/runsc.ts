import { access, mkdir, realpath, rename, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { CofferdamError } from '../../domain/errors.ts';
import { runCommand } from './process.ts';
import { debianArchives, hostRelease, newerReleases, sourceLines } from './sources.ts';
import { unpackPackages } from './unpack.ts';
import type { MachinePaths } from './directory.ts';

/** The oldest release whose systrap platform and Unix socket flags this project relies on. */
export const OLDEST_RUNSC = 20240401;

export interface Runsc {
  path: string;
  /** Release date as runsc prints it, such as `20240729.0`. */
  version: string;
}

/** The release in the output of `runsc --version`: a bare date, or one with a prefix. Undefined when it has none. */
export function parseRunscVersion(text: string): string | undefined {
  return /\b(?:release-)?(?:0\.0~)?(20\d{6}(?:\.\d+)?)\b/.exec(text)?.[1];
}

export function isRecentRunsc(version: string): boolean {
  return Number.parseInt(version, 10) >= OLDEST_RUNSC;
}

/** A usable runsc of this machine: on the PATH, or fetched earlier. */
export async function findRunsc(paths: MachinePaths, signal?: AbortSignal): Promise<Runsc | undefined> {
  const onPath = (process.env['PATH'] ?? '').split(':').map((directory) => path.join(directory, 'runsc'));
  for (const file of [path.join(paths.runsc, 'runsc'), ...onPath]) {
    const runsc = await inspectRunsc(file, signal);
    if (runsc !== undefined && isRecentRunsc(runsc.version)) return runsc;
  }
  return undefined;
}

/** A runsc binary's version; undefined when it is not there or does not run. */
export async function inspectRunsc(file: string, signal?: AbortSignal): Promise<Runsc | undefined> {
  const found = await access(file).then(
    () => true,
    () => false,
  );
  if (!found) return undefined;
  const { exitCode, stdout } = await runCommand([file, '--version'], { timeoutMs: 10_000, signal });
  const version = parseRunscVersion(stdout);
  return exitCode === 0 && version !== undefined ? { path: await realpath(file), version } : undefined;
}

/**
 * Fetches runsc from Debian: this release, its backports, or the next release, with package lists of its own, so that the
 * host's apt configuration stays as it is. Nothing is installed: the package is unpacked into the machine directory.
 * Errors: `runtime_missing` when no archive has a recent one.
 */
export async function fetchRunsc(paths: MachinePaths, signal?: AbortSignal): Promise<Runsc> {
  const archives = await debianArchives(signal);
  const release = hostRelease(archives);
  const tried: string[] = [];
  for (const suite of [release, ...newerReleases(release)]) {
    const work = path.join(paths.work, `runsc-${suite}-${process.pid}`);
    try {
      const sources = sourceLines(archives, suite, false);
      const runsc = await fetchFrom({ work, sources, target: paths.runsc, signal });
      if (runsc !== undefined) return runsc;
      tried.push(`${suite}: too old`);
    } catch (error) {
      if (signal?.aborted === true) throw error;
      tried.push(`${suite}: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  throw new CofferdamError(
    'runtime_missing',
    'local.fetchRunsc',
    `no runsc of ${OLDEST_RUNSC} or later in Debian's archives; install a current one as /usr/local/bin/runsc. Tried:\n${tried.join('\n')}`,
  );
}

interface FetchOptions {
  work: string;
  sources: string[];
  target: string;
  signal: AbortSignal | undefined;
}

async function fetchFrom({ work, sources, target, signal }: FetchOptions): Promise<Runsc | undefined> {
  const root = await unpackPackages({ names: ['runsc'], sources, work, signal });
  const unpacked = await inspectRunsc(path.join(root, 'usr/bin/runsc'), signal);
  if (unpacked === undefined || !isRecentRunsc(unpacked.version)) return undefined;
  // A directory for each version: a running daemon keeps the binary that its containers were started with.
  const version = path.join(target, unpacked.version);
  await mkdir(target, { recursive: true });
  await rm(version, { recursive: true, force: true });
  await rename(path.join(root, 'usr/bin'), version);
  const link = path.join(target, 'runsc');
  await rm(link, { force: true });
  await symlink(path.join(unpacked.version, 'runsc'), link);
  return { path: path.join(version, 'runsc'), version: unpacked.version };
}
