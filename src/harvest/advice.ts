import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { ShownFile } from '../domain/shown.ts';
import { listFiles, replaceFiles, type TreeFile } from '../git/tree.ts';
import { inStore, type Store } from './objects.ts';

/**
 * The result with those files as the base has them that lay in the workspace as the default branch has them, and that the agent
 * left so. What the agent changed, made or deleted of them stays as it is: that is its work, and shows as such.
 * Errors: `harvest`.
 */
export async function withOwnAdvice(
  store: Store,
  options: { tree: string; shown: readonly ShownFile[]; quarantine: string },
): Promise<string> {
  const { tree, shown, quarantine } = options;
  if (shown.length === 0) return tree;
  const at = inStore(store, 'harvest.withOwnAdvice');
  const result = await listFiles(at, tree);
  const untouched = shown.filter((file) => (result.get(file.path)?.id ?? null) === file.shown);
  if (untouched.length === 0) return tree;
  const files = new Map<string, TreeFile | null>(untouched.map((file) => [file.path, file.own]));
  const index = path.join(quarantine, 'advice.index');
  try {
    return await replaceFiles(at, { tree, files, index });
  } finally {
    await rm(index, { force: true });
  }
}
