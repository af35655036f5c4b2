import { CommitSha } from '../domain/ids.ts';
import { git, gitText, runGit, succeeded, type GitCall } from './git.ts';

// Preconditions for all of these: `gitDir` is a repository that this room made; its objects passed fsck.

export interface At {
  gitDir: string;
  op: string;
  code?: GitCall['code'];
  limits?: GitCall['limits'];
  signal?: AbortSignal | undefined;
}

/** A full ref name by git's own rules, a little stricter: printable ASCII or letters, no `@{`, at most 1,000 bytes. */
export function validRef(ref: string): boolean {
  if (!ref.startsWith('refs/') || Buffer.byteLength(ref) > 1000) return false;
  // eslint-disable-next-line no-control-regex -- control characters are exactly what a ref may not hold
  if (/[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{|\/\/|\/$/.test(ref)) return false;
  return ref.split('/').every((part) => part !== '' && !part.startsWith('.') && !/(?:\.|\.lock)$/.test(part));
}

// Renames are not looked for: a check must see both names, and the search is quadratic in hostile input.
const DIFF = ['--no-renames', '--no-ext-diff', '--no-textconv', '--ignore-submodules=none', '--no-color', '-r'];

/** Lines added and removed for each path; both are 0 for a binary file. */
export async function diffNumstat(
  at: At,
  from: string,
  to: string,
): Promise<Map<string, { additions: number; deletions: number }>> {
  const args = ['diff-tree', ...DIFF, '--numstat', '-z', '--end-of-options', from, to];
  const output = await git({ ...at, args, maxOutputBytes: 64 * 2 ** 20 });
  const stats = new Map<string, { additions: number; deletions: number }>();
  for (const record of output.toString('utf8').split('\0')) {
    const [, additions, deletions, path] = /^(\d+|-)\t(\d+|-)\t(.*)$/s.exec(record) ?? [];
    if (path === undefined) continue;
    stats.set(path, { additions: Number(additions) || 0, deletions: Number(deletions) || 0 });
  }
  return stats;
}

/** The unified diff with binary hunks, as bytes; `truncated` when it was longer than `maxBytes`. */
export async function diffPatch(
  at: At,
  options: { from: string; to: string; maxBytes: number },
): Promise<{ patch: Buffer; truncated: boolean }> {
  const args = ['diff-tree', ...DIFF, '-p', '--binary', '--full-index', '--end-of-options', options.from, options.to];
  const outcome = await runGit({ ...at, args, maxOutputBytes: options.maxBytes });
  if (succeeded(outcome)) return { patch: outcome.stdout, truncated: false };
  if (outcome.end !== 'output') await git({ ...at, args, maxOutputBytes: options.maxBytes });
  const whole = outcome.stdout.subarray(0, options.maxBytes);
  return { patch: whole.subarray(0, whole.lastIndexOf(10) + 1), truncated: true };
}

export interface Person {
  name: string;
  email: string;
}

/** Makes a commit object with exactly this content; author and committer are the same person, at the same time, UTC. */
export async function commitTree(
  at: At,
  commit: { tree: string; parents: readonly string[]; message: string; person: Person; date: Date },
): Promise<CommitSha> {
  const when = `@${Math.floor(commit.date.getTime() / 1000)} +0000`;
  const env = Object.fromEntries(
    ['AUTHOR', 'COMMITTER'].flatMap((role) => [
      [`GIT_${role}_NAME`, commit.person.name],
      [`GIT_${role}_EMAIL`, commit.person.email],
      [`GIT_${role}_DATE`, when],
    ]),
  ) as Record<string, string>;
  const parents = commit.parents.flatMap((parent) => ['-p', parent]);
  const args = ['commit-tree', '--no-gpg-sign', ...parents, '-F', '-', commit.tree];
  return CommitSha.parse(await gitText({ ...at, args, env, stdin: commit.message }));
}

/** Creates or moves a ref; `expected` is its old value, or null when it must not exist. */
export async function updateRef(at: At, update: { ref: string; to: string; expected?: string | null }): Promise<void> {
  if (!validRef(update.ref)) throw new RangeError('not a ref');
  const old = update.expected === undefined ? [] : [update.expected ?? '0'.repeat(update.to.length)];
  await git({ ...at, args: ['update-ref', '--no-deref', '--end-of-options', update.ref, update.to, ...old] });
}

/** Content of a file at a commit or ref, or null when there is no such regular file. Errors: `at.code` above `maxBytes`. */
export async function readFileAt(
  at: At,
  file: { commit: string; path: string; maxBytes?: number },
): Promise<Buffer | null> {
  const entry = await gitText({ ...at, args: ['ls-tree', '-z', '--end-of-options', file.commit, '--', file.path] });
  const id = /^100(?:644|755) blob ([0-9a-f]{40,64})\t/.exec(entry)?.[1];
  if (id === undefined) return null;
  return git({ ...at, args: ['cat-file', 'blob', id], maxOutputBytes: file.maxBytes ?? 2 ** 20 });
}

/** True when `ancestor` is reachable from `descendant` (or is it). */
export async function isAncestor(at: At, ancestor: string, descendant: string): Promise<boolean> {
  const call: GitCall = { ...at, args: ['merge-base', '--is-ancestor', '--end-of-options', ancestor, descendant] };
  const outcome = await runGit(call);
  if (outcome.end === 'exit' && (outcome.exitCode === 0 || outcome.exitCode === 1)) return outcome.exitCode === 0;
  await git(call);
  return false;
}

export interface CommitHead {
  tree: string;
  parents: string[];
}

/** Tree and parents of a commit. */
export async function readCommit(at: At, commit: string): Promise<CommitHead> {
  const text = await gitText({ ...at, args: ['cat-file', 'commit', commit] });
  const head = text.slice(0, text.indexOf('\n\n')).split('\n');
  const values = (key: string) => head.filter((line) => line.startsWith(`${key} `)).map((l) => l.slice(key.length + 1));
  return { tree: values('tree')[0] ?? '', parents: values('parent') };
}
