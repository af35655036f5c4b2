/** Trees, files and diffs of the bare repositories, and new commits made of files. */
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { git, gitOnce, EMPTY_TREE, GitFailed, mergeBase, readRef, resolveCommit } from './git.ts';
import { parseDiff, type FileChange } from './git-format.ts';

export interface TreeEntry {
  mode: string;
  type: 'blob' | 'tree' | 'commit';
  sha: string;
  size: number;
  path: string;
}

interface FileContent {
  mode?: '100644' | '100755' | '120000';
  content: string | Buffer;
}

/** Path → content; `null` deletes. */
export type Files = Record<string, string | Buffer | FileContent | null>;

function parseTree(output: string): TreeEntry[] {
  return output
    .split('\0')
    .filter((line) => line !== '')
    .map((line) => {
      const tab = line.indexOf('\t');
      const [mode, type, sha, size] = line.slice(0, tab).split(/ +/);
      return {
        mode: mode ?? '',
        type: type as TreeEntry['type'],
        sha: sha ?? '',
        size: Number(size) || 0,
        path: line.slice(tab + 1),
      };
    });
}

/** What lies at `path` in a commit: one entry, a directory's entries, or `undefined`. The empty path is the root. */
export async function treeAt(
  dir: string,
  commit: string,
  path: string,
): Promise<{ entry?: TreeEntry; children?: TreeEntry[] } | undefined> {
  if (path.includes('\0')) return undefined;
  const clean = path.replace(/^\/+|\/+$/g, '');
  const list = async (at: string[]): Promise<TreeEntry[]> =>
    parseTree(
      (
        await gitOnce(dir, ['--literal-pathspecs', 'ls-tree', '-z', '-l', '--full-tree', commit, ...at], [commit])
      ).toString(),
    );
  if (clean === '') return { children: await list([]) };
  const [entry] = await list(['--', clean]);
  if (entry === undefined) return undefined;
  return entry.type === 'tree' ? { children: await list(['--', `${clean}/`]) } : { entry };
}

export async function blob(dir: string, sha: string): Promise<Buffer> {
  return gitOnce(dir, ['cat-file', 'blob', sha], [sha]);
}

/** The content of a file in a commit, or `undefined`. */
export async function fileAt(dir: string, commit: string, path: string): Promise<Buffer | undefined> {
  const found = await treeAt(dir, commit, path);
  return found?.entry?.type === 'blob' ? blob(dir, found.entry.sha) : undefined;
}

const DIFF = ['diff-tree', '-r', '-M', '--no-ext-diff', '--no-textconv', '--full-index'];

/** The files that differ between two trees or commits. */
export async function changes(dir: string, from: string, to: string): Promise<FileChange[]> {
  const named = [from, to];
  const raw = await gitOnce(dir, [...DIFF, '--raw', '-z', '--end-of-options', ...named], named);
  const patch = await gitOnce(dir, [...DIFF, '-p', '--end-of-options', ...named], named);
  return parseDiff(raw.toString(), patch.toString());
}

/** The diff as text, the `diff` media type. */
export async function diffText(dir: string, from: string, to: string): Promise<string> {
  return (await gitOnce(dir, [...DIFF, '-p', '--end-of-options', from, to], [from, to])).toString();
}

/** What a pull request shows: from the merge base of both sides to the head. */
export async function comparisonBase(dir: string, base: string, head: string): Promise<string> {
  return (await mergeBase(dir, base, head)) ?? EMPTY_TREE;
}

function quoted(path: string): string {
  if (path === '' || /[\0\n]/.test(path)) throw new RangeError(`not a path for a file: ${JSON.stringify(path)}`);
  return `"${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function data(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from(`data ${bytes.length}\n`), bytes, Buffer.from('\n')]);
}

/** Merges `head` into a branch as a merge commit; `undefined` when they conflict. The branch itself is not moved. */
export async function mergeCommit(
  dir: string,
  merge: { base: string; head: string; message: string; author: { name: string; email: string } },
): Promise<string | undefined> {
  const { base, head, message, author } = merge;
  const tree = await git(dir, ['merge-tree', '--write-tree', '--no-messages', base, head]).catch((error: unknown) => {
    if (error instanceof GitFailed && error.exitCode === 1) return undefined;
    throw error;
  });
  if (tree === undefined) return undefined;
  const identity = ['-c', `user.name=${author.name}`, '-c', `user.email=${author.email}`];
  const made = await git(dir, [
    ...identity,
    'commit-tree',
    tree.toString().trim(),
    '-p',
    base,
    '-p',
    head,
    '-m',
    message,
  ]);
  return made.toString().trim();
}

export interface NewCommit {
  branch: string;
  /** Where a branch begins that is not there yet: a branch or object name. Without it, at nothing. */
  from?: string | undefined;
  message: string;
  files: Files;
  author: { name: string; email: string };
  at: Date;
}

/** Makes one commit on a branch (made when it is not there) and returns its object name. */
export async function commitFiles(dir: string, commit: NewCommit): Promise<string> {
  const ref = `refs/heads/${commit.branch}`;
  const parent =
    (await readRef(dir, ref)) ?? (commit.from === undefined ? undefined : await resolveCommit(dir, commit.from));
  const stamp = `${Math.floor(commit.at.getTime() / 1000)} +0000`;
  const parts = [
    Buffer.from(`commit ${ref}\ncommitter ${commit.author.name} <${commit.author.email}> ${stamp}\n`),
    data(commit.message),
    ...(parent === undefined ? [] : [Buffer.from(`from ${parent}\n`)]),
  ];
  for (const [path, value] of Object.entries(commit.files)) {
    if (value === null) parts.push(Buffer.from(`D ${quoted(path)}\n`));
    else {
      const file = typeof value === 'string' || Buffer.isBuffer(value) ? { content: value } : value;
      parts.push(Buffer.from(`M ${file.mode ?? '100644'} inline ${quoted(path)}\n`), data(file.content));
    }
  }
  await git(dir, ['fast-import', '--quiet', '--date-format=raw'], Buffer.concat(parts));
  const made = await readRef(dir, ref);
  if (made === undefined) throw new GitFailed(['fast-import'], 0, `${ref} was not made`);
  return made;
}

/** Reads a directory as files for a commit; `.git` and `node_modules` stay out. */
export async function filesOf(root: string, below = ''): Promise<Files> {
  const files: Files = {};
  for (const entry of await readdir(join(root, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.name === '.git' || entry.name === 'node_modules') continue;
    if (entry.isDirectory()) Object.assign(files, await filesOf(root, path));
    else if (entry.isSymbolicLink()) files[path] = { mode: '120000', content: await readlink(join(root, path)) };
    else if (entry.isFile()) {
      const executable = ((await stat(join(root, path))).mode & 0o100) !== 0;
      files[path] = { mode: executable ? '100755' : '100644', content: await readFile(join(root, path)) };
    }
  }
  return files;
}
