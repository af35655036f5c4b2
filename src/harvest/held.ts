/**
 * Results that wait for a person: `<dataDir>/held/<run>/`, with the bare repository that holds the commit, the diff as a patch,
 * and what is needed to publish it. A directory is complete when it has its `held.json`; anything else is what a crash left.
 */
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import { CommitSha, Digest, RunId } from '../domain/ids.ts';
import { type ChangedFile, type RunResult, type RunSpec } from '../domain/run.ts';
import { HeldFacts } from '../domain/held.ts';
import type { CiLook } from '../policy/diff/ci.ts';
import type { HeldLater, HeldResult, HeldResults } from '../run/ports.ts';

const FILE = 'held.json';
/** Of a result upon a fork: the run's own change, which is handed over where nothing can be pushed. */
const OWN = 'own.patch';
const OP = 'harvest.held';

/** Our own file in a directory that only we may enter: what it holds beyond this is what we wrote. */
const Stored = z.looseObject({
  version: z.literal(1),
  keptAt: z.string(),
  spec: z.looseObject({ runId: RunId, branch: z.string(), base: CommitSha, baseRef: z.string() }),
  result: z.looseObject({ runId: RunId }),
  held: HeldFacts,
  commit: CommitSha,
  tree: z.string(),
  patchTruncated: z.boolean(),
  ownTruncated: z.boolean().default(false),
  later: z.looseObject({}).default({}),
});

interface StoredResult {
  version: 1;
  keptAt: string;
  spec: RunSpec;
  result: RunResult;
  held: HeldFacts;
  commit: CommitSha;
  tree: string;
  patchTruncated: boolean;
  /** Of a result upon a pull request from a fork: all files that the push brings in. */
  incoming?: ChangedFile[];
  /** Whether `own.patch` is cut. */
  ownTruncated: boolean;
  later: HeldLater;
}

export interface HeldOptions {
  dataDir: string;
  /** Results that are kept at most; the oldest go first. */
  maxResults?: number;
  maxAgeMs?: number;
  now?: () => number;
}

const NO_CI: CiLook = { exposure: 'none', reasons: [] };

/** The store of one data directory. */
export function createHeldResults(options: HeldOptions): HeldResults {
  const root = path.join(options.dataDir, 'held');
  const { maxResults = 50, maxAgeMs = 14 * 86_400_000, now = Date.now } = options;
  const directoryOf = (runId: RunId): string => path.join(root, RunId.parse(runId));

  async function write(runId: RunId, stored: StoredResult): Promise<void> {
    const file = path.join(directoryOf(runId), FILE);
    await writeFile(`${file}.new`, JSON.stringify(stored), { mode: 0o600, flush: true });
    await rename(`${file}.new`, file);
  }

  async function read(runId: RunId): Promise<StoredResult | null> {
    const text = await readFile(path.join(directoryOf(runId), FILE), 'utf8').catch(() => null);
    if (text === null) return null;
    const parsed = Stored.safeParse(parseJson(text));
    return parsed.success ? (parsed.data as unknown as StoredResult) : null;
  }

  /** Removes what is too old, too much, or half. */
  async function prune(keep: RunId): Promise<void> {
    const known: { runId: RunId; at: number }[] = [];
    for (const name of await readdir(root)) {
      const runId = RunId.safeParse(name);
      if (!runId.success || runId.data === keep) continue;
      const stored = await read(runId.data);
      const at = stored === null ? Number.NaN : Date.parse(stored.keptAt);
      if (now() - at < maxAgeMs) known.push({ runId: runId.data, at });
      else await rm(directoryOf(runId.data), { recursive: true, force: true });
    }
    const over = known.sort((a, b) => b.at - a.at).slice(maxResults - 1);
    for (const { runId } of over) await rm(directoryOf(runId), { recursive: true, force: true });
  }

  return {
    async keep({ spec, harvest, result, held }) {
      const directory = directoryOf(spec.runId);
      try {
        await mkdir(root, { recursive: true, mode: 0o700 });
        await chmod(root, 0o700);
        await prune(spec.runId);
        await rm(directory, { recursive: true, force: true });
        await mkdir(directory, { mode: 0o700 });
        // Its objects lean on the mirror's, where nothing is ever removed.
        await rename(harvest.repository, path.join(directory, 'repository.git'));
        const { commit, tree, incoming } = harvest;
        const { patch, patchTruncated } = incoming ?? harvest;
        await writeFile(path.join(directory, 'diff.patch'), patch, { mode: 0o600 });
        if (incoming !== undefined) await writeFile(path.join(directory, OWN), harvest.patch, { mode: 0o600 });
        const keptAt = new Date(now()).toISOString();
        await write(spec.runId, {
          version: 1,
          keptAt,
          spec,
          result,
          held,
          commit,
          tree,
          patchTruncated,
          ownTruncated: harvest.patchTruncated,
          ...(incoming === undefined ? {} : { incoming: incoming.files }),
          later: {},
        });
      } catch (cause) {
        throw new CofferdamError('harvest', OP, 'the result must wait for a person, and cannot be kept', cause);
      }
    },
    async note(runId, later) {
      const stored = await read(runId);
      if (stored === null) return;
      await write(runId, { ...stored, later: { ...stored.later, ...later } });
      if (later.published === undefined) return;
      await rm(path.join(directoryOf(runId), 'repository.git'), { recursive: true, force: true });
    },
    async load(runId) {
      const stored = await read(runId);
      if (stored === null) return null;
      const own =
        stored.incoming === undefined ? '' : readFile(path.join(directoryOf(runId), OWN), 'utf8').catch(() => '');
      return restored(stored, { directory: directoryOf(runId), own: await own });
    },
  };
}

function restored(stored: StoredResult, { directory, own }: { directory: string; own: string }): HeldResult {
  const { spec, result, held, keptAt, later, commit, tree, patchTruncated, incoming } = stored;
  const harvest = {
    repository: path.join(directory, 'repository.git'),
    commit,
    tree,
    files: result.files,
    patch: own,
    patchTruncated: stored.ownTruncated,
    diffHash: Digest.parse(held.diffHash),
    ci: NO_CI,
    ...(incoming === undefined ? {} : { incoming: { files: incoming, patch: '', patchTruncated } }),
    dispose: () => Promise.resolve(),
  };
  return { spec, result, held, keptAt, harvest, ...later };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
