/** A whole battery: the stage, the cases, and what has to hold for the run as a whole. */
import { readFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { publicKeyFile } from '../audit/seal.ts';
import { verifyAuditFile } from '../audit/verify.ts';
import type { Environment } from '../config/environment.ts';
import type { LoadedPolicy } from '../config/policy-file.ts';
import type { MachineProgress } from '../local/machine/progress.ts';
import { attemptsOf, recordedDenials, runBattery, type Outcome } from './battery.ts';
import type { AttackCase } from './case.ts';
import { setDecoys } from './decoys.ts';
import type { BatteryResult } from './report.ts';
import { setStage } from './stage.ts';

/** Errors: what stands in the way of a sandbox (`docker_unavailable`, `runtime_missing`, `self_test`, `gateway`, `policy`). */
export async function runAttacks(options: {
  environment: Environment;
  policy: LoadedPolicy;
  cases: readonly AttackCase[];
  onProgress: (event: MachineProgress) => void;
  onOutcome: (outcome: Outcome) => void;
  signal: AbortSignal;
}): Promise<BatteryResult> {
  const { environment, policy, cases, onProgress, onOutcome, signal } = options;
  const started = Date.now();
  const directory = await mkdtemp(join(tmpdir(), 'cofferdam-attack-'));
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const decoys = undo.use(await setDecoys());
  const attempts = attemptsOf(cases, decoys);
  const stage = await setStage({
    ...{ environment, policy, onProgress, signal },
    givens: attempts.map(({ given }) => given),
    caFile: async (pem) => {
      const file = join(directory, 'ca.pem');
      await writeFile(file, pem);
      return file;
    },
  });
  const { receipt, gateway, sandbox } = stage.enclosure;
  let outcomes: Outcome[];
  let counted: number;
  let whole: boolean;
  try {
    // The twin's request and the self-test are processes, too: a sandbox with a record has some.
    const host = { processRecord: stage.events.some((event) => event.source === 'sandbox') };
    outcomes = await runBattery({ stage, decoys, attempts, host, onOutcome, signal });
    await stage.close();
    counted = gateway.egress().reduce((sum, entry) => sum + (entry.allow ? 0 : entry.count), 0);
    whole = sandbox.processRecord() === 'complete';
  } finally {
    await stage[Symbol.asyncDispose]();
  }
  const recorded = recordedDenials(stage.events);
  const key = await readFile(publicKeyFile(environment.dataDir), 'utf8');
  const verified = await verifyAuditFile({ file: stage.auditFile, key });
  return {
    outcomes,
    checks: [
      {
        name: 'self-test before the first attack',
        ok: receipt.ok,
        observed: `${receipt.checks.filter((check) => check.ok).length} of ${receipt.checks.length} checks`,
      },
      {
        name: 'every denial is in the record',
        ok: recorded === counted,
        observed: `${counted} counted by the gateway, ${recorded} recorded`,
      },
      {
        name: 'the record is whole, sealed and signed',
        ok: verified.verdict === 'valid',
        observed: `${verified.lines} lines, ${verified.verdict}`,
      },
    ],
    about: {
      host: hostname(),
      date: new Date(started).toISOString(),
      runId: stage.runId,
      auditFile: stage.auditFile,
      policy: policy.source,
      policyDigest: policy.digest,
      image: stage.image,
      versions: { ...stage.versions, 'record of processes': whole ? 'whole' : 'with gaps' },
      seconds: Math.round((Date.now() - started) / 1000),
    },
  };
}
