/**
 * The bare repositories behind the stand-in. Host git runs here on trees that tests and agents wrote, but only as plumbing on
 * bare repositories (never a work tree, never hooks of the content), with a built environment.
 */
import { spawn } from 'node:child_process';
import { appendFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { parseCommits, type CommitInfo, LOG_FORMAT } from './git-format.ts';

export const EMPTY_TREE = '4b825dc642cb6eb9a060e54bf8d69288fbee4904';
export const ZERO = '0'.repeat(40);

export class GitFailed extends Error {
  override readonly name = 'GitFailed';
  readonly exitCode: number | null;
  readonly stderr: string;

  constructor(args: readonly string[], exitCode: number | null, stderr: string) {
    super(`git ${args.join(' ')} ended with ${exitCode ?? 'a signal'}: ${stderr.trim()}`);
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

/** Nothing of the caller's environment but PATH reaches git. */
export function gitEnvironment(): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: '/nonexistent',
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
  };
}

/** Runs git in a bare repository and returns its stdout; a non-zero exit is a `GitFailed`. */
export async function git(dir: string, args: readonly string[], input?: string | Buffer): Promise<Buffer> {
  if (args.some((arg) => arg.includes('\0'))) throw new GitFailed(args, null, 'an argument has a NUL character');
  const child = spawn('git', ['-c', 'core.quotePath=false', ...args], {
    cwd: dir,
    env: { ...gitEnvironment(), GIT_DIR: dir },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  child.stdin.on('error', () => undefined); // a git that ends early closes its stdin; its exit code tells the story
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new GitFailed(args, code, Buffer.concat(err).toString());
  return Buffer.concat(out);
}

const OBJECTS = /^[0-9a-f]{40}(?:\.{2,3}[0-9a-f]{40})?$/;
const MAX_ANSWERS = 500;
const answers = new Map<string, Promise<Buffer>>();

/**
 * As `git`, for questions about `named` revisions only. When all of these are full object names, the answer is the same for ever and
 * asked for once: a start of git costs a large process, which a test's is, more than git's own work.
 */
export function gitOnce(dir: string, args: readonly string[], named: readonly string[]): Promise<Buffer> {
  if (!named.every((one) => OBJECTS.test(one))) return git(dir, args);
  const key = JSON.stringify([dir, args]);
  const known = answers.get(key);
  if (known !== undefined) return known;
  const answer = git(dir, args);
  answers.set(key, answer);
  answer.catch((error: unknown) => {
    // Whether one is the ancestor of the other is an answer, too; but what is not there may come.
    if (args[0] !== 'merge-base' || !(error instanceof GitFailed) || error.exitCode !== 1) answers.delete(key);
  });
  const [oldest] = answers.keys();
  if (answers.size > MAX_ANSWERS && oldest !== undefined) answers.delete(oldest);
  return answer;
}

async function text(dir: string, args: readonly string[], named?: readonly string[]): Promise<string> {
  const out = await (named === undefined ? git(dir, args) : gitOnce(dir, args, named));
  return out.toString().trimEnd();
}

/** What git itself refuses stays a refusal (`undefined`); a git that cannot run at all still throws. */
async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof GitFailed) return undefined;
    throw error;
  }
}

/** GitHub refuses an App that pushes workflow files without the permission; it sees the new commits before any ref moves. */
const PRE_RECEIVE = `#!/bin/sh
[ "$STAND_IN_WORKFLOWS" = no ] || exit 0
while read -r old new ref; do
  case "$new" in *[!0]*) ;; *) continue ;; esac
  found=$(git rev-list -n 1 "$new" --not --all -- .github/workflows) || exit 1
  if [ -n "$found" ]; then
    echo "refusing to allow a GitHub App to create or update workflow files without \\\`workflows\\\` permission" >&2
    exit 1
  fi
done
`;

const CONFIG = `[http]
	receivepack = true
[receive]
	fsckObjects = true
	hideRefs = refs/pull
	autogc = false
[gc]
	auto = 0
[uploadpack]
	allowFilter = true
	allowAnySHA1InWant = true
`;

/** Makes an empty bare repository that `git http-backend` serves. */
export async function createBare(dir: string, defaultBranch: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  await git(dir, ['init', '--quiet', '--bare', `--initial-branch=${defaultBranch}`, dir]);
  // As text, since each call of git is a process.
  await appendFile(join(dir, 'config'), CONFIG);
  await mkdir(join(dir, 'hooks'), { recursive: true });
  await writeFile(join(dir, 'hooks', 'pre-receive'), PRE_RECEIVE, { mode: 0o755 });
}

/** All refs below `prefix` with the object they point at. */
export async function listRefs(dir: string, prefix: string): Promise<Map<string, string>> {
  if (prefix === 'refs/heads') {
    const loose = await looseBranches(dir);
    if (loose !== undefined) return loose;
  }
  const lines = await text(dir, ['for-each-ref', '--format=%(objectname) %(refname)', prefix]);
  const refs = new Map<string, string>();
  for (const line of lines.split('\n')) {
    const at = line.indexOf(' ');
    if (at > 0) refs.set(line.slice(at + 1), line.slice(0, at));
  }
  return refs;
}

