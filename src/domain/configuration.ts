import type { EgressEntry, HoldSetting, Limits, PullSettings } from './policy.ts';

/** Where a repository says what its runs get. */
export const REPOSITORY_FILE = '.github/cofferdam.yml';
/** No larger file is read, in bytes. */
export const MAX_REPOSITORY_FILE = 262_144;

/** One thing that is wrong in the file; the message says what to write instead. Line and column count from 1. */
export interface RepositoryProblem {
  line: number;
  column: number;
  message: string;
  /** Key of the first level; absent for what is no valid file at all. */
  key?: string | undefined;
}

/** What a repository's runs get, within the operator's ceilings. */
export interface EffectiveSettings {
  agent: string;
  model: string | undefined;
  limits: Limits;
  env: Record<string, string>;
  setup: string[];
  verify: string[];
  /** What the file adds to the ways out of every run. */
  added: EgressEntry[];
  protected: string[];
  hold: HoldSetting;
  /** Of a new pull request. */
  pull: PullSettings;
}

/** The file measured by the operator's policy. */
export type CheckedConfiguration = { effective: EffectiveSettings } | { problems: RepositoryProblem[] };
