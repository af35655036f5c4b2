import { createReadStream } from 'node:fs';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { CofferdamError } from '../domain/errors.ts';
import { git, gitError, runGit, succeeded, type GitCall } from '../git/git.ts';
import { readCommit, updateRef } from '../git/plumbing.ts';
import { HEADER_BYTES, readBundleHeader } from './bundle-header.ts';
import { refused, type HarvestLimits } from './limits.ts';
import { RESULT_REF } from './script.ts';

// Trust assumptions: the bundle is hostile to its last byte. It goes through two repositories: `intake.git`, where its pack
// is indexed and checked object by object, and `result.git`, which fetches from there over file:// with fsck on. git before
// 2.46 checks nothing when it fetches from a bundle, so no git command is given the bundle itself.

const OP = 'harvest.intake';
const INCOMING = 'refs/cofferdam/incoming';

export interface IntakeOptions {
  /** An empty directory for this one result. */
  quarantine: string;
  bundle: string;
  /** Bare repository that holds `base`; its objects are borrowed, nothing in it is changed. */
  mirror: string;
  base: string;
  limits: HarvestLimits;
  signal: AbortSignal;
}

export interface Received {
  /** Bare repository with the objects. */
  repository: string;
  tip: string;
  tree: string;
}

/**
 * Takes a bundle into quarantine and checks that it is one commit on the base.
 * Errors: `harvest` for anything else, and when a limit of git's is reached; `cancelled`.
 */
export async function intake(options: IntakeOptions): Promise<Received> {
  const { base, limits, signal } = options;
  const { tip, packOffset, objects } = await readHeader(options);
  if (objects > limits.objects) throw refused(`it holds ${objects} git objects, ${limits.objects} are accepted`);
  const first = await makeRepository(options, 'intake.git');
  await indexPack(options, first, packOffset);
  await updateRef({ ...at(options, first), code: 'harvest' }, { ref: RESULT_REF, to: tip }).catch(badObjects(signal));
  const repository = await makeRepository(options, 'result.git');
  await updateRef(at(options, repository), { ref: 'refs/cofferdam/base', to: base });
  await fetchResult(options, first, repository);
  await rm(first, { recursive: true, force: true });
  const commit = await readCommit(at(options, repository), tip);
  if (commit.parents.length !== 1 || commit.parents[0] !== base) throw refused('it is not one commit on the base');
  return { repository, tip, tree: commit.tree };
}

async function readHeader(options: IntakeOptions) {
  const handle = await open(options.bundle);
  try {
    const start = Buffer.alloc(HEADER_BYTES + 12);
    const { bytesRead } = await handle.read(start, 0, start.length, 0);
    if (bytesRead === 0) throw refused('the sandbox sent nothing');
    const result = readBundleHeader(start.subarray(0, bytesRead), { base: options.base, ref: RESULT_REF });
    if (!result.ok) throw refused(`the bundle is not acceptable: ${result.problem}`);
    return result.header;
  } finally {
    await handle.close();
  }
}

async function makeRepository(options: IntakeOptions, name: string): Promise<string> {
  const directory = path.join(options.quarantine, name);
  const format = options.base.length === 64 ? 'sha256' : 'sha1';
  const args = ['init', '--quiet', '--bare', '--template=', `--object-format=${format}`, '--', directory];
  await git({ op: OP, args, signal: options.signal });
  const info = path.join(directory, 'objects/info');
  await mkdir(info, { recursive: true });
  await writeFile(path.join(info, 'alternates'), `${path.join(path.resolve(options.mirror), 'objects')}\n`);
  return directory;
}

function at(options: IntakeOptions, gitDir: string) {
  return { gitDir, op: OP, code: 'harvest' as const, signal: options.signal };
}

function bounded(options: IntakeOptions): Pick<GitCall, 'limits' | 'timeoutMs' | 'signal'> {
  const { memoryBytes, cpuSeconds, bundleBytes } = options.limits;
  return {
    limits: { memoryBytes, cpuSeconds, fileBytes: bundleBytes * 4 },
    timeoutMs: cpuSeconds * 3000,
    signal: options.signal,
  };
}

async function indexPack(options: IntakeOptions, gitDir: string, packOffset: number): Promise<void> {
  const call: GitCall = {
    op: OP,
    code: 'harvest',
    gitDir,
    args: [
      'index-pack',
      '--stdin',
      '--fix-thin',
      '--strict',
      '--threads=1',
      `--max-input-size=${options.limits.bundleBytes}`,
    ],
    stdin: createReadStream(options.bundle, { start: packOffset }),
    ...bounded(options),
  };
  const outcome = await runGit(call);
  if (!succeeded(outcome)) throw objectsRefused(gitError(call, outcome), options.signal);
}

async function fetchResult(options: IntakeOptions, from: string, into: string): Promise<void> {
  const call: GitCall = {
    op: OP,
    code: 'harvest',
    gitDir: into,
    args: [
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--no-recurse-submodules',
      '--negotiation-tip=refs/cofferdam/base',
      pathToFileURL(from).href,
      `${RESULT_REF}:${INCOMING}`,
    ],
    transport: { protocol: 'file' },
    config: [['fetch.unpackLimit', '1']],
    ...bounded(options),
  };
  const outcome = await runGit(call);
  if (!succeeded(outcome)) throw objectsRefused(gitError(call, outcome), options.signal);
}

function objectsRefused(cause: CofferdamError, signal: AbortSignal): CofferdamError {
  if (signal.aborted || cause.code === 'cancelled') return new CofferdamError('cancelled', OP, 'stopped in quarantine');
  return refused(`git does not accept its objects (${cause.message})`, cause);
}

function badObjects(signal: AbortSignal): (cause: unknown) => never {
  return (cause) => {
    throw cause instanceof CofferdamError ? objectsRefused(cause, signal) : cause;
  };
}
