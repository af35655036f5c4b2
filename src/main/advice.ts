import { CofferdamError } from '../domain/errors.ts';
import { CommitSha } from '../domain/ids.ts';
import type { RunSpec } from '../domain/run.ts';
import { gitText } from '../git/git.ts';
import type { At } from '../git/plumbing.ts';
import { listFiles, readBlob } from '../git/tree.ts';
import { isAdvice, shownAdvice, type CommitFiles } from '../policy/diff/advice.ts';
import { resolveTarget } from '../policy/diff/path.ts';
import type { Mirror } from '../run/ports.ts';

const SYMLINK = '120000';
const LINK_BYTES = 4_096;

/**
 * Advice for agents that the run's base has otherwise than the default branch, which is whose advice counts. Nothing where both are
 * the same commit. Errors: `clone` for names that cannot be laid in a workspace.
 */
export async function adviceOf(mirror: Mirror, signal: AbortSignal): Promise<Pick<RunSpec, 'advice'>> {
  const at = { gitDir: mirror.path, op: 'main.adviceOf', code: 'clone' as const, signal };
  const ref = `refs/heads/${mirror.defaultBranch}^{commit}`;
  const commit = CommitSha.parse(
    (await gitText({ ...at, args: ['rev-parse', '--verify', '--end-of-options', ref] })).trim(),
  );
  if (commit === mirror.base) return {};
  const [own, standard] = await Promise.all([filesOf(at, mirror.base), filesOf(at, commit)]);
  try {
    const files = shownAdvice(own, standard);
    return files.length === 0 ? {} : { advice: { commit, files } };
  } catch (thrown) {
    if (!(thrown instanceof RangeError)) throw thrown;
    throw new CofferdamError(
      'clone',
      'main.adviceOf',
      `advice for agents at ${mirror.base}: ${thrown.message}`,
      thrown,
    );
  }
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
