import { CofferdamError, toRunError } from '../domain/errors.ts';
import type { RunId } from '../domain/ids.ts';
import type { EgressPolicy, Limits, SandboxSettings } from '../domain/policy.ts';
import type { EgressEntryFact } from '../domain/run.ts';
import type {
  AuditLog,
  ExecOptions,
  ExecResult,
  Gateway,
  Gateways,
  Sandbox,
  Sandboxes,
  SandboxReceipt,
} from './ports.ts';
import type { Tail } from './tail.ts';

/** A fresh sandbox behind a gateway of its own: what every command of a run runs in. */
export interface Enclosure extends AsyncDisposable {
  gateway: Gateway;
  sandbox: Sandbox;
  receipt: SandboxReceipt;
  /** What the task reached or tried to: the self-test's own attempts are not among them. */
  egress(): EgressEntryFact[];
  /** `sandbox.exec`, with its start and its end recorded, and the last of what it printed where that is given. */
  readonly exec: (options: ExecOptions, printed?: Tail) => Promise<ExecResult>;
}

export interface EnclosureOptions {
  ports: { gateways: Gateways; sandboxes: Sandboxes };
  runId: RunId;
  role: 'agent' | 'verify' | 'exec';
  policy: EgressPolicy;
  git: Record<string, string>;
  llm: boolean;
  limits: Limits;
  account: { repository: string; installation: string };
  settings: SandboxSettings;
  audit: AuditLog;
  onStage?: (stage: 'gateway' | 'sandbox' | 'self_test') => void;
  signal: AbortSignal;
}

/** UTF-16 units of a command's output in the record. */
const MAX_TAIL = 8_192;

/** The sandbox outlives the work by this time, so that the tree can be brought out after a limit. */
const GRACE_MS = 10 * 60_000;

/** 80 and 443 always, and whatever port a rule names: the portal listens on these. */
function portsOf(policy: EgressPolicy): number[] {
  return [...new Set([80, 443, ...policy.rules.flatMap((rule) => rule.ports ?? [])])].sort((a, b) => a - b);
}

/**
 * Opens the gateway, creates the sandbox and lets it prove its isolation.
 * Errors: `gateway`, `sandbox`, `docker_unavailable`, `runtime_missing`, and `self_test` when the proof fails; then
 * nothing of the task has run.
 */
export async function openEnclosure(options: EnclosureOptions): Promise<Enclosure> {
  const { ports, runId, role, audit, signal } = options;
  await using undo = new AsyncDisposableStack();
  options.onStage?.('gateway');
  const gateway = await ports.gateways.open({
    runId,
    policy: options.policy,
    git: options.git,
    llm: options.llm,
    limits: options.limits,
    account: options.account,
    audit,
    signal,
  });
  undo.defer(() => gateway.close());
  options.onStage?.('sandbox');
  await audit.append({
    zone: 'worker',
    type: 'sandbox.create',
    data: { role, image: options.settings.image, runtime: options.settings.runtime },
  });
  const sandbox = await ports.sandboxes.create({
    runId,
    role,
    settings: options.settings,
    socketDir: gateway.socketDir,
    deadline: Date.now() + options.limits.timeoutMs + GRACE_MS,
    ports: portsOf(options.policy),
    // The next thing that the host records fails as well when this cannot be written, and ends the run.
    onRecord: (entry) => void audit.append(entry).catch(() => undefined),
    signal,
  });
  undo.defer(async () => {
    try {
      await audit.append({ zone: 'worker', type: 'sandbox.destroy', data: { role, container: sandbox.id } });
    } finally {
      // The one effect that does not wait for its record: a sandbox must not outlive a disk that is full.
      await sandbox.destroy();
    }
    await audit.append({ zone: 'worker', type: 'sandbox.destroyed', data: { role, container: sandbox.id } });
  });
  void sandbox.ended.then((end) =>
    audit.append({ zone: 'worker', type: 'sandbox.ended', data: { role, ...end } }).catch(() => undefined),
  );
  options.onStage?.('self_test');
  const receipt = await sandbox.selfTest(signal);
  await audit.append({ zone: 'worker', type: 'sandbox.self_test', data: { role, ...receipt } });
  if (!receipt.ok) {
    const failed = receipt.checks.filter((check) => !check.ok).map((check) => `${check.name}: ${check.observed}`);
    throw new CofferdamError('self_test', 'run.openEnclosure', `the sandbox's self-test failed: ${failed.join('; ')}`);
  }
  await gateway.refreshEgress();
  const tested = gateway.egress().map((entry) => ({ ...entry }));
  const dispose = undo.move();
  return {
    gateway,
    sandbox,
    receipt,
    egress: () => egressSince(tested, gateway.egress()),
    exec: (exec, printed) => recordedExec({ sandbox, audit, role, exec, printed }),
    [Symbol.asyncDispose]: () => dispose.disposeAsync(),
  };
}

/** Entries that are new or have grown, with what they have grown by. */
function egressSince(before: readonly EgressEntryFact[], now: readonly EgressEntryFact[]): EgressEntryFact[] {
  const key = (entry: EgressEntryFact): string => JSON.stringify([entry.host, entry.port, entry.allow, entry.reason]);
  const old = new Map(before.map((entry) => [key(entry), entry]));
  return now.flatMap((entry) => {
    const was = old.get(key(entry));
    if (was === undefined) return [{ ...entry }];
    const count = entry.count - was.count;
    const grown = { ...entry, count, bytesIn: entry.bytesIn - was.bytesIn, bytesOut: entry.bytesOut - was.bytesOut };
    return count > 0 ? [grown] : [];
  });
}

async function recordedExec(options: {
  sandbox: Sandbox;
  audit: AuditLog;
  role: string;
  exec: ExecOptions;
  printed: Tail | undefined;
}): Promise<ExecResult> {
  const { sandbox, audit, role, exec, printed } = options;
  const started = performance.now();
  const argv = exec.argv.map((arg) => (arg.length > 1000 ? `${arg.slice(0, 1000)}…` : arg)).slice(0, 64);
  await audit.append({
    zone: 'worker',
    type: 'process.start',
    data: { role, 'process.command_args': argv, 'process.user': exec.user, cwd: exec.cwd },
  });
  const ended = (how: Record<string, unknown>): Promise<void> =>
    audit.append({
      zone: 'worker',
      type: 'process.exit',
      data: {
        role,
        'process.command': argv[0],
        durationMs: Math.round(performance.now() - started),
        ...how,
        ...(printed === undefined || printed.bytes === 0 ? {} : { tail: printed.text().slice(-MAX_TAIL) }),
      },
    });
  const result = await sandbox.exec(exec).catch(async (error: unknown) => {
    const problem = exec.signal?.aborted === true ? 'interrupted' : toRunError(error, 'run.recordedExec').code;
    await ended({ problem, timedOut: false });
    throw error;
  });
  await ended({ 'process.exit.code': result.exitCode, timedOut: result.timedOut });
  return result;
}
