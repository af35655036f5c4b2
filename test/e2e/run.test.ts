import { execFile } from 'node:child_process';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demoScript } from '../../src/local/demo/script.ts';
import { prepareMachine } from '../../src/local/machine/machine.ts';
import type { Script } from '../../src/local/provider/script.ts';
import { startProvider, type RunningProvider } from '../../src/local/provider/server.ts';
import { incomplete } from '../audit/complete.ts';
import { lastLine, product, type Ended, type Product } from './product.ts';

const KEY = 'sk-test-canary-0123456789abcdef';
const exec = promisify(execFile);
let p: Product;
let repo: string;
let registryPrivate: boolean;

beforeAll(async () => {
  p = await product();
  repo = join(p.dir, 'kettle');
  await cp('src/local/demo/project', repo, { recursive: true });
  await git('init', '-q', '-b', 'main');
  await git('add', '-A');
  await git('-c', 'user.name=a', '-c', 'user.email=a@example.com', 'commit', '-qm', 'start');
  const machine = await prepareMachine({ onProgress: () => undefined });
  registryPrivate = machine.registryPrivate;
  await machine.release();
});
afterAll(async () => {
  await p[Symbol.asyncDispose]();
});

async function git(...args: string[]): Promise<string> {
  const { stdout } = await exec('git', args, { cwd: repo });
  return stdout.trim();
}

async function runWith(
  script: Script,
  limits: string,
  task = 'parseTime does not understand "1h 30m"',
): Promise<{ ended: Ended; provider: RunningProvider }> {
  const provider = await startProvider({
    script,
    apiKey: KEY,
    prices: { '*': { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75 } },
  });
  const file = join(p.dir, 'policy.yml');
  await writeFile(
    file,
    `egress: { allow: [npm, github], presetsAllowPrivate: ${String(registryPrivate)} }
llm:
  default: anthropic/claude-sonnet-4-5
  providers: { anthropic: { apiKeyEnv: MODEL_KEY, baseUrl: "${provider.url}/v1" } }
  models: ["claude-*"]
limits: ${limits}
`,
  );
  const output = join(p.dir, `${Math.random().toString(36).slice(2)}.patch`);
  const ended = await p.run(['run', '--json', '--repo', repo, '--task', task, '--policy', file, '--output', output], {
    env: { MODEL_KEY: KEY },
  });
  await provider.stop();
  return { ended, provider };
}

describe('cofferdam run', () => {
  it('a real agent fixes a real project in the sandbox; branch, patch, verification and audit come back', async () => {
    const { ended, provider } = await runWith(demoScript, '{ maxCostUsd: 5, timeoutMinutes: 5 }');
    expect(ended.stderr).toContain('succeeded');
    expect(ended.code).toBe(0);
    const result = lastLine(ended);
    expect(result).toMatchObject({
      state: 'succeeded',
      verification: [{ command: 'npm test', exitCode: 0 }],
      files: [{ path: 'src/timer.js' }],
    });
    const branch = String(result['branch']);
    expect(await git('diff', '--name-only', 'main', branch)).toBe('src/timer.js');
    expect(await git('rev-parse', 'main')).toBe(await git('rev-parse', `${branch}^`));
    const message = await git('log', '-1', '--format=%B', branch);
    const checkpoint = /^Cofferdam-Audit: (sha256:[0-9a-f]{64})$/m.exec(message)?.[1];
    const verified = await p.run(['verify', '--json', String(result['auditFile'])]);
    expect(verified.code).toBe(0);
    expect(lastLine(verified)['checkpoints'] as string[]).toContain(checkpoint);
    const patch = await readFile(String(result['patchFile']), 'utf8');
    expect(patch).toContain('const UNIT');
    // The run's page has it, too.
    expect(await readFile(String(result['auditFile']).replace(/\.jsonl$/, '.patch'), 'utf8')).toBe(patch);
    // What the provider charged is what the run says that it cost, to the micro-dollar.
    expect(result['costUsd']).toBeCloseTo(provider.charged() / 1e6, 6);
    // The key was used on the host and is nowhere in what the run left.
    expect(provider.calls.length).toBeGreaterThan(3);
    expect(await readFile(String(result['auditFile']), 'utf8')).not.toContain(KEY);
    expect(await readdir(join(p.dir, 'data', 'runs'))).toEqual([]);
    const egress = result['egress'] as { host: string; allow: boolean }[];
    expect(egress.some((e) => e.host === 'telemetry.example.com' && !e.allow)).toBe(true);
  });

  it('an agent that spends without end stops at the cap, and never above it', async () => {
    const endless: Script = (call) =>
      call.main
        ? { text: 'more', calls: [{ name: 'bash', args: { command: 'true', description: 'go on' } }] }
        : { text: 'title' };
    const { ended, provider } = await runWith(endless, '{ maxCostUsd: 0.3, timeoutMinutes: 5 }');
    expect(lastLine(ended)).toMatchObject({ state: 'over_budget', reason: 'max_cost' });
    expect(ended.code).toBe(126);
    expect(provider.charged()).toBeLessThanOrEqual(300_000);
    expect(provider.charged()).toBeGreaterThan(0);
  });

  it('an agent that sleeps for ever ends at the time limit', async () => {
    const sleeping: Script = (call) =>
      call.main
        ? { calls: [{ name: 'bash', args: { command: 'sleep 3600', description: 'wait', timeout: 3_600_000 } }] }
        : { text: 'title' };
    const { ended } = await runWith(sleeping, '{ maxCostUsd: 5, timeoutMinutes: 0.5 }');
    expect(lastLine(ended)).toMatchObject({ state: 'timed_out', reason: 'timeout' });
    expect(ended.code).toBe(124);
  });

  it('AUD-015 leaves records that are whole: every command, call and effect that began has its end', async () => {
    expect(await incomplete(join(p.dir, 'data'))).toEqual([]);
  });
});
