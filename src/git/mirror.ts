import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CofferdamError } from '../domain/errors.ts';
import { CommitSha } from '../domain/ids.ts';
import type { Transport } from './environment.ts';
import { git, gitError, runGit, succeeded, type GitCall, type GitOutcome } from './git.ts';
import { createQueues, lockFile } from './lock.ts';
import { isAncestor, validRef } from './plumbing.ts';
import { remoteFailure, transportFor, type RemoteFailure } from './remote.ts';

// Trust assumptions: the remote's objects may be malformed (fsck on arrival), its refs and messages may be anything; the
// mirror directory and its configuration are ours. Nothing is ever checked out.

export interface RepositoriesOptions {
  dataDir: string;
  /** `owner/name` → URL of the remote: https, http with `allowHttp`, file with `allowFile`. */
  remoteUrl: (repository: string) => string;
  /** Value of the Authorization header for that remote, such as `Basic …`. */
  credential?: (repository: string) => string | undefined | Promise<string | undefined>;
  allowHttp?: boolean;
  allowFile?: boolean;
  caFile?: string;
  /** For one fetch; default 15 minutes. */
  fetchTimeoutMs?: number;
}

export interface MirrorRequest {
  repository: string;
  /** A branch name, or a full ref such as `refs/pull/7/head`; default: the default branch. */
  ref?: string;
  /** The head of a pull request from a fork: this commit of `ref`, whatever was pushed there since, to be merged into `onto`. */
  fork?: { commit: CommitSha; onto: string };
  signal: AbortSignal;
}

export interface MirrorAnswer {
  /** Directory of the bare repository. */
  path: string;
  base: CommitSha;
  baseRef: string;
  defaultBranch: string;
  /** With `fork`: where its history left that of `onto`; the head of `onto` when they have none in common. */
  since?: CommitSha;
}

const OP = 'git.mirror';

// Old histories carry these slips; they harm nobody and cannot be repaired by the repository's owner.
const tolerated = ['zeroPaddedFilemode', 'missingSpaceBeforeDate', 'zeroPaddedDate', 'badTimezone', 'missingEmail'];
const TOLERANCE = tolerated.map((id): readonly [string, string] => [`fetch.fsck.${id}`, 'warn']);
const MAX_PACKS = 40;

/**
 * One bare mirror per repository below `<dataDir>/mirrors/`, one fetch at a time over all processes of this machine.
 * Objects are never pruned, so that a run keeps its base whatever happens to the branch.
 */
export function createRepositories(options: RepositoriesOptions): {
  mirror: (request: MirrorRequest) => Promise<MirrorAnswer>;
} {
  const queue = createQueues();
  return {
    mirror: async (request) => {
      const url = options.remoteUrl(request.repository);
      const authorization = await options.credential?.(request.repository);
      const transport = transportFor({ ...options, url, authorization });
      const directory = mirrorPath(options.dataDir, request.repository, url);
      await mkdir(path.dirname(directory), { recursive: true });
      return queue(directory, async () => {
        const release = await lockFile(`${directory}.lock`, request.signal);
        try {
          return await refresh({ ...request, url, transport, directory, timeoutMs: options.fetchTimeoutMs ?? 900_000 });
        } finally {
          await release();
        }
      });
    },
  };
}

interface Refresh extends MirrorRequest {
  url: string;
  transport: Transport;
  directory: string;
  timeoutMs: number;
}

/** `<dataDir>/mirrors/<host>/<owner>/<name>.git`; a local path gets a name of its own. Errors: `config` for a bad name. */
export function mirrorPath(dataDir: string, repository: string, url: string): string {
  const root = path.join(dataDir, 'mirrors');
  const source = new URL(url);
  if (source.protocol === 'file:') {
    const real = fileURLToPath(source);
    const hash = createHash('sha256').update(real).digest('hex').slice(0, 16);
    return path.join(root, 'local', `${path.basename(real).replaceAll(/[^A-Za-z0-9_-]/g, '_')}-${hash}.git`);
  }
  const parts = repository.toLowerCase().split('/');
  const fine = parts.length === 2 && parts.every((part) => /^[a-z0-9._-]{1,100}$/.test(part) && !/^\.+$/.test(part));
  if (!fine)
    throw new CofferdamError('config', OP, `not a repository name: ${JSON.stringify(repository.slice(0, 200))}`);
  return path.join(root, source.host.replaceAll(/[^a-z0-9.-]/g, '_'), parts[0] ?? '', `${parts[1] ?? ''}.git`);
}

