/** One real sandbox behind the real gateway process, whose outside is a hermetic internet. */
import { fileURLToPath } from 'node:url';
import type { Environment } from '../config/environment.ts';
import type { LoadedPolicy } from '../config/policy-file.ts';
import { settleLimits } from '../config/settle.ts';
import { parseRepositoryFile } from '../config/policy-file.ts';
import type { AuditEntry } from '../domain/audit.ts';
import { LlmSettings, type EgressPolicy } from '../domain/policy.ts';
import type { RunId } from '../domain/ids.ts';
import type { MachineProgress } from '../local/machine/progress.ts';
import { createGateways } from '../main/gateway-client.ts';
import { newRunId, openHost, prepareHost } from '../main/host.ts';
import { openEnclosure, type Enclosure } from '../run/enclosure.ts';
import { createMemoryLedger } from '../run/ledger.ts';
import type { AuditLog } from '../run/ports.ts';
import { PLACES, type Given, type Places } from './case.ts';
import { Internet } from './internet.ts';

export interface Stage extends AsyncDisposable {
  internet: Internet;
  enclosure: Enclosure;
  /** Every event of the run so far. */
  events: AuditEntry[];
  runId: RunId;
  auditFile: string;
  versions: Record<string, string>;
  image: string;
  /** The gateway's last counts, once it is closed. */
  close: () => Promise<void>;
}

const ENTRY = fileURLToPath(new URL('gateway-entry.ts', import.meta.url));
/** Of a wildcard rule that one case needs; the name limits of a run are counted there. */
export const WIDE = 'wide.test';

export async function setStage(options: {
  environment: Environment;
  policy: LoadedPolicy;
  givens: readonly Given[];
  caFile: (pem: string) => Promise<string>;
  onProgress: (event: MachineProgress) => void;
  signal: AbortSignal;
}): Promise<Stage> {
  const { environment, givens, onProgress, signal } = options;
  // No model and no credential is part of this.
  const policy = { ...options.policy, policy: { ...options.policy.policy, llm: LlmSettings.parse({}) } };
  const limits = settleLimits(policy.policy, parseRepositoryFile(null), { timeout: '30m' });
  const machine = await prepareHost({ environment, policy, agents: [], onProgress, signal });
  await using undo = new AsyncDisposableStack();
  const ledger = createMemoryLedger();
  const host = undo.use(await openHost({ environment, policy, machine, ledger }));
  const internet = new Internet();
  undo.defer(() => internet.close());
  const gateways = createGateways({
    dataDir: environment.dataDir,
    ledger,
    caFile: await options.caFile((await internet.authority()).certificate),
    llm: undefined,
    script: ENTRY,
    scriptArguments: [await internet.open()],
  });
  const runId = newRunId();
  const file = await host.openAudit(runId);
  const events: AuditEntry[] = [];
  const audit = listening(file, events);
  undo.defer(async () => {
    await audit.append({ zone: 'worker', type: 'run.end', data: { state: 'attacked' } });
    await audit.seal({ command: 'cofferdam attack' });
    await file.close();
  });
  await audit.append({
    zone: 'worker',
    type: 'run.manifest',
    data: { command: ['cofferdam', 'attack'], sandbox: { ...policy.policy.sandbox }, ...host.manifest },
  });
  const enclosure = await openEnclosure({
    ports: { gateways, sandboxes: host.sandboxes },
    ...{ runId, role: 'exec', git: {}, llm: false, limits, audit, signal },
    policy: policyOf(givens, options.policy),
    account: { repository: 'attack', installation: host.installation },
    settings: policy.policy.sandbox,
  });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= Promise.resolve(enclosure[Symbol.asyncDispose]()));
  undo.defer(close);
  const rest = undo.move();
  const { versions } = machine;
  const image = policy.policy.sandbox.image;
  return {
    ...{ internet, enclosure, events, runId, versions, image, close },
    auditFile: file.file,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

/** The operator's own rules for hosts and denials count, too: what they open is open here. */
function policyOf(givens: readonly Given[], operator: LoadedPolicy): EgressPolicy {
  const rules = givens.flatMap((given) => [
    { host: given.allowed },
    { host: given.read, methods: ['GET', 'HEAD'], paths: ['/ok/**'] },
    { host: given.passed, passThrough: true },
    { host: given.twin },
    { host: given.twinPassed, passThrough: true },
  ]);
  const named = operator.policy.egress.allow.flatMap((entry, index) => {
    if (typeof entry === 'string') return [];
    // Its value is a secret of the operator, and nothing here needs it.
    const rule = { ...entry };
    delete rule.credential;
    return [{ ...rule, source: `policy line ${operator.allowLines[index] ?? index + 1}` }];
  });
  return {
    rules: [...named, ...[...rules, { host: `*.${WIDE}` }].map((rule) => ({ ...rule, source: 'battery' }))],
    deny: operator.policy.egress.deny,
    gitRepositories: [],
  };
}

function listening(log: AuditLog, events: AuditEntry[]): AuditLog {
  return {
    file: log.file,
    head: () => log.head(),
    seal: (data) => log.seal(data),
    close: () => log.close(),
    append: async (entry) => {
      await log.append(entry);
      events.push(entry);
    },
  };
}

/** Where each name of one case lies in the hermetic internet. */
export function addressesOf(given: Given): Record<keyof Places, string> {
  const entries = PLACES.map((name, place) => {
    const at = (given.index - 1) * PLACES.length + place;
    return [name, `93.184.${64 + (at >> 8)}.${at & 255}`] as const;
  });
  return Object.fromEntries(entries) as Record<keyof Places, string>;
}

/** Names, and somebody who listens and answers at each of them: also at what nobody may reach. */
export async function furnish(internet: Internet, given: Given): Promise<void> {
  const addresses = addressesOf(given);
  for (const name of PLACES) {
    const address = addresses[name];
    internet.names.set(given[name], [address]);
    if (name === 'passed' || name === 'twinPassed') await internet.echo(`${address}:443`);
    else {
      await internet.serveHttps(`${address}:443`, given[name], (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 5 }).end('hello');
      });
    }
    await internet.echo(`${address}:80`);
  }
}
