import { nameProblem } from '../policy/diff/path.ts';

/**
 * Git's tree objects, read by our own code: a second opinion beside fsck, on every tree that the result changed.
 * Trust assumptions: the bytes of a new tree were chosen by the sandbox.
 */
export interface TreeEntry {
  name: string;
  mode: string;
  id: string;
}

export type TreeResult = { ok: true; entries: Map<string, TreeEntry> } | { ok: false; problem: string };

const TREE = '40000';
export const SYMLINK = '120000';
export const GITLINK = '160000';
const MODES = new Set([TREE, '100644', '100755', SYMLINK, GITLINK]);

export function isTree(entry: TreeEntry | undefined): boolean {
  return entry?.mode === TREE;
}

/**
 * Parses a tree. Entries that are also in `old` are taken as they are; all others need an ordinary mode and an acceptable
 * name. Order and uniqueness hold for the whole tree.
 */
export function parseTree(bytes: Buffer, idBytes: 20 | 32, old?: ReadonlyMap<string, TreeEntry>): TreeResult {
  const entries = new Map<string, TreeEntry>();
  let last: Buffer | undefined;
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const end = space < 0 ? -1 : bytes.indexOf(0, space);
    if (end < 0 || end + 1 + idBytes > bytes.length) return { ok: false, problem: 'a tree is cut off' };
    const raw = bytes.subarray(space + 1, end);
    const entry: TreeEntry = {
      name: raw.toString('utf8'),
      mode: bytes.toString('latin1', at, space),
      id: bytes.toString('hex', end + 1, end + 1 + idBytes),
    };
    at = end + 1 + idBytes;
    const key = sortKey(raw, entry.mode);
    const problem =
      (last && Buffer.compare(last, key) >= 0 ? 'is out of order or twice there' : undefined) ??
      (entries.has(entry.name) ? 'is twice there' : undefined) ??
      entryProblem(entry, old);
    if (problem !== undefined) return { ok: false, problem: `${JSON.stringify(entry.name.slice(0, 100))} ${problem}` };
    entries.set(entry.name, entry);
    last = key;
  }
  return { ok: true, entries };
}

function entryProblem(entry: TreeEntry, old: ReadonlyMap<string, TreeEntry> | undefined): string | undefined {
  const before = old?.get(entry.name);
  if (before?.mode === entry.mode && (before.id === entry.id || isTree(entry))) return undefined;
  if (!MODES.has(entry.mode)) return `has the mode ${JSON.stringify(entry.mode.slice(0, 20))}`;
  return nameProblem(entry.name);
}

/** Git sorts a directory as if its name ended with a slash. */
function sortKey(name: Buffer, mode: string): Buffer {
  return mode === TREE ? Buffer.concat([name, Buffer.from('/')]) : name;
}