async function refresh(work: Refresh): Promise<MirrorAnswer> {
  await prepare(work.directory);
  const env = await fileEnvironment(work);
  const { defaultBranch, ref } = chooseRef(await listRemote(work, env), work);
  await fetchRefs(work, env, ref);
  const tip = await resolve(work, ref);
  const fork = work.fork === undefined ? undefined : await settleFork(work, work.fork, tip);
  await git({
    op: OP,
    code: 'clone',
    gitDir: work.directory,
    args: ['symbolic-ref', 'HEAD', `refs/heads/${defaultBranch}`],
    signal: work.signal,
  });
  await consolidate(work);
  const baseRef = ref.replace(/^refs\/heads\//, '');
  return { path: work.directory, base: tip, baseRef, defaultBranch, ...fork };
}

/** The commit that was looked at when the run was asked for. One that a later push replaced is not worked on, nor what replaced it. */
async function settleFork(
  work: Refresh,
  fork: { commit: CommitSha; onto: string },
  tip: CommitSha,
): Promise<{ base: CommitSha; since: CommitSha }> {
  const at = { op: OP, code: 'clone' as const, gitDir: work.directory, signal: work.signal };
  const there = await isAncestor(at, fork.commit, tip).catch((error: unknown) => {
    // What was pushed over is not fetched any more.
    if (error instanceof CofferdamError && error.code === 'clone') return false;
    throw error;
  });
  if (!there) {
    throw new CofferdamError(
      'clone',
      OP,
      `commit ${fork.commit} is no longer part of ${work.ref ?? 'the ref'}: it was pushed over since the run was asked for; look at what is there now and ask again`,
    );
  }
  const onto = await resolve(work, `refs/heads/${fork.onto}`);
  const args = ['merge-base', '--end-of-options', onto, fork.commit];
  const outcome = await runGit({ ...at, args });
  const since = CommitSha.safeParse(outcome.stdout.toString('utf8').trim());
  return { base: fork.commit, since: succeeded(outcome) && since.success ? since.data : onto };
}

/** Makes the bare repository when it is not there, and removes what a killed git left in it. */
async function prepare(directory: string): Promise<void> {
  if (await stat(path.join(directory, 'HEAD')).catch(() => undefined)) return sweep(directory);
  const fresh = `${directory}.new`;
  await rm(fresh, { recursive: true, force: true });
  await rm(directory, { recursive: true, force: true });
  await git({ op: OP, code: 'clone', args: ['init', '--quiet', '--bare', '--template=', '--', fresh] });
  await rename(fresh, directory);
}

// Preconditions: the mirror's lock is held, so no other git writes here and each lock or temporary file is an orphan.
async function sweep(directory: string): Promise<void> {
  const orphans: string[] = [];
  for (const place of ['', 'refs', 'objects/pack', 'objects/info']) {
    const entries = await readdir(path.join(directory, place), { recursive: place === 'refs' }).catch(() => []);
    const stale = entries.filter((entry) => entry.endsWith('.lock') || path.basename(entry).startsWith('tmp_'));
    orphans.push(...stale.map((entry) => path.join(directory, place, entry)));
  }
  for (const orphan of orphans) await rm(orphan, { force: true, recursive: true });
}

/** A path that the user named may belong to another user: under sudo it does. */
async function fileEnvironment(work: Refresh): Promise<Record<string, string>> {
  if (work.transport.protocol !== 'file') return {};
  const file = path.join(path.dirname(work.directory), 'named-path.gitconfig');
  await writeFile(file, '[safe]\n\tdirectory = *\n');
  return { GIT_CONFIG_GLOBAL: file };
}

interface RemoteHead {
  /** What HEAD points to; absent for a detached one. */
  head: string | undefined;
  branches: Set<string>;
}

async function listRemote(work: Refresh, env: Record<string, string>): Promise<RemoteHead> {
  const outcome = await callRemote(work, env, ['ls-remote', '--symref', work.url, 'HEAD', 'refs/heads/*'], 120_000);
  const lines = outcome.stdout.toString('utf8').split('\n');
  const symref = lines.map((line) => /^ref: (\S+)\tHEAD$/.exec(line)?.[1]).find((ref) => ref !== undefined);
  const branches = new Set(lines.flatMap((line) => /^[0-9a-f]{40,64}\trefs\/heads\/(\S+)$/.exec(line)?.[1] ?? []));
  return { head: symref?.replace(/^refs\/heads\//, ''), branches };
}

function chooseRef(remote: RemoteHead, work: Refresh): { defaultBranch: string; ref: string } {
  if (remote.branches.size === 0) {
    throw new CofferdamError('clone', OP, `${work.repository} is empty: it has no branch with a commit`);
  }
  const named = work.ref?.replace(/^refs\/heads\//, '');
  const defaultBranch = remote.head !== undefined && remote.branches.has(remote.head) ? remote.head : named;
  if (defaultBranch === undefined) {
    throw new CofferdamError(
      'clone',
      OP,
      `${work.repository} has no default branch: its HEAD names no existing branch`,
    );
  }
  const chosen = named ?? defaultBranch;
  const ref = chosen.startsWith('refs/') ? chosen : `refs/heads/${chosen}`;
  if (!validRef(ref)) throw new CofferdamError('clone', OP, `not a ref: ${JSON.stringify(ref.slice(0, 200))}`);
  if (ref.startsWith('refs/heads/') && !remote.branches.has(chosen)) throw missing(work, ref);
  return { defaultBranch: defaultBranch.startsWith('refs/') ? 'main' : defaultBranch, ref };
}

function missing(work: Refresh, ref: string): CofferdamError {
  return new CofferdamError('clone', OP, `${work.repository} has no ref ${ref}`);
}

async function fetchRefs(work: Refresh, env: Record<string, string>, ref: string): Promise<void> {
  const refspecs = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'];
  if (!ref.startsWith('refs/heads/') && !ref.startsWith('refs/tags/')) refspecs.push(`+${ref}:${ref}`);
  const flags = ['--quiet', '--prune', '--force', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules'];
  try {
    await callRemote(work, env, ['fetch', ...flags, work.url, ...refspecs], work.timeoutMs);
  } catch (error) {
    await sweep(work.directory);
    throw error;
  }
}

async function callRemote(
  work: Refresh,
  env: Record<string, string>,
  args: string[],
  timeoutMs: number,
): Promise<GitOutcome> {
  const call: GitCall = {
    op: OP,
    code: 'clone',
    gitDir: work.directory,
    args,
    env,
    transport: work.transport,
    config: [...TOLERANCE, ['fetch.unpackLimit', '1']],
    timeoutMs,
    maxOutputBytes: 64 * 2 ** 20,
    limits: { cpuSeconds: 900 },
    signal: work.signal,
  };
  const outcome = await runGit(call);
  if (succeeded(outcome)) return outcome;
  const cause = gitError(call, outcome);
  if (cause.code === 'cancelled') throw cause;
  throw remoteError(work.repository, remoteFailure(outcome), cause);
}

function remoteError(repository: string, failure: RemoteFailure, cause: CofferdamError): CofferdamError {
  const said: Record<RemoteFailure, string> = {
    auth: `the remote of ${repository} refused the credential`,
    not_found: `${repository} was not found, or the credential may not read it`,
    redirect: `the remote of ${repository} answers with a redirect, which is not followed; was the repository renamed?`,
    missing_ref: `${repository} has no such ref`,
    no_space: `no space left in the data directory while fetching ${repository}; the mirror is as it was`,
    bad_objects: `${repository} has objects that git's consistency check refuses`,
    unreachable: `the remote of ${repository} cannot be reached`,
    timeout: `fetching ${repository} took too long`,
    other: `${repository} could not be fetched`,
  };
  return new CofferdamError(failure === 'auth' ? 'github' : 'clone', OP, `${said[failure]} (${cause.message})`, cause);
}

async function resolve(work: Refresh, ref: string): Promise<CommitSha> {
  const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`];
  const outcome = await runGit({ op: OP, gitDir: work.directory, args, signal: work.signal });
  const parsed = CommitSha.safeParse(outcome.stdout.toString('utf8').trim());
  if (!succeeded(outcome) || !parsed.success) throw missing(work, ref);
  return parsed.data;
}

/** Many small fetches make many packs; rolling them up keeps every object. Its failure harms nothing. */
async function consolidate(work: Refresh): Promise<void> {
  const packs = (await readdir(path.join(work.directory, 'objects/pack'))).filter((name) => name.endsWith('.pack'));
  if (packs.length <= MAX_PACKS) return;
  const args = ['repack', '--geometric=2', '-d', '--quiet'];
  await runGit({ op: OP, gitDir: work.directory, args, timeoutMs: 600_000, signal: work.signal });
}
