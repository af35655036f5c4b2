import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CofferdamError } from '../../domain/errors.ts';
import { runCommand } from './process.ts';

const PackageFile = z.object({ name: z.string(), version: z.string() });

/** The version in a package's own package.json. */
export async function packageVersion(directory: string): Promise<string> {
  return PackageFile.parse(JSON.parse(await readFile(path.join(directory, 'package.json'), 'utf8'))).version;
}

/**
 * Installs the locked packages of a manifest into another directory, without running any package's scripts.
 * The registry is the one that npm is configured for; the lock file names versions and hashes only.
 * Errors: `docker_unavailable` with npm's reason.
 */
export async function installLocked(options: {
  manifest: string;
  target: string;
  signal?: AbortSignal | undefined;
}): Promise<void> {
  for (const name of ['package.json', 'package-lock.json']) {
    await copyFile(path.join(options.manifest, name), path.join(options.target, name));
  }
  await writeFile(path.join(options.target, '.npmrc'), 'fund=false\naudit=false\nupdate-notifier=false\n');
  const { exitCode, stderr } = await runCommand(['npm', 'ci', '--ignore-scripts', '--prefix', options.target], {
    cwd: options.target,
    signal: options.signal,
  });
  if (exitCode === 0) return;
  // npm begins with the reason and ends with where its log is.
  const reason = stderr.trim().split('\n').slice(0, 6).join('\n');
  const advice =
    'See `npm config get registry` and the proxy settings of this host, then start again: the rest is kept.';
  const message = `npm cannot install ${path.basename(options.manifest)}:\n${reason}\n${advice}`;
  throw new CofferdamError('docker_unavailable', 'local.installLocked', message);
}
