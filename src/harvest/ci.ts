import { git } from '../git/git.ts';
import { ciLook, type CiLook, type WorkflowFile } from '../policy/diff/ci.ts';
import type { Mirror } from '../run/ports.ts';

const OP = 'harvest.lookAtCi';
const DIRECTORY = '.github/workflows/';
const MAX_WORKFLOWS = 100;
const MAX_BYTES = 256 * 2 ** 10;

interface At {
  gitDir: string;
  signal: AbortSignal;
}

/**
 * What CI would do with a pushed branch: the workflows of the base, which the branch has too (a result that changes one is
 * judged by that), of the default branch, from which GitHub takes those of some events, and of the branch that the result is to be
 * merged into, whose workflows a pull request gets with the merge.
 */
export async function lookAtCi(options: {
  mirror: Mirror;
  branch: string;
  /** Branch that a result upon a fork's pull request is to be merged into. */
  onto?: string;
  signal: AbortSignal;
}): Promise<CiLook> {
  const { mirror, branch, onto, signal } = options;
  const at = { gitDir: mirror.path, signal };
  const workflows = new Map<string, WorkflowFile>();
  const rootNames = new Set<string>();
  const merged = mirror.since === undefined || onto === undefined ? [] : [`refs/heads/${onto}`];
  for (const commit of [mirror.base, `refs/heads/${mirror.defaultBranch}`, ...merged]) {
    for (const entry of await list(at, commit, DIRECTORY)) {
      if (!/\.ya?ml$/i.test(entry.path)) continue;
      const known = `${entry.path}\0${entry.id}`;
      if (!workflows.has(known)) workflows.set(known, await readWorkflow(at, entry, workflows.size));
    }
    for (const { path } of await list(at, commit)) rootNames.add(path);
  }
  return ciLook({ workflows: [...workflows.values()], rootNames: [...rootNames], branch });
}

interface Entry {
  path: string;
  id: string;
  regular: boolean;
}

async function list(at: At, commit: string, directory?: string): Promise<Entry[]> {
  const paths = directory === undefined ? [] : ['--', directory];
  const output = await git({
    ...at,
    op: OP,
    code: 'harvest',
    args: ['ls-tree', '-z', '--full-tree', '--end-of-options', commit, ...paths],
    maxOutputBytes: 16 * 2 ** 20,
  });
  return output
    .toString('utf8')
    .split('\0')
    .flatMap((record) => {
      const [, mode, id, path] = /^(\d{6}) \w+ ([0-9a-f]+)\t(.*)$/s.exec(record) ?? [];
      return mode === undefined || id === undefined || path === undefined
        ? []
        : [{ path, id, regular: /^100/.test(mode) }];
    });
}

async function readWorkflow(at: At, entry: Entry, before: number): Promise<WorkflowFile> {
  const { path, id } = entry;
  if (!entry.regular || before >= MAX_WORKFLOWS) return { path, content: null };
  const args = ['cat-file', '-s', id];
  const size = Number((await git({ ...at, op: OP, code: 'harvest', args })).toString('utf8'));
  if (!(size <= MAX_BYTES)) return { path, content: null };
  const blob = await git({ ...at, op: OP, code: 'harvest', args: ['cat-file', 'blob', id], maxOutputBytes: MAX_BYTES });
  return { path, content: blob.toString('utf8') };
}
