import type { RunSpec } from '../domain/run.ts';
import { git } from '../git/git.ts';
import { readBlob } from '../git/tree.ts';
import type { Harvest } from '../run/ports.ts';

const MAX_BYTES = 65_536;
const DIRECTORIES = ['.github/', '', 'docs/'];
const NAME = /^pull_request_template\.(?:md|txt)$/i;
const DIRECTORY = /^pull_request_template$/i;

interface Entry {
  name: string;
  id: string;
  kind: 'file' | 'directory' | 'other';
}

/**
 * The pull request template of the base, from where GitHub takes it; of a directory of templates the only one. Undefined: there is
 * none, or it cannot be used. Errors: `github`.
 */
export async function templateOf(spec: RunSpec, harvest: Harvest, signal: AbortSignal): Promise<string | undefined> {
  const at = { gitDir: harvest.repository, op: 'github.templateOf', code: 'github' as const, signal };
  // What a stranger in a fork makes of it is not the repository's.
  const commit = spec.fork?.since ?? spec.base;
  for (const directory of DIRECTORIES) {
    const entries = await list(at, commit, directory);
    const folder = entries.find(({ name, kind }) => kind === 'directory' && DIRECTORY.test(name));
    const many = folder === undefined ? [] : await list(at, commit, `${directory}${folder.name}/`);
    const alone = many.filter(({ name, kind }) => kind === 'file' && /\.(?:md|txt)$/i.test(name));
    const found =
      entries.find(({ name, kind }) => kind === 'file' && NAME.test(name)) ??
      (alone.length === 1 ? alone[0] : undefined);
    if (found !== undefined) return (await readBlob(at, found.id, MAX_BYTES)).toString('utf8');
  }
  return undefined;
}

async function list(
  at: { gitDir: string; op: string; code: 'github'; signal: AbortSignal },
  commit: string,
  directory: string,
): Promise<Entry[]> {
  const paths = directory === '' ? [] : ['--', directory];
  const args = ['ls-tree', '-z', '--full-tree', '--end-of-options', commit, ...paths];
  const output = await git({ ...at, args, maxOutputBytes: 16 * 2 ** 20 });
  return output
    .toString('utf8')
    .split('\0')
    .flatMap((record): Entry[] => {
      const [, mode, id, path] = /^(\d{6}) \w+ ([0-9a-f]+)\t(.*)$/s.exec(record) ?? [];
      if (mode === undefined || id === undefined || path === undefined) return [];
      const kind = mode.startsWith('100') ? 'file' : mode === '040000' ? 'directory' : 'other';
      return [{ name: path.slice(directory.length), id, kind }];
    });
}
