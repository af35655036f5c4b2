import { deny } from '../domain/decision.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { HeldFacts, RunResult, RunSpec } from '../domain/run.ts';
import { holdDecision } from '../policy/diff/hold.ts';
import type { AuditLog, Harvest, HeldResults } from './ports.ts';

/** Of the diff, in reports: enough to judge most changes where they are read. */
const EXCERPT = 20_000;

/**
 * Must this result wait for a person? Then it is kept on the host, and nothing is pushed.
 * Errors: `harvest` when it must wait and cannot be kept: it is never pushed instead.
 */
export async function holdResult(options: {
  spec: RunSpec;
  harvest: Harvest;
  /** As it would be, pushed at once. */
  result: RunResult;
  held: HeldResults | undefined;
  audit: AuditLog;
}): Promise<HeldFacts | undefined> {
  const { spec, harvest, audit } = options;
  const decision = holdDecision({ setting: spec.hold, ci: harvest.ci, files: harvest.files });
  if (!decision.hold) return undefined;
  const held: HeldFacts = {
    diffHash: harvest.diffHash,
    rule: decision.rule,
    files: decision.files,
    ci: decision.ci,
    excerpt: harvest.patch.slice(0, EXCERPT).toWellFormed(),
    excerptCut: harvest.patchTruncated || harvest.patch.length > EXCERPT,
  };
  await audit.append({
    zone: 'worker',
    type: 'publish.held',
    decision: deny(decision.rule, 'held'),
    data: { diffHash: held.diffHash, commit: harvest.commit, files: held.files, ci: held.ci },
  });
  if (options.held === undefined) {
    throw new CofferdamError(
      'harvest',
      'run.holdResult',
      `the result must wait for a person (${decision.rule}), and here nothing can wait`,
    );
  }
  await options.held.keep({ spec, harvest, result: options.result, held });
  return held;
}
