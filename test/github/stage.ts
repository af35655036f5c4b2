import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { createGitHub, type GitHub, type GitHubOptions } from '../../src/github/github.ts';
import type { GitHubRepository } from '../../src/github/repository.ts';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import { startStandIn, type StandIn } from '../../src/local/github/stand-in.ts';

export interface Stage extends AsyncDisposable {
  standIn: StandIn;
  github: GitHub;
  shop: RepositoryHandle;
  repository: GitHubRepository;
  installationId: number;
  /** A directory of this stage's own. */
  dir: string;
  /** Another connection of the same App, as a worker has after a crash. */
  connect: (patch?: Partial<GitHubOptions>) => GitHub;
}

const Manifest = z.object({
  default_permissions: z.record(z.string(), z.enum(['read', 'write'])),
  default_events: z.array(z.string()),
});

/** `app.yml`: the tests have the permissions and events that the product registers itself with, and no other. */
export async function appManifest(): Promise<z.infer<typeof Manifest>> {
  return Manifest.parse(parse(await readFile(new URL('../../app.yml', import.meta.url), 'utf8')));
}

/** One for all stages of a file: to make one takes longer than many of its tests. */
const APP_KEY = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  .privateKey.export({ type: 'pkcs1', format: 'pem' })
  .toString();

/** The product's client on a stand-in with a repository: alice may write, eve may read. */
export async function stage(more: Record<string, 'read' | 'write'> = {}): Promise<Stage> {
  const dir = await mkdtemp(join(tmpdir(), 'cofferdam-stage-'));
  const { default_permissions: permissions, default_events: events } = await appManifest();
  const standIn = await startStandIn({
    dir,
    app: { permissions: { ...permissions, ...more }, events, privateKeyPem: APP_KEY },
  });
  const shop = await standIn.createRepository({
    owner: 'octo-owner',
    name: 'shop',
    files: { 'README.md': '# Shop\n', 'src/add.js': 'exports.add = (a, b) => a - b;\n' },
    collaborators: { alice: 'write', eve: 'read' },
    labels: ['agent'],
  });
  const connect = (patch: Partial<GitHubOptions> = {}): GitHub =>
    createGitHub({
      baseUrl: `${standIn.url}/api/v3`,
      appId: standIn.app.id,
      privateKey: standIn.app.privateKeyPem,
      writeGapMs: 0,
      backoffMs: 5,
      ...patch,
    });
  const github = connect();
  const installationId = standIn.state.installations[0]?.id ?? 0;
  return {
    standIn,
    github,
    shop,
    installationId,
    dir,
    connect,
    repository: github.repository({ installationId, owner: 'octo-owner', name: 'shop', id: shop.repository.id }),
    [Symbol.asyncDispose]: async () => {
      await standIn.stop();
      await rm(dir, { recursive: true, force: true });
      expect(standIn.violations).toEqual([]);
    },
  };
}

/** A branch of the repository that begins at another one. */
export function branch(shop: RepositoryHandle, name: string, from = 'main'): void {
  execFileSync('git', ['--git-dir', shop.gitDir, 'branch', name, from]);
}
