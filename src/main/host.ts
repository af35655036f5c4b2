import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AuditFile } from '../audit/log.ts';
import { auditPaths } from '../audit/logs.ts';
import { createRedactor } from '../audit/redact.ts';
import { loadSigningKey } from '../audit/seal.ts';
import { knownSecrets, readSecret, type Environment } from '../config/environment.ts';
import type { LoadedPolicy } from '../config/policy-file.ts';
import { CofferdamError } from '../domain/errors.ts';
import { runId, type RunId } from '../domain/ids.ts';
import { priceTable } from '../gateway/llm/prices.ts';
import type { LlmProvider } from '../gateway/llm/port.ts';
import { prepareMachine, type Machine } from '../local/machine/machine.ts';
import type { MachineProgress } from '../local/machine/progress.ts';
import type { ToolboxAgent } from '../local/machine/toolbox.ts';
import { planProvider } from '../policy/llm/providers.ts';
import type { Ledger } from '../run/ledger.ts';
import type { AuditLog, Gateways } from '../run/ports.ts';
import { TOOLBOX } from '../sandbox/layout.ts';
import { createSandboxes, type SandboxHost } from '../sandbox/lifecycle.ts';
import type { Logger } from '../telemetry/log.ts';
import { createEgress } from './egress.ts';
import { createGateways, type GatewayHost } from './gateway-client.ts';
import { createKernelRecorder } from './kernel-client.ts';
import { auditDirectory } from './live-audit.ts';
import type { ResolveEgress } from './planner.ts';
import { readRevocation } from './revocation.ts';

/** The host's side of runs: what `exec`, `run` and the worker are composed of. */
export interface Host extends AsyncDisposable {
  machine: Machine;
  gateways: Gateways;
  sandboxes: SandboxHost;
  openAudit: (id: RunId) => Promise<AuditLog>;
  resolveEgress: ResolveEgress;
  llm: GatewayHost['llm'];
  installation: string;
  /** Trusted upstream, by the gateway and for git; undefined: what Node and git trust by themselves. */
  caFile: string | undefined;
  /** Goes on with the audit file of a run whose writer is gone; null when there is none here or it is sealed. */
  resumeAudit: (id: RunId) => Promise<AuditLog | null>;
  /** Versions and tables that each manifest records. */
  manifest: Record<string, unknown>;
}

/** Where agents lie in every sandbox. */
export const AGENTS_MOUNT = `${TOOLBOX.mount}/agents`;

export function newRunId(): RunId {
  return runId(randomBytes(12));
}

/** An id that lasts as long as the data directory: what containers are labelled with. */
export async function installationId(dataDir: string): Promise<string> {
  const file = join(dataDir, 'installation');
  const known = await readFile(file, 'utf8').catch(() => '');
  if (/^[a-z0-9]{16}$/.test(known)) return known;
  const fresh = randomBytes(8).toString('hex');
  await writeFile(file, fresh, { mode: 0o600 });
  return fresh;
}

export async function dataDirectory(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o711 });
    // Gateways run as other users and must be able to pass through; what is private below has its own mode.
    await chmod(dataDir, 0o711);
  } catch (cause) {
    throw new CofferdamError('config', 'main.dataDirectory', `cannot use COFFERDAM_DATA_DIR ${dataDir}`, cause);
  }
  await passable(dataDir);
  const longest = join(dataDir, 'runs', 'r0123456789ab', 's0', 'gateway.sock');
  if (Buffer.byteLength(longest) > 107) {
    throw new CofferdamError(
      'config',
      'main.dataDirectory',
      `COFFERDAM_DATA_DIR is too long: sockets in it would have paths of ${Buffer.byteLength(longest)} bytes, 107 are possible`,
    );
  }
}

/** A gateway that gave up root has to reach the mirrors, so every directory on the way must let it through. */
async function passable(dataDir: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  for (let directory = dirname(dataDir); ; directory = dirname(directory)) {
    const { mode } = await stat(directory);
    if ((mode & 0o001) === 0) {
      throw new CofferdamError(
        'config',
        'main.passable',
        `COFFERDAM_DATA_DIR ${dataDir}: other users cannot pass through ${directory}, and gateways run as users of their own; choose a directory such as /var/lib/cofferdam, or chmod o+x ${directory}`,
      );
    }
    if (directory === dirname(directory)) return;
  }
}

