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

/** How git is run on a store: within the harvest's limits. */
export function inStore(store: Store, op: string) {
  const { memoryBytes, cpuSeconds } = store.limits;
  return {
    op,
    code: 'harvest' as const,
    gitDir: store.repository,
    limits: { memoryBytes, cpuSeconds },
    signal: store.signal,
  };
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

function batch(store: Store, args: string[], ids: readonly string[], maxOutputBytes: number): Promise<Buffer> {
  return git({
    ...inStore(store, 'harvest.objects'),
    args,
    stdin: ids.map((id) => `${id}\n`).join(''),
    maxOutputBytes,
    timeoutMs: store.limits.cpuSeconds * 1000,
  });
}
