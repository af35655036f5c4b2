import { git } from '../git/git.ts';
import { refused, type HarvestLimits } from './limits.ts';

// Preconditions: the objects passed fsck; their sizes were not looked at yet.

export interface Store {
  repository: string;
  limits: HarvestLimits;
  signal: AbortSignal;
}

export interface StoredObject {
  type: string;
  content: Buffer;
}

/** A file, symlink or submodule of a tree. */
export interface Leaf {
  mode: string;
  id: string;
}

/** Reads objects. Errors: `harvest` when one is missing, or together they exceed `maxBytes`. */
export async function readObjects(
  store: Store,
  ids: readonly string[],
  maxBytes: number,
): Promise<Map<string, StoredObject>> {
  const objects = new Map<string, StoredObject>();
  if (ids.length === 0) return objects;
  const output = await batch(store, ['cat-file', '--batch'], ids, maxBytes + ids.length * 100);
  for (let at = 0; at < output.length;) {
    const end = output.indexOf(10, at);
    const [, id, type, size] = /^([0-9a-f]+) (\w+) (\d+)$/.exec(output.toString('latin1', at, end)) ?? [];
    if (id === undefined || type === undefined) throw refused('it names an object that is not there');
    const from = end + 1;
    const to = from + Number(size);
    objects.set(id, { type, content: output.subarray(from, to) });
    at = to + 1;
  }
  return objects;
}

/** Sizes of blobs. Errors: `harvest` when one is missing or no blob. */
export async function blobSizes(store: Store, ids: readonly string[]): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  if (ids.length === 0) return sizes;
  const output = await batch(store, ['cat-file', '--batch-check'], ids, ids.length * 200);
  for (const line of output.toString('latin1').split('\n')) {
    const [, id, size] = /^([0-9a-f]+) blob (\d+)$/.exec(line) ?? [];
    if (id !== undefined) sizes.set(id, Number(size));
    else if (line !== '') throw refused('it names a file that is no file');
  }
  return sizes;
}

/** All leaves of a tree: path → mode and id. */
export async function listTree(store: Store, tree: string): Promise<Map<string, Leaf>> {
  const output = await git({
    op: 'harvest.listTree',
    code: 'harvest',
    gitDir: store.repository,
    args: ['ls-tree', '-r', '-z', '--full-tree', '--end-of-options', tree],
    maxOutputBytes: 256 * 2 ** 20,
    limits: { memoryBytes: store.limits.memoryBytes, cpuSeconds: store.limits.cpuSeconds },
    signal: store.signal,
  });
  const leaves = new Map<string, Leaf>();
  for (const record of output.toString('utf8').split('\0')) {
    const [, mode, id, path] = /^(\d{6}) \w+ ([0-9a-f]+)\t(.*)$/s.exec(record) ?? [];
    if (mode !== undefined && id !== undefined && path !== undefined) leaves.set(path, { mode, id });
  }
  return leaves;
}

function batch(store: Store, args: string[], ids: readonly string[], maxOutputBytes: number): Promise<Buffer> {
  const { memoryBytes, cpuSeconds } = store.limits;
  return git({
    op: 'harvest.objects',
    code: 'harvest',
    gitDir: store.repository,
    args,
    stdin: ids.map((id) => `${id}\n`).join(''),
    maxOutputBytes,
    limits: { memoryBytes, cpuSeconds },
    timeoutMs: cpuSeconds * 1000,
    signal: store.signal,
  });
}
