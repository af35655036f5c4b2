import { git, gitText } from './git.ts';
import type { At } from './plumbing.ts';

// Preconditions: as in plumbing.ts.

export interface TreeFile {
  mode: string;
  id: string;
}

/** Every file, symlink and submodule of a commit or tree, by path. */
export async function listFiles(at: At, treeish: string): Promise<Map<string, TreeFile>> {
  return list(at, ['-r', '--end-of-options', treeish], 256 * 2 ** 20);
}

/** What stands in one directory, directories too, by name. `directory` is empty for the root, or ends with a slash. */
export async function listDirectory(at: At, treeish: string, directory: string): Promise<Map<string, TreeFile>> {
  const args = ['--end-of-options', treeish, ...(directory === '' ? [] : ['--', directory])];
  const entries = await list(at, args, 16 * 2 ** 20);
  return new Map([...entries].map(([path, entry]) => [path.slice(directory.length), entry]));
}

async function list(at: At, args: readonly string[], maxOutputBytes: number): Promise<Map<string, TreeFile>> {
  const output = await git({ ...at, args: ['ls-tree', '-z', '--full-tree', ...args], maxOutputBytes });
  const entries = new Map<string, TreeFile>();
  for (const record of output.toString('utf8').split('\0')) {
    const [, mode, id, path] = /^(\d{6}) \w+ ([0-9a-f]+)\t(.*)$/s.exec(record) ?? [];
    if (mode !== undefined && id !== undefined && path !== undefined) entries.set(path, { mode, id });
  }
  return entries;
}

/** Content of a blob. Errors: `at.code` above `maxBytes`. */
export function readBlob(at: At, id: string, maxBytes: number): Promise<Buffer> {
  return git({ ...at, args: ['cat-file', 'blob', id], maxOutputBytes: maxBytes });
}

/**
 * The tree with these files as they are given; null: without the file. Nothing is checked out. `index`: a file of this call's own.
 */
export async function replaceFiles(
  at: At,
  options: { tree: string; files: ReadonlyMap<string, TreeFile | null>; index: string },
): Promise<string> {
  const { tree, files, index } = options;
  const env = { GIT_INDEX_FILE: index };
  const zero = '0'.repeat(tree.length);
  await git({ ...at, env, args: ['read-tree', '--end-of-options', tree] });
  // What goes makes room for what comes.
  const rows = [...files].sort(([, a], [, b]) => Number(a !== null) - Number(b !== null));
  const stdin = rows.map(([path, file]) => `${file?.mode ?? '0'} ${file?.id ?? zero}\t${path}\0`).join('');
  await git({ ...at, env, args: ['update-index', '-z', '--index-info'], stdin });
  return gitText({ ...at, env, args: ['write-tree'] });
}
