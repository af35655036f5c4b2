import { createHash } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { CommitSha, Digest } from '../domain/ids.ts';
import { shownFiles } from '../domain/shown.ts';
import { git } from '../git/git.ts';
import { commitTree, diffNumstat, diffPatch, readCommit, updateRef, type Person } from '../git/plumbing.ts';
import type { Harvest, Harvester } from '../run/ports.ts';
import { withOwnAdvice } from './advice.ts';
import { lookAtCi } from './ci.ts';
import { incomingOf } from './incoming.ts';
import { inspect, type Inspection } from './inspect.ts';
import { intake } from './intake.ts';
import { HARVEST_LIMITS, type HarvestLimits } from './limits.ts';
import { composeMessage } from './message.ts';
import { receiveBundle } from './receive.ts';
import { bundleCommand } from './script.ts';
import { refuseSecretText } from './secrets.ts';
import type { Change } from './tree-walk.ts';

export interface HarvesterOptions {
  dataDir: string;
  /** Author and committer of every commit. */
  identity: Person;
  /** Secrets of the installation, asked for at each harvest: tokens come and go. */
  knownSecrets: () => readonly string[];
  /** Where the sandbox fetches the base again when the agent destroyed its repository. */
  remote?: (repository: string) => string;
  limits?: Partial<HarvestLimits>;
  now?: () => Date;
}

type Request = Parameters<Harvester['harvest']>[0];

const OP = 'harvest.harvest';

/** Brings the tree out of the sandbox, checks it in quarantine and makes the one commit of the run. */
export function createHarvester(options: HarvesterOptions): Harvester {
  return {
    async harvest(request) {
      const quarantine = path.join(options.dataDir, 'runs', request.spec.runId, 'q');
      const dispose = () => rm(quarantine, { recursive: true, force: true });
      await dispose();
      await mkdir(quarantine, { recursive: true, mode: 0o755 });
      try {
        const harvest = await work(
          { ...options, quarantine, limits: { ...HARVEST_LIMITS, ...options.limits } },
          request,
        );
        if (harvest === null) await dispose();
        return harvest === null ? null : { ...harvest, dispose };
      } catch (error) {
        await dispose();
        throw error;
      }
    },
  };
}

type Settled = HarvesterOptions & { quarantine: string; limits: HarvestLimits };

async function work(options: Settled, request: Request): Promise<Omit<Harvest, 'dispose'> | null> {
  const { limits, quarantine } = options;
  const { spec, signal } = request;
  const bundle = path.join(quarantine, 'incoming.bundle');
  const remote = (options.remote ?? proxyRemote)(spec.repository);
  await receiveBundle({
    argv: bundleCommand({ workspace: request.workspace, base: spec.base, remote }),
    cwd: '/',
    exec: request.exec,
    file: bundle,
    limits,
    signal,
  });
  const received = await intake({ quarantine, bundle, mirror: request.mirror.path, base: spec.base, limits, signal });
  await rm(bundle);
  const { repository } = received;
  const store = { repository, limits, signal };
  const shown = shownFiles(spec);
  const tree = await withOwnAdvice(store, { tree: received.tree, shown, quarantine });
  const at = { gitDir: repository, op: OP, code: 'harvest' as const, signal };
  const base = await readCommit(at, spec.base);
  if (base.tree === tree) return null;
  const secrets = options.knownSecrets();
  refuseSecretText('the name of the branch', spec.branch, secrets);
  const found = await inspect(store, { base: base.tree, result: tree, protectedPaths: spec.protectedPaths, secrets });
  await showAsBinary(repository, found.binary);
  const files = await withCounts(found, at, [base.tree, tree]);
  const message = composeMessage(await request.message({ tree, files }));
  refuseSecretText('the commit message', message, secrets);
  const date = (options.now ?? (() => new Date()))();
  const commit = await commitTree(at, { tree, parents: [spec.base], message, person: options.identity, date });
  await updateRef(at, { ref: `refs/heads/${spec.branch}`, to: commit, expected: null });
  await git({ ...at, args: ['symbolic-ref', 'HEAD', `refs/heads/${spec.branch}`] });
  const { patch, truncated } = await diffPatch(at, { from: spec.base, to: commit, maxBytes: limits.patchBytes });
  return {
    repository,
    commit: CommitSha.parse(commit),
    tree,
    files,
    patch: patch.toString('utf8'),
    patchTruncated: truncated,
    diffHash: diffHash(spec.base, found.changes),
    ci: await lookAtCi({ mirror: request.mirror, branch: spec.branch, onto: spec.baseRef, signal }),
    ...(spec.fork === undefined ? {} : { incoming: await incomingOf(store, { spec, since: spec.fork.since, tree }) }),
  };
}

function proxyRemote(repository: string): string {
  return `http://git.cofferdam.internal/${repository.toLowerCase()}.git`;
}

async function withCounts(found: Inspection, at: Parameters<typeof diffNumstat>[0], trees: [string, string]) {
  const counts = await diffNumstat(at, ...trees);
  return found.files.map((file) => ({ ...file, ...counts.get(file.path) }));
}

/** Names and contents before and after, all of them: two results with the same hash are the same change of the same base. */
function diffHash(base: string, changes: readonly Change[]): Digest {
  const rows = changes.map(({ path: name, before, after }) => [
    name,
    before?.mode ?? null,
    before?.id ?? null,
    after?.mode ?? null,
    after?.id ?? null,
  ]);
  rows.sort(([a], [b]) => Buffer.compare(Buffer.from(a ?? ''), Buffer.from(b ?? '')));
  return Digest.parse(
    `sha256:${createHash('sha256')
      .update(JSON.stringify([base, rows]))
      .digest('hex')}`,
  );
}

/** A diff is handed on as text, so what is no text must be encoded in it. */
async function showAsBinary(repository: string, paths: ReadonlySet<string>): Promise<void> {
  if (paths.size === 0) return;
  const lines = [...paths].map(
    (name) => `"/${name.replaceAll(/[*?[\]\\!]/g, '\\\\$&').replaceAll('"', '\\"')}" -diff\n`,
  );
  const info = path.join(repository, 'info');
  await mkdir(info, { recursive: true });
  await writeFile(path.join(info, 'attributes'), lines.join(''));
}
