import { settleEgress, settleLimits } from '../config/settle.ts';
import { loadPolicy, parseRepositoryFile } from '../config/policy-file.ts';
import type { Environment } from '../config/environment.ts';
import { newRunId, openHost, prepareHost } from '../main/host.ts';
import { digestJson } from '../main/planner.ts';
import { executeCommand, type CommandResult } from '../run/command.ts';
import { createMemoryLedger } from '../run/ledger.ts';
import { machineProgress } from './progress.ts';

export interface ExecOptions {
  argv: string[];
  policy?: string | undefined;
  timeout?: string | undefined;
  maxCost?: string | undefined;
  image?: string | undefined;
  user?: 'root' | 'agent' | undefined;
  env?: Record<string, string> | undefined;
  json?: boolean | undefined;
  environment: Environment;
  signal: AbortSignal;
}

/** `cofferdam exec`: a command in a fresh sandbox; its streams and exit code pass through. */
export async function execCommand(options: ExecOptions): Promise<number> {
  const { environment, signal } = options;
  const policy = await loadPolicy(options.policy ?? environment.policyFile, environment.github);
  const limits = settleLimits(policy.policy, parseRepositoryFile(null), {
    timeout: options.timeout,
    maxCost: options.maxCost,
  });
  const machine = await prepareHost({ environment, policy, agents: [], onProgress: machineProgress(), signal });
  await using host = await openHost({ environment, policy, machine, ledger: createMemoryLedger() });
  const rules = await host.resolveEgress(settleEgress(policy, parseRepositoryFile(null)), signal);
  const egress = { rules, deny: policy.policy.egress.deny, gitRepositories: [] };
  const result = await executeCommand(
    host,
    {
      runId: newRunId(),
      argv: options.argv,
      user: options.user ?? 'agent',
      env: options.env ?? {},
      policy: egress,
      llm: host.llm !== undefined,
      limits,
      settings: { ...policy.policy.sandbox, image: options.image ?? policy.policy.sandbox.image },
      account: { repository: 'exec', installation: host.installation },
      manifest: { ...host.manifest, operatorPolicy: policy.digest, policyDigest: digestJson(egress) },
      stdin: process.stdin,
      stdout: process.stdout,
      stderr: process.stderr,
    },
    signal,
  );
  process.stdin.destroy();
  if (result.error) process.stderr.write(`cofferdam: ${result.error.message}\n`);
  else if (result.reason) process.stderr.write(`cofferdam: ended: ${result.reason}\n`);
  if (options.json === true) process.stdout.write(`${JSON.stringify(summary(result))}\n`);
  return result.exitCode;
}

function summary(result: CommandResult): Record<string, unknown> {
  return {
    exitCode: result.exitCode,
    state: result.state,
    ...(result.reason === undefined ? {} : { reason: result.reason }),
    auditFile: result.auditFile,
    auditHead: result.auditHead,
    egress: result.egress.map(({ host, port, allow, reason, count }) => ({
      host,
      port,
      allow,
      ...(reason === undefined ? {} : { reason }),
      count,
    })),
    costUsd: result.usage.cost / 1e6,
    ...(result.processRecord === undefined ? {} : { processRecord: result.processRecord }),
    ...(result.error === undefined ? {} : { error: result.error }),
  };
}
