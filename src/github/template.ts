import type { RunSpec } from '../domain/run.ts';
import { listDirectory, readBlob, type TreeFile } from '../git/tree.ts';
import type { Harvest } from '../run/ports.ts';

const MAX_BYTES = 65_536;
const DIRECTORIES = ['.github/', '', 'docs/'];
const NAME = /^pull_request_template\.(?:md|txt)$/i;
const DIRECTORY = /^pull_request_template$/i;
const FOLDER = '040000';

/**
 * The pull request template of the base, from where GitHub takes it; of a directory of templates the only one. Undefined: there is
 * none, or it cannot be used. Errors: `github`.
 */
export async function templateOf(spec: RunSpec, harvest: Harvest, signal: AbortSignal): Promise<string | undefined> {
  const at = { gitDir: harvest.repository, op: 'github.templateOf', code: 'github' as const, signal };
  // What a stranger in a fork makes of it is not the repository's.
  const commit = spec.fork?.since ?? spec.base;
  for (const directory of DIRECTORIES) {
    const entries = await listDirectory(at, commit, directory);
    const [folder] = [...entries].find(([name, { mode }]) => mode === FOLDER && DIRECTORY.test(name)) ?? [];
    const many = folder === undefined ? [] : await listDirectory(at, commit, `${directory}${folder}/`);
    const alone = filesOf(many, /\.(?:md|txt)$/i);
    const found = filesOf(entries, NAME)[0] ?? (alone.length === 1 ? alone[0] : undefined);
    if (found !== undefined) return (await readBlob(at, found.id, MAX_BYTES)).toString('utf8');
  }
  return undefined;
}

function filesOf(entries: Iterable<[string, TreeFile]>, named: RegExp): TreeFile[] {
  return [...entries].filter(([name, { mode }]) => mode.startsWith('100') && named.test(name)).map(([, file]) => file);
}
