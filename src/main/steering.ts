import { createHash } from 'node:crypto';
import { CofferdamError } from '../domain/errors.ts';
import { CommitSha, Digest } from '../domain/ids.ts';
import type { AgentConfiguration, Steering } from '../domain/shown.ts';
import { gitText } from '../git/git.ts';
import type { At } from '../git/plumbing.ts';
import { listFiles, readBlob } from '../git/tree.ts';
import { isAdvice, isBelow, shownAdvice, shownConfiguration, type CommitFiles } from '../policy/diff/advice.ts';
import { resolveTarget } from '../policy/diff/path.ts';
import type { Mirror } from '../run/ports.ts';

const SYMLINK = '120000';
const LINK_BYTES = 4_096;

const CONFIGURATION_BYTES = 2 ** 20;
const CONFIGURATION_FILES = 500;

/**
 * What steers the agent counts as the default branch has it: advice, which is always read, and configuration (hooks, MCP servers,
 * settings), of which only what the operator allowed by hash is. Without `configuration` that is not looked at.
 * Errors: `clone` for names that cannot be laid in a workspace.
 */
export async function steeringOf(
  mirror: Mirror,
  options: { roots: readonly string[]; allowed: readonly string[]; signal: AbortSignal },
): Promise<Steering> {
  const { roots, allowed, signal } = options;
  const at = { gitDir: mirror.path, op: 'main.steeringOf', code: 'clone' as const, signal };
  const ref = `refs/heads/${mirror.defaultBranch}^{commit}`;
  const commit = CommitSha.parse(
    (await gitText({ ...at, args: ['rev-parse', '--verify', '--end-of-options', ref] })).trim(),
  );
  const standard = await filesOf(at, commit);
  const own = commit === mirror.base ? standard : await filesOf(at, mirror.base);
  const files = await configurationFiles(at, standard.files, { roots, allowed });
  const read = new Set(files.filter((file) => file.allowed).map(({ path }) => path));
  try {
    // A file that is both is configuration where that is read.
    const advice = shownAdvice(own, standard, (path) => isAdvice(path) && !(read.size > 0 && isBelow(roots, path)));
    const shown = read.size === 0 ? [] : shownConfiguration(own.files, standard.files, { roots, allowed: read });
    return {
      ...(advice.length === 0 ? {} : { advice: { commit, files: advice } }),
      ...(files.length === 0 ? {} : { configuration: { commit, files, shown } }),
    };
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    const message = `what steers agents at ${mirror.base}: ${thrown.message}`;
    throw new CofferdamError('clone', 'main.steeringOf', message, thrown);
  }
}

/** The files that configure the agent, each with the hash by which an operator allows it. */
async function configurationFiles(
  at: At,
  files: CommitFiles['files'],
  { roots, allowed }: { roots: readonly string[]; allowed: readonly string[] },
): Promise<AgentConfiguration['files']> {
  const found: AgentConfiguration['files'] = [];
  for (const [path, { mode, id }] of files) {
    if (!isBelow(roots, path)) continue;
    // What is not looked at is off.
    if (found.length >= CONFIGURATION_FILES) break;
    const bytes = mode.startsWith('100') ? await readBlob(at, id, CONFIGURATION_BYTES).catch(() => null) : null;
    const sha256 = bytes === null ? null : digestBytes(bytes);
    found.push({ path, sha256, allowed: sha256 !== null && allowed.includes(sha256) });
  }
  return found;
}

async function filesOf(at: At, commit: string): Promise<CommitFiles> {
  const files = await listFiles(at, commit);
  const links = new Map<string, string>();
  const left = [...files.keys()].filter((path) => isAdvice(path));
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    const entry = files.get(path);
    if (entry?.mode !== SYMLINK || links.has(path)) continue;
    // A longer one leads nowhere.
    const held = await readBlob(at, entry.id, LINK_BYTES).catch(() => Buffer.alloc(0));
    const target = held.toString('utf8');
    links.set(path, target);
    left.push(resolveTarget(path, target) ?? '');
  }
  return { files, links };
}

/** As `sha256sum` says it. */
export function digestBytes(bytes: Uint8Array): Digest {
  return Digest.parse(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}
