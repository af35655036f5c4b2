import { deny } from '../domain/decision.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { RunResult, RunSpec } from '../domain/run.ts';
import type { HeldFacts } from '../domain/held.ts';
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
  const { fork } = spec;
  // Never only the run's own part: what is pushed is judged.
  if (fork !== undefined && harvest.incoming === undefined) {
    throw new CofferdamError('internal', 'run.holdResult', "what the fork's commits bring in was not looked at");
  }
  const { files, patch, patchTruncated } = harvest.incoming ?? harvest;
  const stranger = fork !== undefined;
  const decision = holdDecision({ setting: spec.hold, ci: harvest.ci, files, stranger });
  if (!decision.hold) return undefined;
  const classes = new Map(files.map((file) => [file.path, file.protectedClass ?? '']));
  const held: HeldFacts = {
    diffHash: harvest.diffHash,
    rule: decision.rule,
    files: decision.files,
    ci: decision.ci,
    ...(fork === undefined
      ? {}
      : {
          fork: {
            pull: fork.pull,
            classes: Object.fromEntries(decision.files.map((path) => [path, classes.get(path) ?? ''])),
          },
        }),
    excerpt: patch.slice(0, EXCERPT).toWellFormed(),
    excerptCut: patchTruncated || patch.length > EXCERPT,
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
