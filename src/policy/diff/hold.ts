import type { ProtectedClass } from './classes.ts';

export type HoldSetting = 'never' | 'protected' | 'always';

/** What the repository's CI would do with a pushed branch; `unknown` when its workflows could not be read. */
export type CiExposure = 'secrets' | 'none' | 'unknown';

export type HoldDecision = { hold: false } | { hold: true; rule: string; files: string[] };

/**
 * Must a person say yes before the branch is pushed? Files that only execute in CI hold a run only where CI gives them
 * something to take; where that cannot be read, it is assumed.
 */
export function holdDecision(options: {
  setting: HoldSetting;
  exposure: CiExposure;
  files: readonly { path: string; protectedClass?: string }[];
}): HoldDecision {
  const { setting, exposure, files } = options;
  if (setting === 'never') return { hold: false };
  if (setting === 'always') return { hold: true, rule: 'publish.hold: always', files: files.map((file) => file.path) };
  const inert: ProtectedClass = 'ci_code';
  const held = files.filter(
    ({ protectedClass }) => protectedClass !== undefined && (protectedClass !== inert || exposure !== 'none'),
  );
  if (held.length === 0) return { hold: false };
  return { hold: true, rule: 'publish.hold: protected', files: held.map((file) => file.path) };
}
