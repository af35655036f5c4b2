import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { mustRun } from './process.ts';

/**
 * Downloads Debian packages with package lists of their own and unpacks them below `work`, installing nothing: the host's
 * apt configuration and its packages stay as they are. Signatures are checked by apt as always.
 * Returns the unpacked root. Errors: `docker_unavailable` with apt's words, such as a name that the archive does not have.
 */
export async function unpackPackages(options: {
  names: readonly string[];
  /** One-line sources. */
  sources: readonly string[];
  work: string;
  signal?: AbortSignal | undefined;
}): Promise<string> {
  const { names, sources, work, signal } = options;
  await mkdir(path.join(work, 'lists/partial'), { recursive: true });
  await mkdir(path.join(work, 'cache/archives/partial'), { recursive: true });
  await writeFile(path.join(work, 'sources.list'), `${sources.join('\n')}\n`);
  const settings = [
    `Dir::Etc::sourcelist=${work}/sources.list`,
    'Dir::Etc::sourceparts=/dev/null',
    'Dir::Etc::preferencesparts=/dev/null',
    `Dir::State::lists=${work}/lists`,
    `Dir::Cache=${work}/cache`,
    // apt's sandbox user cannot enter our directory.
    'APT::Sandbox::User=root',
  ].flatMap((setting) => ['-o', setting]);
  await mustRun(['apt-get', ...settings, '-q', 'update'], { signal, cwd: work });
  await mustRun(['apt-get', ...settings, '-q', 'download', ...names], { signal, cwd: work });
  const root = path.join(work, 'root');
  await mkdir(root);
  for (const file of (await readdir(work)).filter((name) => name.endsWith('.deb'))) {
    await mustRun(['dpkg', '-x', path.join(work, file), root], { signal });
  }
  return root;
}
