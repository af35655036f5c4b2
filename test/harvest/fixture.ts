import { spawn } from 'node:child_process';
import { createReadStream, mkdirSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { CommitSha, Digest, RunId } from '../../src/domain/ids.ts';
import type { RunSpec } from '../../src/domain/run.ts';
import { createHarvester, type HarvesterOptions } from '../../src/harvest/harvest.ts';
import type { ExecOptions, ExecResult, Mirror } from '../../src/run/ports.ts';
import { bare, project, run, workbench, type Workbench } from '../git/fixture.ts';

export const IDENTITY = { name: 'cofferdam[bot]', email: 'bot@cofferdam.test' };
const TRAILERS: [string, string][] = [
  ['Co-authored-by', 'ada <1+ada@users.noreply.github.com>'],
  ['Cofferdam-Run', 'r0123456789ab'],
  ['Cofferdam-Audit', `sha256:${'a'.repeat(64)}`],
];

/** A base repository, its mirror, and a clone that stands for the sandbox's workspace. */
export interface Scene {
  bench: Workbench;
  base: string;
  mirror: Mirror;
  workspace: string;
  quarantine: string;
  harvest: (options?: SceneOptions) => ReturnType<ReturnType<typeof createHarvester>['harvest']>;
}

export interface SceneOptions {
  spec?: Partial<RunSpec>;
  harvester?: Partial<HarvesterOptions>;
  message?: { title: string; body: string; trailers: [string, string][] };
  /** Stands for the sandbox: by default the command runs in the workspace. */
  exec?: (options: ExecOptions) => Promise<ExecResult>;
  signal?: AbortSignal;
}

export function scene(
  files: Record<string, string> = { 'src/a.ts': 'export const a = 1;\n', 'README.md': '# demo\n' },
): Scene {
  const bench = workbench();
  const origin = bench.path('origin');
  const base = project(origin, files);
  const mirror: Mirror = {
    path: bare(origin, bench.path('data/mirrors/github.test/acme/demo.git')),
    base: CommitSha.parse(base),
    baseRef: 'main',
    defaultBranch: 'main',
  };
  const workspace = bench.path('workspace/repo');
  mkdirSync(path.dirname(workspace), { recursive: true });
  run(['clone', '-q', origin, workspace]);
  const runId = RunId.parse('r0123456789ab');
  return {
    bench,
    base,
    mirror,
    workspace,
    quarantine: bench.path('data/runs', runId, 'q'),
    harvest: (options = {}) =>
      createHarvester({
        dataDir: bench.path('data'),
        identity: IDENTITY,
        knownSecrets: () => [],
        remote: () => pathToFileURL(mirror.path).href,
        ...options.harvester,
      }).harvest({
        spec: { ...specOf(runId, base), ...options.spec },
        mirror,
        exec: options.exec ?? execHere,
        workspace,
        message: () => Promise.resolve(options.message ?? { title: 'Add a thing', body: '', trailers: TRAILERS }),
        signal: options.signal ?? new AbortController().signal,
      }),
  };
}

function specOf(runId: RunSpec['runId'], base: string): RunSpec {
  return {
    runId,
    repository: 'acme/demo',
    base: CommitSha.parse(base),
    baseRef: 'main',
    branch: 'cofferdam/12-add-a-thing-x7k2',
    task: 'add a thing',
    title: 'Add a thing',
    agent: 'opencode',
    model: undefined,
    image: 'cofferdam/sandbox:latest',
    limits: {
      maxCost: 0,
      repositoryDailyCost: 0,
      installationDailyCost: 0,
      timeoutMs: 60_000,
      maxTurns: 1,
      stepMs: 60_000,
      idleMs: 60_000,
    },
    policy: { rules: [], deny: [], gitRepositories: [] },
    policyDigest: Digest.parse(`sha256:${'0'.repeat(64)}`),
    env: {},
    setup: [],
    verify: [],
    protectedPaths: [],
    hold: 'never',
  };
}

/** Executes a command here, in place of a sandbox. */
export function execHere(options: ExecOptions): Promise<ExecResult> {
  return new Promise((resolve, reject) => {
    const [command = '', ...args] = options.argv;
    const child = spawn(command, args, {
      cwd: options.cwd ?? '/',
      env: { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent' },
      ...(options.signal ? { signal: options.signal } : {}),
    });
    if (options.stdin) options.stdin.pipe(child.stdin);
    else child.stdin.end();
    if (options.stdout) child.stdout.pipe(options.stdout);
    if (options.stderr) child.stderr.pipe(options.stderr);
    child.once('error', reject);
    child.once('close', (code) => {
      resolve({ exitCode: code ?? -1, timedOut: false });
    });
  });
}

/** A sandbox that sends this file, whatever it is asked. */
export function execSending(file: string): (options: ExecOptions) => Promise<ExecResult> {
  return (options) =>
    new Promise((resolve, reject) => {
      const source = createReadStream(file);
      options.signal?.addEventListener('abort', () => {
        source.destroy();
        reject(new Error('aborted'));
      });
      source.once('end', () => {
        resolve({ exitCode: 0, timedOut: false });
      });
      if (options.stdout) source.pipe(options.stdout);
    });
}
