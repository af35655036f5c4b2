import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AuditFile } from '../audit/log.ts';
import { createRedactor } from '../audit/redact.ts';
import { loadSigningKey } from '../audit/seal.ts';
import { knownSecrets, readSecret, type Environment } from '../config/environment.ts';
import type { LoadedPolicy } from '../config/policy-file.ts';
import { CofferdamError } from '../domain/errors.ts';
import { runId, type RunId } from '../domain/ids.ts';
import { priceTable } from '../gateway/llm/prices.ts';
import type { LlmProvider } from '../gateway/llm/port.ts';
import { resolveEntries } from '../gateway/presets.ts';
import { prepareMachine, type Machine } from '../local/machine/machine.ts';
import type { MachineProgress } from '../local/machine/progress.ts';
import type { ToolboxAgent } from '../local/machine/toolbox.ts';
import { planProvider } from '../policy/llm/providers.ts';
import type { Ledger } from '../run/ledger.ts';
import type { AuditLog, Gateways, Sandboxes } from '../run/ports.ts';
import { createSandboxes } from '../sandbox/lifecycle.ts';
import { createGateways, type GatewayHost } from './gateway-client.ts';
import type { ResolveEgress } from './planner.ts';
import { askRegistry } from './registries.ts';

/** The host's side of runs: what `exec`, `run` and the worker are composed of. */
export interface Host extends AsyncDisposable {
  machine: Machine;
  gateways: Gateways;
  sandboxes: Sandboxes;
  openAudit: (id: RunId) => Promise<AuditLog>;
  resolveEgress: ResolveEgress;
  llm: GatewayHost['llm'];
  installation: string;
  /** Versions and tables that each manifest records. */
  manifest: Record<string, unknown>;
}

export function newRunId(): RunId {
  return runId(randomBytes(12));
}

/** An id that lasts as long as the data directory: what containers are labelled with. */
async function installationId(dataDir: string): Promise<string> {
  const file = join(dataDir, 'installation');
  const known = await readFile(file, 'utf8').catch(() => '');
  if (/^[a-z0-9]{16}$/.test(known)) return known;
  const fresh = randomBytes(8).toString('hex');
  await writeFile(file, fresh, { mode: 0o600 });
  return fresh;
}

async function dataDirectory(dataDir: string): Promise<void> {
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

export interface OpenHostOptions {
  environment: Environment;
  policy: LoadedPolicy;
  ledger: Ledger;
  agents: readonly ToolboxAgent[];
  onProgress: (event: MachineProgress) => void;
  signal: AbortSignal;
}

/** Finds or provides the machine's part and puts the rooms together. Errors: `config`, `policy`, `docker_unavailable`, `runtime_missing`. */
export async function openHost(options: OpenHostOptions): Promise<Host> {
  const { environment, policy, onProgress, signal } = options;
  const { dataDir } = environment;
  await dataDirectory(dataDir);
  const llm = modelAccess(policy.policy);
  const machine = await prepareMachine({
    needs: { agents: options.agents },
    runtime: policy.policy.sandbox.runtime,
    onProgress,
    signal,
  });
  const installation = await installationId(dataDir);
  const key = await loadSigningKey(dataDir);
  const redact = createRedactor(knownSecrets(policy.policy, environment));
  const caFile = policy.policy.egress.caFile ?? machine.caFile;
  return {
    machine,
    installation,
    llm,
    gateways: createGateways({ dataDir, ledger: options.ledger, caFile, llm }),
    sandboxes: createSandboxes({
      dockerSocket: machine.dockerSocket,
      installation,
      toolboxDir: machine.toolboxDir,
      gitBase: `${environment.github.webUrl}/`,
    }),
    openAudit: (id) => AuditFile.create({ file: join(dataDir, 'audit', `${id}.jsonl`), runId: id, redact, key }),
    resolveEgress: (entries, abort) =>
      resolveEntries({
        entries,
        ask: askRegistry,
        allowPrivate: policy.policy.egress.presetsAllowPrivate,
        signal: abort,
      }),
    manifest: {
      versions: machine.versions,
      image: machine.image.id,
      prices: llm === undefined ? null : { date: llm.prices.date, hash: llm.prices.hash },
      policySource: policy.source,
    },
    [Symbol.asyncDispose]: () => machine.release(),
  };
}
