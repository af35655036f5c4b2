import { HOLD_SETTINGS, type HoldSetting } from '../../domain/policy.ts';
import type { CiReason } from '../../domain/run.ts';
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
 */
export function holdDecision(options: {
  setting: HoldSetting;
  ci: CiLook;
  files: readonly { path: string; protectedClass?: string }[];
}): HoldDecision {
  const { setting, ci, files } = options;
  if (setting === 'never') return { hold: false };
  if (setting === 'always')
    return { hold: true, rule: 'publish.hold: always', files: files.map((file) => file.path), ci: [] };
  const inert: ProtectedClass = 'ci_code';
  const held = files.filter(
    ({ protectedClass }) => protectedClass !== undefined && (protectedClass !== inert || ci.exposure !== 'none'),
  );
  if (held.length === 0) return { hold: false };
  const reasons = held.some((file) => file.protectedClass === inert) ? ci.reasons : [];
  return { hold: true, rule: 'publish.hold: protected', files: held.map((file) => file.path), ci: reasons };
}
