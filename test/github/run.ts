import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommitSha, Digest, type RunId } from '../../src/domain/ids.ts';
import type { Limits } from '../../src/domain/policy.ts';
import { RunRequest, type RunResult, type RunSpec } from '../../src/domain/run.ts';
import { createPublisher, type GitHubPublisher, type PushBranch } from '../../src/github/publisher.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { pushTo as pushWith } from '../../src/github/push.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import type { AuditLog, Harvest } from '../../src/run/ports.ts';
import { fitting } from '../audit/fits.ts';
import { newRunId } from '../queue/requests.ts';
import type { Stage } from './stage.ts';

export const limits: Limits = {
  maxCost: 5_000_000,
  repositoryDailyCost: 20_000_000,
  installationDailyCost: 50_000_000,
  timeoutMs: 1_800_000,
  maxTurns: 100,
  stepMs: 60_000,
  idleMs: 60_000,
};
export const settings = { limits, agent: 'opencode', model: 'anthropic/claude-x' };
export const digest = Digest.parse(`sha256:${'ab'.repeat(32)}`);

/** A request of alice on an issue, or on a pull request. */
export function requestOn(
  here: Stage,
  patch: { number: number; pull?: RunRequest['pull']; commentId?: number; runId?: RunId },
): RunRequest {
  return RunRequest.parse({
    runId: patch.runId ?? newRunId(),
    deliveryId: 'd-1',
    installationId: here.installationId,
    repo: { id: here.shop.repository.id, owner: 'octo-owner', name: 'shop', defaultBranch: 'main', private: false },
    source: {
      number: patch.number,
      title: 'add() subtracts',
      isPull: patch.pull !== undefined,
      url: `${here.shop.page}/issues/${patch.number}`,
      ...(patch.commentId === undefined ? {} : { commentId: patch.commentId }),
    },
    actor: { login: 'alice', id: here.standIn.createUser('alice').id, type: 'User' },
    command: { verb: 'run', text: '', flags: {} },
    input: { texts: [], frozenAt: '2026-01-01T00:00:00Z' },
    ...(patch.pull === undefined ? {} : { pull: patch.pull }),
    requestedAt: '2026-01-01T00:00:00.000Z',
  });
}

export function resultOf(request: RunRequest, patch: Partial<RunResult> = {}): RunResult {
  return {
    runId: request.runId,
    state: 'succeeded',
    usage: { cost: 310_000, turns: 12, inputTokens: 1_000, outputTokens: 200 },
    verification: [{ command: 'npm test', exitCode: 0, durationMs: 1_500, tail: '' }],
    files: [{ path: 'src/add.js', status: 'modified', additions: 1, deletions: 1 }],
    egress: [
      { host: 'registry.test', port: 443, allow: true, count: 4, bytesIn: 1, bytesOut: 1 },
      { host: 'evil.test', port: 443, allow: false, reason: 'not_allowed', count: 2, bytesIn: 0, bytesOut: 0 },
    ],
    agentSummary: 'I made `add` add.',
    startedAt: '2026-01-01T00:00:00.000Z',
    endedAt: '2026-01-01T00:02:10.000Z',
    auditFile: '/data/audit/x.jsonl',
    ...patch,
  };
}

/** A quarantine repository with one commit on top of a branch of the stand-in. */
export function harvestOf(
  here: Stage,
  options: { from?: string; content?: string } = {},
): Harvest & Disposable & { base: CommitSha } {
  const dir = mkdtempSync(join(tmpdir(), 'cofferdam-harvest-'));
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', dir, '-c', 'user.name=b', '-c', 'user.email=b@x.test', ...args], {
      encoding: 'utf8',
    }).trim();
  execFileSync('git', ['clone', '--quiet', '--branch', options.from ?? 'main', here.shop.gitDir, dir]);
  const base = CommitSha.parse(git('rev-parse', 'HEAD'));
  execFileSync('sh', ['-c', 'cat > "$1"', 'sh', join(dir, 'src/add.js')], {
    input: options.content ?? 'exports.add = (a, b) => a + b;\n',
  });
  git('commit', '--quiet', '-am', 'fix: add adds');
  return {
    repository: join(dir, '.git'),
    base,
    commit: CommitSha.parse(git('rev-parse', 'HEAD')),
    tree: git('rev-parse', 'HEAD^{tree}'),
    files: [],
    patch: '',
    patchTruncated: false,
    diffHash: digest,
    ci: { exposure: 'none', reasons: [] },
    dispose: () => Promise.resolve(),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

export function specOf(request: RunRequest, harvest: { base: CommitSha }, patch: Partial<RunSpec> = {}): RunSpec {
  return {
    runId: request.runId,
    repository: 'octo-owner/shop',
    base: harvest.base,
    baseRef: 'main',
    branch: 'cofferdam/1-add-subtracts-x1',
    task: '',
    title: 'fix: add() subtracts',
    agent: 'opencode',
    model: 'anthropic/claude-x',
    image: 'x',
    limits,
    policy: { rules: [], deny: [], gitRepositories: [] },
    policyDigest: digest,
    env: {},
    setup: [],
    verify: [],
    protectedPaths: [],
    hold: 'never',
    ...patch,
  };
}

/** The product's own push, counted. */
export function pushTo(here: Stage): PushBranch & { count: number } {
  const real = pushWith({ webUrl: here.standIn.url, owner: 'octo-owner', name: 'shop' });
  const push = Object.assign(
    (options: Parameters<PushBranch>[0]) => {
      push.count += 1;
      return real(options);
    },
    { count: 0 },
  );
  return push;
}

export function memoryAudit(): AuditLog & { entries: AuditEntry[] } {
  const entries: AuditEntry[] = [];
  return {
    entries,
    file: '/data/audit/x.jsonl',
    append: (entry) => (entries.push(fitting(entry)), Promise.resolve()),
    head: () => digest,
    seal: () => Promise.resolve({ count: entries.length, head: digest }),
    close: () => Promise.resolve(),
  };
}

/** A publisher that waits for nothing and says nothing to a log. */
export function publisherOf(here: Stage, request: RunRequest): GitHubPublisher {
  return createPublisher({
    repository: here.repository,
    request,
    push: pushTo(here),
    settings,
    hidden: [],
    intervalMs: 0,
    log: createLogger({ level: 'silent' }),
  });
}
