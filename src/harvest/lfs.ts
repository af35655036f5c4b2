/**
 * Files of Git LFS in a result. Objects are neither downloaded nor uploaded for a run, so what lies in the workspace are pointers: a new
 * one would name an object that nobody has, and every clone would fail on it (github.com refuses such a push).
 *
 * Trust: contents and names are the agent's; which files belong in Git LFS is said by the base.
 */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { git } from '../git/git.ts';
import { listFiles, type TreeFile } from '../git/tree.ts';
import { isPointer, MAX_POINTER_BYTES } from '../policy/diff/lfs.ts';
import { refused } from './limits.ts';
import { blobSizes, inStore, readObjects, type Store } from './objects.ts';
import type { Change } from './tree-walk.ts';

const MAX_NAMED = 10;

/**
 * Paths that belong in Git LFS by the base's attributes and hold ordinary content in the result. A pointer that is moved or copied
 * passes: its object is there.
 * Errors: `harvest` that names new pointers.
 */
export async function checkLfs(store: Store, base: string, changes: readonly Change[]): Promise<Set<string>> {
  const added = changes.filter(({ before, after }) => after?.mode.startsWith('100') && after.id !== before?.id);
  if (added.length === 0) return new Set();
  const pointers = await pointersAmong(store, new Set(added.map(({ after }) => after?.id ?? '')));
  const leaves = await listFiles(inStore(store, 'harvest.lfs'), base);
  const there = new Set([...leaves.values()].map(({ id }) => id));
  const news = added.filter(({ after }) => after !== undefined && pointers.ids.has(after.id) && !there.has(after.id));
  if (news.length > 0) throw refused(newPointers(news.map((change) => change.path)));
  const content = added.filter(({ after }) => after !== undefined && !pointers.ids.has(after.id));
  return tracked(
    store,
    leaves,
    content.filter(({ after }) => !pointers.empty.has(after?.id ?? '')).map((change) => change.path),
  );
}

function newPointers(paths: readonly string[]): string {
  const named = paths.slice(0, MAX_NAMED).map((name) => JSON.stringify(name.slice(0, 200)));
  const more = paths.length > named.length ? ` and ${paths.length - named.length} more` : '';
  return `it makes pointers of Git LFS whose objects are not uploaded with a run, so that clones would fail: ${named.join(', ')}${more}; add these files from a machine with Git LFS`;
}

/** Which blobs are pointers, and which are empty: an empty file is the same in and out of Git LFS. */
async function pointersAmong(store: Store, ids: ReadonlySet<string>): Promise<Record<'ids' | 'empty', Set<string>>> {
  const sizes = await blobSizes(store, [...ids]);
  const small = [...sizes].filter(([, size]) => size > 0 && size <= MAX_POINTER_BYTES).map(([id]) => id);
  const objects = await readObjects(store, small, small.length * MAX_POINTER_BYTES);
  return {
    ids: new Set(small.filter((id) => isPointer(objects.get(id)?.content.toString('utf8') ?? ''))),
    empty: new Set([...sizes].filter(([, size]) => size === 0).map(([id]) => id)),
  };
}

/** Those of the paths that the attributes in a tree give to Git LFS, as git itself reads them. */
async function tracked(
  store: Store,
  leaves: ReadonlyMap<string, TreeFile>,
  paths: readonly string[],
): Promise<Set<string>> {
  const rules = [...leaves].filter(
    ([name, { mode }]) => mode.startsWith('100') && /(?:^|\/)\.gitattributes$/.test(name),
  );
  if (rules.length === 0 || paths.length === 0) return new Set();
  const indexFile = path.join(store.repository, 'attributes.index');
  // Of the base there is only what says attributes: they need no other file.
  const at = { ...inStore(store, 'harvest.lfs'), env: { GIT_INDEX_FILE: indexFile } };
  try {
    const entries = rules.map(([name, { mode, id }]) => `${mode} ${id}\t${name}\0`).join('');
    await git({ ...at, args: ['update-index', '-z', '--index-info'], stdin: entries });
    const output = await git({
      ...at,
      args: ['check-attr', '--cached', '-z', '--stdin', 'filter'],
      stdin: paths.map((name) => `${name}\0`).join(''),
      maxOutputBytes: paths.length * (store.limits.pathBytes + 1024) + 1024,
    });
    const fields = output.toString('utf8').split('\0');
    return new Set(fields.filter((_, index) => index % 3 === 0 && fields[index + 2] === 'lfs'));
  } finally {
    await rm(indexFile, { force: true });
  }
}