/** Providers with their keys, the models that are allowed, and the frozen prices; undefined without providers. */
function modelAccess(policy: LoadedPolicy['policy']): GatewayHost['llm'] {
  const plans = Object.entries(policy.llm.providers).map(([id, settings]) => {
    const planned = planProvider(id, settings);
    if (!planned.ok) throw new CofferdamError('policy', 'main.modelAccess', planned.problem);
    return { plan: planned.plan, settings };
  });
  if (plans.length === 0) return undefined;
  const providers: LlmProvider[] = plans.map(({ plan, settings }) => {
    const key = readSecret({ env: settings.apiKeyEnv, file: settings.apiKeyFile });
    return { ...plan, ...(key === undefined ? {} : { key }) };
  });
  const fallback = policy.llm.default?.split('/').slice(1).join('/');
  const models = policy.llm.models.length > 0 ? policy.llm.models : fallback === undefined ? [] : [fallback];
  return {
    providers,
    models,
    prices: priceTable({ providers: plans.map(({ plan }) => plan), prices: policy.llm.prices, at: new Date() }),
  };
}

export interface PrepareHostOptions {
  environment: Environment;
  policy: LoadedPolicy;
  agents: readonly ToolboxAgent[];
  onProgress: (event: MachineProgress) => void;
  signal: AbortSignal;
}

/**
 * Looks at what is configured, then finds or provides the machine's part.
 * Errors: `config`, `policy`, `docker_unavailable`, `runtime_missing`.
 */
export async function prepareHost(options: PrepareHostOptions): Promise<Machine> {
  const { environment, policy, agents, onProgress, signal } = options;
  await dataDirectory(environment.dataDir);
  modelAccess(policy.policy);
  const { runtime, processRecord } = policy.policy.sandbox;
  return prepareMachine({ needs: { agents }, runtime, processRecord, onProgress, signal });
}

export interface OpenHostOptions {
  environment: Environment;
  policy: LoadedPolicy;
  /** Given back when the host is disposed of. */
  machine: Machine;
  ledger: Ledger;
  /** Gets each line of an audit file once it is stored. */
  onAuditLine?: (id: RunId, line: string) => void;
  log?: Logger;
}

/** Puts the rooms of one host together. Errors: `config`, `policy`, `audit`. */
export async function openHost(options: OpenHostOptions): Promise<Host> {
  const { environment, policy, machine, log } = options;
  const { dataDir } = environment;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => machine.release());
  const llm = modelAccess(policy.policy);
  const installation = await installationId(dataDir);
  const key = await loadSigningKey(dataDir);
  const redact = createRedactor(knownSecrets(policy.policy, environment));
  const { revocation } = policy.policy.egress;
  const caFile = policy.policy.egress.caFile ?? machine.caFile;
  // Read here only to fail now rather than with the first run.
  await readRevocation(revocation);
  const auditOptions = (id: RunId) => ({
    file: auditPaths(auditDirectory(dataDir), id).log,
    runId: id,
    redact,
    key,
    onLine: (line: string) => options.onAuditLine?.(id, line),
  });
  const kernel = createKernelRecorder(
    log === undefined ? {} : { log: (line) => log.warn({ collector: line }, 'collector') },
  );
  undo.defer(() => kernel.close());
  const resolveEgress = await createEgress({ policy, machine, installation, dataDir, kernel });
  const rest = undo.move();
  return {
    machine,
    installation,
    llm,
    caFile,
    gateways: createGateways({
      dataDir,
      ledger: options.ledger,
      caFile,
      ...(revocation === undefined ? {} : { revocation }),
      llm,
      credential: (name) => readSecret({ env: name }) ?? '',
    }),
    sandboxes: createSandboxes({
      dockerSocket: machine.dockerSocket,
      installation,
      toolboxDir: machine.toolboxDir,
      gitBase: `${environment.github.webUrl}/`,
      ...(log === undefined ? {} : { log }),
      kernel,
    }),
    openAudit: (id) => AuditFile.create(auditOptions(id)),
    resumeAudit: (id) => AuditFile.resume(auditOptions(id)),
    resolveEgress,
    manifest: {
      versions: machine.versions,
      image: machine.image.id,
      prices: llm === undefined ? null : { date: llm.prices.date, hash: llm.prices.hash },
      policySource: policy.source,
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
