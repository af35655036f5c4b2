import type { CommitSha } from '../domain/ids.ts';
import type { RunSpec } from '../domain/run.ts';
import { diffNumstat, diffPatch, readCommit } from '../git/plumbing.ts';
import type { Incoming } from '../run/ports.ts';
import { classified } from './inspect.ts';
import type { Store } from './objects.ts';

/**
 * What a push would bring into the repository when the run was upon a pull request from a fork: everything since its history left
 * that of the branch it asks to be merged into. The commits in between are a stranger's, and CI of the repository would run them
 * with the rights of one of its own branches.
 * Errors: `harvest` where that difference has names or links that no result may have.
 */
export async function incomingOf(
  store: Store,
  options: { spec: RunSpec; since: CommitSha; tree: string },
): Promise<Incoming> {
  const { spec, since, tree } = options;
  const at = { gitDir: store.repository, op: 'harvest.incomingOf', code: 'harvest' as const, signal: store.signal };
  const before = await readCommit(at, since);
  const trees = { base: before.tree, result: tree };
  const { files } = await classified(store, { ...trees, protectedPaths: spec.protectedPaths });
  const counts = await diffNumstat(at, before.tree, tree);
  const { patch, truncated } = await diffPatch(at, {
    from: before.tree,
    to: tree,
    maxBytes: store.limits.patchBytes,
  });
  return {
    files: files.map((file) => ({ ...file, ...counts.get(file.path) })),
    patch: patch.toString('utf8'),
    patchTruncated: truncated,
  };
}
