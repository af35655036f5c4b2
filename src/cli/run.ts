import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { TOOLBOX_AGENTS } from '../local/machine/toolbox.ts';
import { createAgents } from '../agent/agents.ts';
import { conventionalTitle } from '../command/prompt.ts';
import { knownSecrets, type Environment } from '../config/environment.ts';
import { loadPolicy } from '../config/policy-file.ts';
import { CofferdamError } from '../domain/errors.ts';
import { formatUsd } from '../domain/ids.ts';
import { type RunResult } from '../domain/run.ts';
import { stateRow } from '../domain/final-state.ts';
import { createRepositories } from '../git/mirror.ts';
import { createHarvester } from '../harvest/harvest.ts';
import { AGENTS_MOUNT, newRunId, openHost, prepareHost } from '../main/host.ts';
import { keepingPatches } from '../main/live-audit.ts';
import { createPlanner } from '../main/planner.ts';
import { execute } from '../run/execute.ts';
import { createMemoryLedger } from '../run/ledger.ts';
import { machineProgress } from './progress.ts';
import { createLocalPublisher, localGitDir } from './run-local.ts';
import { createRunReport } from './run-report.ts';
import { terminalText } from './terminal.ts';

export interface RunOptions {
  repo: string;
  task: string;
  agent?: string;
  model?: string;
  policy?: string;
  timeout?: string;
  maxCost?: string;
  output?: string;
  json?: boolean;
  environment: Environment;
  signal: AbortSignal;
}

/** The author of commits that no GitHub App makes. */
const IDENTITY = { name: 'Cofferdam', email: 'cofferdam@localhost' };

/** How the sandbox and the reports call a repository that has no `owner/name`. */
const LOCAL_NAME = 'local/repository';

function flags(options: RunOptions): Record<string, string> {
  const given = { agent: options.agent, model: options.model, timeout: options.timeout, 'max-cost': options.maxCost };
  return Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** `cofferdam run`: the whole job on a local repository. Exit codes: `stateRow`, 125 when Cofferdam is at fault. */
export async function runCommand(options: RunOptions): Promise<number> {
  const { environment, signal } = options;
  if (options.task.trim() === '')
    throw new CofferdamError('usage', 'cli.run', '--task is empty: say what is to be done');
  const policy = await loadPolicy(options.policy ?? environment.policyFile, environment.github);
  const remote = /^https?:\/\//.test(options.repo) ? options.repo : undefined;
  const gitDir = remote === undefined ? await localGitDir(resolve(options.repo)) : undefined;
  const agent = options.agent ?? policy.policy.agent;
  const agents = TOOLBOX_AGENTS.filter((id) => id === agent);
  const machine = await prepareHost({ environment, policy, agents, onProgress: machineProgress(), signal });
  await using host = await openHost({ environment, policy, machine, ledger: createMemoryLedger() });
  const report = createRunReport((line) => process.stderr.write(`${line}\n`));
  const runId = newRunId();
  const patchFile = resolve(options.output ?? `${runId}.patch`);
  const ports = {
    gateways: host.gateways,
    sandboxes: host.sandboxes,
    openAudit: host.openAudit,
    repositories: createRepositories({
      dataDir: environment.dataDir,
      remoteUrl: () => remote ?? pathToFileURL(gitDir ?? '').href,
      allowFile: true,
      allowHttp: remote?.startsWith('http://') ?? false,
    }),
    planner: createPlanner({
      policy,
      resolveEgress: host.resolveEgress,
      repositoryName: LOCAL_NAME,
      manifest: host.manifest,
    }),
    agents: createAgents({
      toolboxAgentsDir: AGENTS_MOUNT,
      providers: Object.fromEntries((host.llm?.providers ?? []).map((p) => [p.id, { wires: p.wires }])),
    }),
    harvester: keepingPatches(
      createHarvester({
        dataDir: environment.dataDir,
        identity: IDENTITY,
        knownSecrets: () => knownSecrets(policy.policy, environment),
      }),
      { dataDir: environment.dataDir },
    ),
    publisher: createLocalPublisher({ gitDir, patchFile, onProgress: report.progress, onMessage: report.message }),
  };
  const result = await execute(
    ports,
    {
      runId,
      repository: remote === undefined ? LOCAL_NAME : new URL(remote).pathname.replace(/^\/|\.git$/g, ''),
      title: conventionalTitle({ title: options.task.trim().split('\n')[0] ?? '', verb: 'run' }),
      task: options.task,
      branch: `cofferdam/local-${runId}`,
      flags: flags(options),
      account: { repository: 'local', installation: host.installation },
      origin: { command: 'run', repo: options.repo },
    },
    signal,
  );
  tell(result, gitDir === undefined ? undefined : result.branch, patchFile);
  if (options.json === true)
    process.stdout.write(
      `${JSON.stringify({ ...result, costUsd: result.usage.cost / 1e6, patchFile: result.branch === undefined ? null : patchFile })}\n`,
    );
  return result.state === 'failed' && result.error?.code === 'internal' ? 125 : stateRow(result.state).exitCode;
}

function tell(result: RunResult, branch: string | undefined, patchFile: string): void {
  const lines = [
    `${result.state}${result.reason === undefined ? '' : ` (${result.reason})`}: ${result.files.length} files changed, ${formatUsd(result.usage.cost)} spent`,
    ...result.verification.map(
      (fact) => `  ${fact.exitCode === 0 ? '✓' : '✗'} ${terminalText(fact.command)} (exit ${fact.exitCode})`,
    ),
    ...(branch === undefined ? [] : [`  branch ${branch}`]),
    ...(result.branch === undefined ? [] : [`  patch  ${patchFile}`]),
    ...(result.error === undefined ? [] : [`  error  ${result.error.message}`]),
    `  audit  ${result.auditFile ?? ''}`,
  ];
  process.stderr.write(`${lines.join('\n')}\n`);
}
