import { canonicalName } from '../policy/diff/path.ts';
import { refused } from './limits.ts';
import { readObjects, type Store } from './objects.ts';
import { GITLINK, isTree, parseTree, SYMLINK, type TreeEntry } from './tree-object.ts';

/** One changed leaf: a file, a symlink or a submodule. */
export interface Change {
  path: string;
  before: TreeEntry | undefined;
  after: TreeEntry | undefined;
}

interface Pair {
  path: string;
  before: string | undefined;
  after: string | undefined;
}

/** One level of directories may hold this much; a directory of 100,000 files has about 4 MiB. */
const LEVEL_BYTES = 64 * 2 ** 20;

/**
 * Compares two trees by reading them ourselves, level by level, and checks every directory that changed.
 * Errors: `harvest` for a bad name or mode, for names that collide, and when a limit is exceeded.
 */
export async function changesBetween(store: Store, base: string, result: string): Promise<Change[]> {
  const idBytes = base.length === 64 ? 32 : 20;
  const changes: Change[] = [];
  let level: Pair[] = base === result ? [] : [{ path: '', before: base, after: result }];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > store.limits.depth) throw refused(`it has more than ${store.limits.depth} directories in each other`);
    const ids = new Set(level.flatMap(({ before, after }) => [before, after].filter((id) => id !== undefined)));
    const trees = await readObjects(store, [...ids], LEVEL_BYTES);
    const content = (id: string) => {
      const object = trees.get(id);
      if (object?.type !== 'tree') throw refused('it names a directory that is no directory');
      return object.content;
    };
    level = level.flatMap((pair) => comparePair(pair, content, idBytes, changes));
    if (changes.length + level.length > store.limits.files) {
      throw refused(`it changes more than ${store.limits.files} files`);
    }
  }
  const long = changes.find(({ path }) => Buffer.byteLength(path) > store.limits.pathBytes);
  if (long) throw refused(`a path is longer than ${store.limits.pathBytes} bytes`);
  return changes;
}

function comparePair(pair: Pair, content: (id: string) => Buffer, idBytes: 20 | 32, changes: Change[]): Pair[] {
  const before = entriesOf(pair.before, content, idBytes);
  const after = entriesOf(pair.after, content, idBytes, before);
  if (!before.ok || !after.ok) {
    const problem = [before, after].map((tree) => (tree.ok ? '' : tree.problem)).join('');
    throw refused(`in ${pair.path === '' ? 'the root' : JSON.stringify(pair.path.slice(0, 200))}, ${problem}`);
  }
  const collision = findCollision(after.entries);
  if (collision !== undefined)
    throw refused(`${JSON.stringify(collision)} collides with a name that differs in case only`);
  const deeper: Pair[] = [];
  for (const name of new Set([...before.entries.keys(), ...after.entries.keys()])) {
    const [old, now] = [before.entries.get(name), after.entries.get(name)];
    if (old?.id === now?.id && old?.mode === now?.mode) continue;
    const path = pair.path === '' ? name : `${pair.path}/${name}`;
    if (isTree(old) || isTree(now)) {
      deeper.push({ path, before: isTree(old) ? old?.id : undefined, after: isTree(now) ? now?.id : undefined });
    }
    const [leafBefore, leafAfter] = [isTree(old) ? undefined : old, isTree(now) ? undefined : now];
    if (leafBefore ?? leafAfter) changes.push({ path, before: leafBefore, after: leafAfter });
  }
  return deeper;
}

type Entries = ReturnType<typeof parseTree>;

function entriesOf(id: string | undefined, content: (id: string) => Buffer, idBytes: 20 | 32, old?: Entries): Entries {
  if (id === undefined) return { ok: true, entries: new Map() };
  const bytes = content(id);
  if (old === undefined) return parseBase(bytes, idBytes);
  return parseTree(bytes, idBytes, old.ok ? old.entries : undefined);
}

/** The base is what the repository has: old slips in it are nobody's attack. */
function parseBase(bytes: Buffer, idBytes: 20 | 32): Entries {
  const entries = new Map<string, TreeEntry>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const end = bytes.indexOf(0, space);
    const name = bytes.toString('utf8', space + 1, end);
    const mode = bytes.toString('latin1', at, space).replace(/^0+/, '').replace('100664', '100644');
    entries.set(name, { name, mode, id: bytes.toString('hex', end + 1, end + 1 + idBytes) });
    at = end + 1 + idBytes;
  }
  return { ok: true, entries };
}

/**
 * A link whose name some file system takes for that of a neighbour: a checkout there would write through the link.
 * Two ordinary files that differ in case only are left to the repository.
 */
function findCollision(entries: ReadonlyMap<string, TreeEntry>): string | undefined {
  if (![...entries.values()].some(({ mode }) => mode === SYMLINK || mode === GITLINK)) return undefined;
  const seen = new Map<string, TreeEntry>();
  for (const entry of entries.values()) {
    const canonical = canonicalName(entry.name);
    const other = seen.get(canonical);
    if (other && [entry, other].some(({ mode }) => mode === SYMLINK || mode === GITLINK)) return entry.name;
    seen.set(canonical, entry);
  }
  return undefined;
}
