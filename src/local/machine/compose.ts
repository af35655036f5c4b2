import { chmod, mkdir, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { CofferdamError } from '../../domain/errors.ts';
import type { MachinePaths } from './directory.ts';
import { findProgram, installPrograms, missingPrograms } from './packages.ts';
import { mustRun } from './process.ts';
import { debianArchives, hostRelease, newerReleases, sourceLines } from './sources.ts';
import { unpackPackages } from './unpack.ts';

/** A program that brings a compose file up. */
export interface Compose {
  program: string;
  /** Such as `1.29.2`. */
  version: string;
}

/**
 * The composes that the project's file must be valid for: this Debian's own, and a v2 (as a program of its own) from a later
 * release where this one is older. Errors: `docker_unavailable` with apt's words.
 */
export async function ensureComposes(paths: MachinePaths, signal?: AbortSignal): Promise<Compose[]> {
  const missing = await missingPrograms(['compose']);
  if (missing.length > 0) await installPrograms(missing, signal);
  const own = await inspect((await findProgram('docker-compose')) ?? 'docker-compose', signal);
  if (!own.version.startsWith('1.')) return [own];
  return [own, await ensureSecond(paths, signal)];
}

async function ensureSecond(paths: MachinePaths, signal: AbortSignal | undefined): Promise<Compose> {
  const kept = path.join(paths.root, 'compose');
  const program = path.join(kept, 'docker-compose');
  if ((await readdir(kept).catch((): string[] => [])).includes('docker-compose')) return inspect(program, signal);
  const archives = await debianArchives(signal);
  const tried: string[] = [];
  for (const suite of newerReleases(hostRelease(archives))) {
    const work = path.join(paths.work, `compose-${suite}-${process.pid}`);
    try {
      const sources = sourceLines(archives, suite, false);
      const root = await unpackPackages({ names: ['docker-compose'], sources, work, signal });
      const unpacked = path.join(root, 'usr/libexec/docker/cli-plugins/docker-compose');
      await inspect(unpacked, signal);
      await mkdir(kept, { recursive: true });
      await chmod(unpacked, 0o755);
      await rename(unpacked, program);
      return await inspect(program, signal);
    } catch (error) {
      if (signal?.aborted === true) throw error;
      tried.push(`${suite}: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  const message = `no Compose v2 in Debian's archives. Tried:\n${tried.join('\n')}`;
  throw new CofferdamError('docker_unavailable', 'local.ensureComposes', message);
}

async function inspect(program: string, signal: AbortSignal | undefined): Promise<Compose> {
  const { stdout } = await mustRun([program, 'version'], { signal });
  const version = /\b(\d+\.\d+\.\d+)\b/.exec(stdout)?.[1];
  if (version !== undefined) return { program, version };
  throw new CofferdamError('docker_unavailable', 'local.inspectCompose', `${program} says no version: ${stdout}`);
}
