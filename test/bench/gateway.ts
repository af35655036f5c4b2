import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey } from '../../src/audit/seal.ts';
import { runId } from '../../src/domain/ids.ts';
import type { EgressPolicy } from '../../src/domain/policy.ts';
import { createGateways } from '../../src/main/gateway-client.ts';
import type { GatewayHost } from '../../src/main/gateway-client.ts';

/** The gateway process of a run. */
export interface MeasuredGateway {
  pid: number;
  socketPath: string;
  /** What its clients have to trust: PEM. */
  ca: string;
  /** The run's record so far. */
  record(): string;
  stop(): Promise<void>;
}

/** The gateway process of a run as a worker starts it, with the audit on disk and without limits that a bench would meet. */
export async function startGateway(
  options: Omit<GatewayHost, 'dataDir' | 'caFile'> & {
    policy: EgressPolicy;
    caFile?: string;
    /** Never in a record. */
    secrets: string[];
  },
): Promise<MeasuredGateway> {
  const { policy, secrets, caFile, ...host } = options;
  const dataDir = mkdtempSync(join(tmpdir(), 'cfbl-'));
  const id = runId(crypto.getRandomValues(new Uint8Array(12)));
  const file = join(dataDir, 'audit.jsonl');
  const redact = createRedactor(secrets);
  const audit = await AuditFile.create({ file, runId: id, redact, key: await loadSigningKey(dataDir) });
  const before = children();
  const gateway = await createGateways({ ...host, dataDir, caFile }).open({
    runId: id,
    policy,
    git: {},
    llm: options.llm !== undefined,
    limits: {
      maxCost: 1e12,
      repositoryDailyCost: 1e12,
      installationDailyCost: 1e12,
      timeoutMs: 3.6e6,
      maxTurns: 1e6,
      stepMs: 60_000,
      idleMs: 60_000,
    },
    account: { repository: 'o/a', installation: 'i' },
    audit,
    signal: new AbortController().signal,
  });
  return {
    pid: children().find((child) => !before.includes(child)) ?? 0,
    socketPath: join(gateway.socketDir, 'gateway.sock'),
    ca: readFileSync(join(gateway.socketDir, 'ca.pem'), 'utf8'),
    record: () => readFileSync(file, 'utf8'),
    stop: async () => {
      await gateway.close();
      await audit.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function children(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}
