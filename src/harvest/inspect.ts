import type { ChangedFile } from '../domain/run.ts';
import { git } from '../git/git.ts';
import { aliasesOf, resolveLinks, type ResolvedLinks } from '../policy/diff/aliases.ts';
import { classify, classRules, weightier, type ClassRules, type ProtectedClass } from '../policy/diff/classes.ts';
import { symlinkProblem } from '../policy/diff/path.ts';
import { refused } from './limits.ts';
import { blobSizes, readObjects, type Store } from './objects.ts';
import { refuseSecrets } from './secrets.ts';
import { GITLINK, SYMLINK, type TreeEntry } from './tree-object.ts';
import { changesBetween, type Change } from './tree-walk.ts';

/** What the checks found out about a result that passed them. */
export interface Inspection {
  changes: Change[];
  /** Without line counts. */
  files: ChangedFile[];
  /** Paths whose content is no text: their diff is shown as binary. */
  binary: Set<string>;
}

/**
 * Every check of the difference between two trees: names, modes, limits, links, secrets; then each file's class.
 * Errors: `harvest` with what was refused.
 */
export async function inspect(
  store: Store,
  options: { base: string; result: string; protectedPaths: readonly string[]; secrets: readonly string[] },
): Promise<Inspection> {
  const { changes, files } = await classified(store, options);
  await checkSizes(store, changes);
  const binary = await refuseSecrets(store, changes, options.secrets);
  return { changes, files, binary };
}

/**
 * The difference between two trees with each file's class, from its names, modes and links alone.
 * Errors: `harvest` for names, modes and links that no result may have.
 */
export async function classified(
  store: Store,
  options: { base: string; result: string; protectedPaths: readonly string[] },
): Promise<Pick<Inspection, 'changes' | 'files'>> {
  const changes = await changesBetween(store, options.base, options.result);
  const paths = await listTree(store, options.result);
  const links = await readLinks(store, paths);
  for (const { path, after } of changes) {
    const problem = after?.mode === SYMLINK ? symlinkProblem(path, links.get(path) ?? '') : undefined;
    if (problem !== undefined) throw refused(`the symlink ${JSON.stringify(path.slice(0, 200))} ${problem}`);
  }
  const rules = classRules({ protectedPaths: options.protectedPaths, paths: [...paths.keys()] });
  const resolved = resolveLinks(links);
  return { changes, files: changes.map((change) => changedFile(change, rules, resolved)) };
}

async function checkSizes(store: Store, changes: readonly Change[]): Promise<void> {
  const { fileBytes, totalBytes } = store.limits;
  const added = changes.filter(({ before, after }) => after && after.mode !== GITLINK && after.id !== before?.id);
  const sizes = await blobSizes(store, [...new Set(added.map(({ after }) => after?.id ?? ''))]);
  let total = 0;
  for (const { path, after } of added) {
    const size = sizes.get(after?.id ?? '') ?? 0;
    total += size;
    if (size > fileBytes) {
      throw refused(`${JSON.stringify(path.slice(0, 200))} has ${size} bytes, ${fileBytes} are accepted`);
    }
  }
  if (total > totalBytes) throw refused(`its new files have ${total} bytes together, ${totalBytes} are accepted`);
}

/** All leaves of a tree: path → mode and id. */
async function listTree(store: Store, tree: string): Promise<Map<string, { mode: string; id: string }>> {
  const output = await git({
    op: 'harvest.listTree',
    code: 'harvest',
    gitDir: store.repository,
    args: ['ls-tree', '-r', '-z', '--full-tree', '--end-of-options', tree],
    maxOutputBytes: 256 * 2 ** 20,
    limits: { memoryBytes: store.limits.memoryBytes, cpuSeconds: store.limits.cpuSeconds },
    signal: store.signal,
  });
  const leaves = new Map<string, { mode: string; id: string }>();
  for (const record of output.toString('utf8').split('\0')) {
    const [, mode, id, path] = /^(\d{6}) \w+ ([0-9a-f]+)\t(.*)$/s.exec(record) ?? [];
    if (mode !== undefined && id !== undefined && path !== undefined) leaves.set(path, { mode, id });
  }
  return leaves;
}

async function readLinks(
  store: Store,
  leaves: ReadonlyMap<string, { mode: string; id: string }>,
): Promise<Map<string, string>> {
  const links = [...leaves].filter(([, { mode }]) => mode === SYMLINK);
  if (links.length > store.limits.files) throw refused(`it has more than ${store.limits.files} symlinks`);
  const ids = [...new Set(links.map(([, { id }]) => id))];
  const sizes = await blobSizes(store, ids);
  const short = ids.filter((id) => (sizes.get(id) ?? Infinity) <= 4096);
  const targets = await readObjects(store, short, short.length * 4096);
  return new Map(links.map(([path, { id }]) => [path, targets.get(id)?.content.toString('utf8') ?? '']));
}

function changedFile(change: Change, rules: ClassRules, links: ResolvedLinks): ChangedFile {
  const { path, before, after } = change;
  const stands = [before, after].some((entry) => entry?.mode === SYMLINK || entry?.mode === GITLINK);
  let protectedClass: ProtectedClass | undefined;
  if ([before, after].some((entry) => entry?.mode === GITLINK)) protectedClass = 'submodules';
  for (const name of [path, ...aliasesOf(path, links)]) {
    protectedClass = weightier(protectedClass, classify(rules, name, stands));
  }
  return {
    path,
    status: statusOf(before, after),
    additions: 0,
    deletions: 0,
    ...(protectedClass === undefined ? {} : { protectedClass }),
  };
}

function statusOf(before: TreeEntry | undefined, after: TreeEntry | undefined): ChangedFile['status'] {
  if (before === undefined) return 'added';
  if (after === undefined) return 'deleted';
  const kind = ({ mode }: TreeEntry) => (mode.startsWith('100') ? 'file' : mode);
  return kind(before) === kind(after) ? 'modified' : 'type_changed';
}
