import type { ChangedFile } from '../domain/run.ts';
import { listFiles, type TreeFile } from '../git/tree.ts';
import { aliasesOf, resolveLinks, type ResolvedLinks } from '../policy/diff/aliases.ts';
import {
  classify,
  classRules,
  PROTECTED_CLASSES,
  weightier,
  type ClassRules,
  type ProtectedClass,
} from '../policy/diff/classes.ts';
import { symlinkProblem } from '../policy/diff/path.ts';
import { checkLfs } from './lfs.ts';
import { refused } from './limits.ts';
import { blobSizes, inStore, readObjects, type Store } from './objects.ts';
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
 * Every check of the difference between two trees: names, modes, limits, links, Git LFS, secrets; then each file's class.
 * Errors: `harvest` with what was refused.
 */
export async function inspect(
  store: Store,
  options: { base: string; result: string; protectedPaths: readonly string[]; secrets: readonly string[] },
): Promise<Inspection> {
  const { changes, files } = await classified(store, options);
  await checkSizes(store, changes);
  const outOfLfs = await checkLfs(store, options.base, changes);
  const binary = await refuseSecrets(store, changes, options.secrets);
  return { changes, files: files.map((file) => (outOfLfs.has(file.path) ? ofLfs(file) : file)), binary };
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
  const paths = await listFiles(inStore(store, 'harvest.inspect'), options.result);
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

async function readLinks(store: Store, leaves: ReadonlyMap<string, TreeFile>): Promise<Map<string, string>> {
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

function ofLfs(file: ChangedFile): ChangedFile {
  const own = PROTECTED_CLASSES.find((one) => one === file.protectedClass);
  return { ...file, protectedClass: weightier(own, 'lfs') ?? 'lfs' };
}

function statusOf(before: TreeEntry | undefined, after: TreeEntry | undefined): ChangedFile['status'] {
  if (before === undefined) return 'added';
  if (after === undefined) return 'deleted';
  const kind = ({ mode }: TreeEntry) => (mode.startsWith('100') ? 'file' : mode);
  return kind(before) === kind(after) ? 'modified' : 'type_changed';
}
