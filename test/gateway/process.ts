/** Gateways as the worker runs them: processes of their own. */
import { join } from 'node:path';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { runId, type Digest } from '../../src/domain/ids.ts';
import type { EgressPolicy } from '../../src/domain/policy.ts';
import { createGateways, type GatewayHost } from '../../src/main/gateway-client.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import type { AuditLog, Gateway, GatewayOptions } from '../../src/run/ports.ts';

export interface OpenedGateway {
  gateway: Gateway;
  socket: string;
  /** What the worker was given to record, in its order. */
  events: AuditEntry[];
}

/** What the host's own clients trust. */
const CA_FILE = '/etc/ssl/certs/ca-certificates.crt';

/** A record that keeps what it is given. */
export function auditOf(events: AuditEntry[]): AuditLog {
  return {
    file: '',
    append: (entry) => {
      events.push(entry);
      return Promise.resolve();
    },
    head: () => 'sha256:0' as Digest,
    seal: () => Promise.reject(new Error('not here')),
    close: () => Promise.resolve(),
  };
}

/** One gateway process below `dir`, without git and without a model unless `options` says so. */
export async function openGateway(
  dir: string,
  policy: EgressPolicy,
  options: Partial<GatewayOptions> = {},
  host: Partial<GatewayHost> = {},
): Promise<OpenedGateway> {
  const events: AuditEntry[] = [];
  const base = { dataDir: dir, ledger: createMemoryLedger(), caFile: CA_FILE, llm: undefined };
  const gateways = createGateways({ ...base, ...host });
  const gateway = await gateways.open({
    runId: runId(crypto.getRandomValues(new Uint8Array(12))),
    policy,
    git: {},
    llm: false,
    limits: LIMITS,
    account: { repository: 'o/r', installation: 'i' },
    audit: auditOf(events),
    signal: new AbortController().signal,
    ...options,
  });
  return { gateway, socket: join(gateway.socketDir, 'gateway.sock'), events };
}

const LIMITS: GatewayOptions['limits'] = {
  maxCost: 1_000_000,
  repositoryDailyCost: 1_000_000,
  installationDailyCost: 1_000_000,
  timeoutMs: 60_000,
  maxTurns: 10,
  stepMs: 60_000,
  idleMs: 60_000,
};
