/** Gateways as the worker runs them: processes of their own. */
import { join } from 'node:path';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { runId, type Digest } from '../../src/domain/ids.ts';
import type { EgressPolicy } from '../../src/domain/policy.ts';
import { createGateways } from '../../src/main/gateway-client.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import type { Gateway, GatewayOptions } from '../../src/run/ports.ts';

export interface OpenedGateway {
  gateway: Gateway;
  socket: string;
  /** What the worker was given to record, in its order. */
  events: AuditEntry[];
}

/** One gateway process below `dir`, without git and without a model. */
export async function openGateway(dir: string, policy: EgressPolicy): Promise<OpenedGateway> {
  const events: AuditEntry[] = [];
  const caFile = '/etc/ssl/certs/ca-certificates.crt';
  const gateways = createGateways({ dataDir: dir, ledger: createMemoryLedger(), caFile, llm: undefined });
  const gateway = await gateways.open({
    runId: runId(crypto.getRandomValues(new Uint8Array(12))),
    policy,
    git: {},
    llm: false,
    limits: LIMITS,
    account: { repository: 'o/r', installation: 'i' },
    audit: {
      file: '',
      append: (entry) => {
        events.push(entry);
        return Promise.resolve();
      },
      head: () => 'sha256:0' as Digest,
      seal: () => Promise.reject(new Error('not here')),
      close: () => Promise.resolve(),
    },
    signal: new AbortController().signal,
  });
  return { gateway, socket: join(gateway.socketDir, 'gateway.sock'), events };
}

const LIMITS: GatewayOptions['limits'] = {
  maxCost: 1,
  repositoryDailyCost: 1,
  installationDailyCost: 1,
  timeoutMs: 60_000,
  maxTurns: 1,
  stepMs: 60_000,
  idleMs: 60_000,
};
