import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
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
  /** Another connection of the same App, as a worker has after a crash. */
  connect: (patch?: Partial<GitHubOptions>) => GitHub;
}

/** The product's client on a stand-in with a repository: alice may write, eve may read. */
export async function stage(): Promise<Stage> {
  const dir = await mkdtemp(join(tmpdir(), 'cofferdam-stage-'));
  const standIn = await startStandIn({ dir });
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
