import { execFile } from 'node:child_process';
import { chmod, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { readEnvironment } from '../config/environment.ts';
import { demoScript, ISSUE } from '../local/demo/script.ts';
import { prepareMachine } from '../local/machine/machine.ts';
import { startProvider } from '../local/provider/server.ts';
import { machineProgress } from './progress.ts';
import { runCommand } from './run.ts';

const exec = promisify(execFile);
const KEY = 'demo-key-of-the-scripted-provider';
const PRICES = { '*': { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75 } };

/** The demo's project as a repository with one commit. */
async function makeRepository(directory: string): Promise<void> {
  await cp(fileURLToPath(new URL('../local/demo/project', import.meta.url)), directory, { recursive: true });
  const git = (...args: string[]): Promise<unknown> => exec('git', args, { cwd: directory });
  await git('init', '-q', '-b', 'main');
  await git('add', '-A');
  await git('-c', 'user.name=Demo', '-c', 'user.email=demo@example.com', 'commit', '-q', '-m', 'feat: timers');
}

/**
 * `cofferdam demo`: the job on this machine without GitHub: a project with a failing test, a real agent in a real sandbox,
 * branch and patch back. Exit code 0 only when the run succeeded.
 */
export async function demoCommand(options: { json?: boolean; signal: AbortSignal }): Promise<number> {
  const say = (line: string): unknown => process.stderr.write(`${line}\n`);
  const directory = await mkdtemp(join(tmpdir(), 'cd-demo-'));
  // Gateways run as users of their own and have to pass through.
  await chmod(directory, 0o711);
  say('Setting up (the first time takes a few minutes):');
  const machine = await prepareMachine({
    needs: { agents: ['opencode'], redis: true },
    onProgress: machineProgress(),
    signal: options.signal,
  });
  const provider = await startProvider({ script: demoScript, apiKey: KEY, prices: PRICES });
  try {
    const repo = join(directory, 'kettle');
    await makeRepository(repo);
    const policy = join(directory, 'policy.yml');
    await writeFile(
      policy,
      `egress: { allow: [npm, github], presetsAllowPrivate: ${String(machine.registryPrivate)} }
llm:
  default: anthropic/claude-sonnet-4-5
  providers: { anthropic: { apiKeyFile: ${join(directory, 'key')}, baseUrl: "${provider.url}/v1" } }
  models: ["claude-*"]
limits: { maxCostUsd: 2, timeoutMinutes: 5 }
`,
    );
    await writeFile(join(directory, 'key'), KEY, { mode: 0o600 });
    say(`\nTask: ${ISSUE.title}`);
    say('Agent: opencode, a real one. Model: SCRIPTED, a provider on this machine that speaks the real wire format.\n');
    const output = join(directory, 'result.patch');
    const environment = { ...readEnvironment(), dataDir: join(directory, 'data') };
    const code = await runCommand({
      repo,
      task: `${ISSUE.title}\n\n${ISSUE.body}`,
      policy,
      output,
      ...(options.json === true ? { json: true } : {}),
      environment,
      signal: options.signal,
    });
    if (code === 0) {
      const { stdout } = await exec('git', ['--no-pager', 'log', '-p', '--all', '--not', 'main'], { cwd: repo });
      say(`\n${stdout}`);
    }
    return code;
  } finally {
    await provider.stop();
    await machine.release();
    await rm(directory, { recursive: true, force: true });
  }
}