/** The object name of a full ref, or `undefined`. */
export async function readRef(dir: string, ref: string): Promise<string | undefined> {
  return (await looseRef(dir, ref)) ?? orUndefined(text(dir, [...VERIFY, ref]));
}

const VERIFY = ['rev-parse', '--verify', '--quiet', '--end-of-options'];
const BRANCH = /^refs\/heads\/[\w-]+(?:[./][\w-]+)*$/;

/** All branches, where each has a file of its own: `undefined` when some are packed, or named as git has to judge. */
async function looseBranches(dir: string): Promise<Map<string, string> | undefined> {
  const packed = await stat(join(dir, 'packed-refs')).catch(() => undefined);
  const found = await readdir(join(dir, 'refs/heads'), { recursive: true, withFileTypes: true }).catch(() => undefined);
  if (packed !== undefined || found === undefined) return undefined;
  const refs = new Map<string, string>();
  for (const entry of found) {
    if (entry.isDirectory()) continue;
    const ref = relative(dir, join(entry.parentPath, entry.name));
    const sha = await looseRef(dir, ref);
    if (sha === undefined) return undefined;
    refs.set(ref, sha);
  }
  return new Map([...refs].sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** A branch that has a file of its own, without asking git: that file comes before any packed ref. */
async function looseRef(dir: string, ref: string): Promise<string | undefined> {
  const branch = ref.replace(/\^\{commit\}$/, '');
  if (!BRANCH.test(branch) || branch.endsWith('.lock')) return undefined;
  const content = await readFile(join(dir, branch), 'utf8').catch(() => '');
  return /^([0-9a-f]{40})\n$/.exec(content)?.[1];
}

/** A branch name, tag, full ref or object name as a commit, in GitHub's order; `undefined` when there is none. */
export async function resolveCommit(dir: string, revision: string): Promise<string | undefined> {
  // A name, never an expression such as `main~1` or `@{u}`.
  if (revision === '' || /[\0-\x20~^:?*[\\\x7f]|\.\.|@\{|^-/.test(revision)) return undefined;
  if (revision === 'HEAD') return readRef(dir, 'HEAD^{commit}');
  const candidates = /^[0-9a-f]{7,40}$/.test(revision)
    ? [revision]
    : revision.startsWith('refs/')
      ? [revision]
      : [`refs/heads/${revision}`, `refs/tags/${revision}`, `refs/${revision}`];
  if (/^[0-9a-f]{7,40}$/.test(revision)) candidates.push(`refs/heads/${revision}`);
  for (const candidate of candidates) {
    const sha = OBJECTS.test(candidate)
      ? await orUndefined(text(dir, [...VERIFY, `${candidate}^{commit}`], [candidate]))
      : await readRef(dir, `${candidate}^{commit}`);
    if (sha !== undefined) return sha;
  }
  return undefined;
}

/** Is it a name that git accepts for a branch? */
export async function validRef(dir: string, ref: string): Promise<boolean> {
  return (await orUndefined(git(dir, ['check-ref-format', ref]))) !== undefined;
}

export async function objectType(dir: string, sha: string): Promise<string | undefined> {
  return orUndefined(text(dir, ['cat-file', '-t', sha], [sha]));
}

/** Moves, makes or (with `ZERO`) deletes a ref. */
export async function writeRef(dir: string, ref: string, to: string): Promise<void> {
  await git(dir, to === ZERO ? ['update-ref', '-d', ref] : ['update-ref', ref, to]);
}

export async function isAncestor(dir: string, ancestor: string, descendant: string): Promise<boolean> {
  const named = [ancestor, descendant];
  return (await orUndefined(gitOnce(dir, ['merge-base', '--is-ancestor', ...named], named))) !== undefined;
}

export async function mergeBase(dir: string, left: string, right: string): Promise<string | undefined> {
  return orUndefined(text(dir, ['merge-base', left, right], [left, right]));
}

/** Commits of a range or revision, newest first. */
export async function log(dir: string, revisions: readonly string[], limit = 250): Promise<CommitInfo[]> {
  const args = ['log', '-z', `--format=${LOG_FORMAT}`, `-n${limit}`, '--end-of-options', ...revisions];
  const out = await gitOnce(dir, args, revisions);
  return parseCommits(out.toString());
}

export async function commitInfo(dir: string, sha: string): Promise<CommitInfo | undefined> {
  return (await orUndefined(log(dir, [sha], 1)))?.[0];
}

/** How many commits `left` lacks of `right` (`ahead`) and the other way round (`behind`). */
export async function distance(dir: string, left: string, right: string): Promise<{ ahead: number; behind: number }> {
  const [behind, ahead] = (
    await text(dir, ['rev-list', '--left-right', '--count', `${left}...${right}`], [left, right])
  ).split('\t');
  return { ahead: Number(ahead), behind: Number(behind) };
}

/** Fetches one commit of another repository of the stand-in under a ref: how a pull request from a fork comes in. */
export async function fetchCommit(dir: string, from: string, sha: string, ref: string): Promise<void> {
  await git(dir, ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', from, `+${sha}:${ref}`]);
}

/** Copies all branches of another repository of the stand-in. */
export async function fetchBranches(dir: string, from: string): Promise<void> {
  await git(dir, ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', from, '+refs/heads/*:refs/heads/*']);
}
