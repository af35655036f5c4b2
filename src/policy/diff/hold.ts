import { HOLD_SETTINGS, type HoldSetting } from '../../domain/policy.ts';
import type { CiReason } from '../../domain/held.ts';
import type { CiLook } from './ci.ts';
import type { ProtectedClass } from './classes.ts';

export type HoldDecision =
  | { hold: false }
  | {
      hold: true;
      rule: string;
      /** The files that are the reason. */
      files: string[];
      /** Why code that only executes in CI is one of them. */
      ci: CiReason[];
    };

/** The stricter of two settings. */
export function stricterHold(a: HoldSetting, b: HoldSetting): HoldSetting {
  return HOLD_SETTINGS.indexOf(a) >= HOLD_SETTINGS.indexOf(b) ? a : b;
}

/**
 * Must a person say yes before the branch is pushed? Files that only execute in CI hold a run only where CI gives them
 * something to take; where that cannot be read, it is assumed.
 *
 * With `stranger`, `files` are also those of commits by people without rights here, which no one of the repository has let run with
 * its secrets: then every file counts as executed in CI (a test is enough), and `never`, which is about the agent's own work, holds
 * as `protected` does.
 */
export function holdDecision(options: {
  setting: HoldSetting;
  ci: CiLook;
  files: readonly { path: string; protectedClass?: string }[];
  stranger?: boolean;
}): HoldDecision {
  const { setting, ci, files, stranger = false } = options;
  if (setting === 'never' && !stranger) return { hold: false };
  if (setting === 'always')
    return { hold: true, rule: 'publish.hold: always', files: files.map((file) => file.path), ci: [] };
  if (stranger && ci.exposure !== 'none')
    return { hold: true, rule: STRANGER, files: weightyFirst(files).map((file) => file.path), ci: ci.reasons };
  const inert: ProtectedClass = 'ci_code';
  const held = files.filter(
    ({ protectedClass }) => protectedClass !== undefined && (protectedClass !== inert || ci.exposure !== 'none'),
  );
  if (held.length === 0) return { hold: false };
  const reasons = held.some((file) => file.protectedClass === inert) ? ci.reasons : [];
  const rule = stranger ? STRANGER : 'publish.hold: protected';
  return { hold: true, rule, files: held.map((file) => file.path), ci: reasons };
}

const STRANGER = 'pull request from a fork';

/** What is protected by its class comes before what waits with it. */
function weightyFirst<File extends { protectedClass?: string }>(files: readonly File[]): File[] {
  return files.toSorted((a, b) => Number(a.protectedClass === undefined) - Number(b.protectedClass === undefined));
}
