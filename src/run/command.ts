import type { Readable, Writable } from 'node:stream';
import { errorRow, toRunError, type RunError } from '../domain/errors.ts';
import type { Digest, RunId } from '../domain/ids.ts';
import type { EgressPolicy, Limits, SandboxSettings } from '../domain/policy.ts';
import type { EgressEntryFact, ProcessRecord, Usage } from '../domain/run.ts';
import type { EndReason, FinalState } from '../domain/final-state.ts';
import { openEnclosure, type Enclosure } from './enclosure.ts';
import { watchLimits } from './limits.ts';
import type { AuditLog, RunPorts } from './ports.ts';

/** One command in a fresh sandbox, without a repository, a queue or GitHub. */
export interface CommandJob {
  runId: RunId;
  argv: string[];
  user: 'agent' | 'root';
  env: Record<string, string>;
  policy: EgressPolicy;
  llm: boolean;
  limits: Limits;
  settings: SandboxSettings;
  account: { repository: string; installation: string };
  /** Digests and versions that the manifest records. */
  manifest: Record<string, unknown>;
  stdin?: Readable;
  stdout: Writable;
  stderr: Writable;
}

export interface CommandResult {
  /** The command's own; 124 at the time limit, 125 when Cofferdam failed, 126 over budget, 130 when stopped. */
  exitCode: number;
  state: FinalState;
  reason?: EndReason;
  usage: Usage;
  egress: EgressEntryFact[];
  processRecord?: ProcessRecord;
  error?: RunError;
  auditFile: string;
  auditHead: Digest;
}

interface Progress {
  enclosure?: Enclosure;
  exitCode?: number;
  reason?: EndReason;
  error?: RunError;
}

/** Never rejects for what happens inside; rejects with `audit` when the record cannot be written. */
export async function executeCommand(
  ports: Pick<RunPorts, 'gateways' | 'sandboxes' | 'openAudit'>,
  job: CommandJob,
  signal: AbortSignal,
): Promise<CommandResult> {
  const audit = await ports.openAudit(job.runId);
  try {
    return await recordedCommand({ ports, job, audit, signal });
  } finally {
    await audit.close();
  }
}

async function recordedCommand(options: {
  ports: Pick<RunPorts, 'gateways' | 'sandboxes'>;
  job: CommandJob;
  audit: AuditLog;
  signal: AbortSignal;
}): Promise<CommandResult> {
  const { ports, job, audit, signal } = options;
  const progress: Progress = {};
  try {
    await runInside(ports, job, audit, progress, signal);
  } catch (thrown) {
    progress.error = toRunError(thrown, 'run.executeCommand');
    if (signal.aborted) progress.reason = 'stopped';
  }
  const usage = progress.enclosure?.gateway.usage() ?? { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 };
  const egress = progress.enclosure?.gateway.egress() ?? [];
  const processRecord = progress.enclosure?.sandbox.processRecord();
  const ended = verdict(progress);
  const { reason, error } = progress;
  await audit.append({
    zone: 'worker',
    type: 'run.end',
    data: { ...ended, reason: reason ?? null, usage: { ...usage }, error: error ?? null },
  });
  const seal = await audit.seal({ command: job.argv[0] ?? '' });
  return {
    ...ended,
    ...(reason === undefined ? {} : { reason }),
    usage,
    egress,
    ...(processRecord === undefined ? {} : { processRecord }),
    ...(error === undefined ? {} : { error }),
    auditFile: audit.file,
    auditHead: seal.head,
  };
}

async function runInside(
  ports: Pick<RunPorts, 'gateways' | 'sandboxes'>,
  job: CommandJob,
  audit: AuditLog,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { limits, policy, settings } = job;
  await audit.append({
    zone: 'worker',
    type: 'run.manifest',
    data: {
      command: job.argv,
      user: job.user,
      limits: { ...limits },
      policy: { ...policy },
      sandbox: { ...settings },
      ...job.manifest,
    },
  });
  await using enclosure = await openEnclosure({
    ports,
    runId: job.runId,
    role: 'exec',
    policy,
    git: {},
    llm: job.llm,
    limits,
    account: job.account,
    settings,
    audit,
    signal,
  });
  progress.enclosure = enclosure;
  using watch = watchLimits({
    timeoutMs: limits.timeoutMs,
    signal,
    gateway: enclosure.gateway,
    sandbox: enclosure.sandbox,
  });
  try {
    const done = await enclosure.exec({
      argv: job.argv,
      user: job.user,
      cwd: '/workspace',
      env: job.env,
      ...(job.stdin === undefined ? {} : { stdin: job.stdin }),
      stdout: job.stdout,
      stderr: job.stderr,
      signal: watch.signal,
    });
    progress.exitCode = done.exitCode;
  } catch (thrown) {
    // A command that was cut off by a limit has the limit as its reason.
    if (watch.reason() === undefined) throw thrown;
  }
  const reason = watch.reason();
  if (reason === undefined) return;
  progress.reason = reason;
  await audit.append({ zone: 'worker', type: 'limit.reached', data: { reason } });
}

const REASON_EXIT: Partial<Record<EndReason, { exitCode: number; state: FinalState }>> = {
  timeout: { exitCode: 124, state: 'timed_out' },
  idle: { exitCode: 124, state: 'timed_out' },
  max_cost: { exitCode: 126, state: 'over_budget' },
  max_turns: { exitCode: 126, state: 'over_budget' },
  stopped: { exitCode: 130, state: 'cancelled' },
  gateway_lost: { exitCode: 125, state: 'failed' },
};

function verdict(progress: Progress): { exitCode: number; state: FinalState } {
  const { reason, error, exitCode } = progress;
  if (reason !== undefined) return REASON_EXIT[reason] ?? { exitCode: 137, state: 'failed' };
  if (error !== undefined) return { exitCode: errorRow(error.code).exitCode === 2 ? 2 : 125, state: 'failed' };
  const code = exitCode ?? 125;
  return { exitCode: code, state: code === 0 ? 'succeeded' : 'failed' };
}
