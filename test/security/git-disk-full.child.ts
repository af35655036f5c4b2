import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createHarvester } from '../../src/harvest/harvest.ts';
import { createRepositories } from '../../src/git/mirror.ts';
import { CofferdamError } from '../../src/domain/errors.ts';
import type { RunSpec } from '../../src/domain/run.ts';
import { execHere } from '../harvest/fixture.ts';

// Runs in a mount namespace of its own with a small tmpfs as data directory; prints what it saw as JSON.
const [origin = '', workspace = '', dataDir = '', large = ''] = process.argv.slice(2);
const signal = new AbortController().signal;
const repositories = createRepositories({ dataDir, remoteUrl: () => `file://${origin}`, allowFile: true });
const mirrored = () => repositories.mirror({ repository: 'a/b', signal });
const git = (args: string[], cwd: string) => execFileSync('git', args, { cwd, encoding: 'utf8' }).trim();
const codeOf = (error: unknown) =>
  error instanceof CofferdamError ? [error.code, error.message] : ['?', String(error)];

const before = await mirrored();
const harvester = createHarvester({ dataDir, identity: { name: 'x', email: 'x@y.test' }, knownSecrets: () => [] });
const spec = {
  runId: 'r0123456789ab',
  repository: 'a/b',
  base: before.base,
  branch: 'cofferdam/1-x7k2',
  protectedPaths: [],
  hold: 'never',
};
const harvested = () =>
  harvester.harvest({
    spec: spec as unknown as RunSpec,
    mirror: before,
    exec: execHere,
    workspace,
    message: () => Promise.resolve({ title: 'x', body: '', trailers: [] }),
    signal,
  });
const harvestError = codeOf(await harvested().catch((error: unknown) => error));
const quarantine = existsSync(`${dataDir}/runs/r0123456789ab/q`);

git(['fetch', '-q', large, '+refs/heads/large:refs/heads/large'], origin);
const fetchError = codeOf(await mirrored().catch((error: unknown) => error));
const leftovers = readdirSync(`${before.path}/objects/pack`).filter((name) => name.startsWith('tmp_'));
const fsck = git(['fsck', '--full', '--strict'], before.path);
const still = git(['rev-parse', 'refs/heads/main'], before.path);

execFileSync('mount', ['-o', 'remount,size=256m', dataDir]);
const after = await mirrored();
const harvest = await harvested();
process.stdout.write(
  JSON.stringify({
    harvestError,
    quarantine,
    fetchError,
    leftovers,
    fsck,
    intact: still === before.base,
    recovered: after.base === before.base && git(['rev-parse', 'refs/heads/large'], after.path) !== '',
    files: harvest?.files.length,
  }),
);
