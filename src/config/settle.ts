import { CofferdamError } from '../domain/errors.ts';
import { microUsd } from '../domain/ids.ts';
import { mayAdd, operatorLine, readWaysOut, type WayOut } from '../policy/authority/may-add.ts';
import { ownLabel } from '../policy/authority/labels.ts';
import { compileGlob } from '../policy/diff/glob.ts';
import { stricterHold } from '../policy/diff/hold.ts';
import type { EgressEntry, HoldSetting, Limits, OperatorPolicy, PullSettings } from '../domain/policy.ts';
import type { RepositoryFile } from '../domain/repository-file.ts';
import { DEFAULT_METHODS, DEFAULT_PORTS } from '../policy/egress/decide.ts';
import { matchesAllow } from '../policy/egress/host.ts';
import type { LoadedPolicy } from './policy-file.ts';

export interface Flags {
  /** `--max-cost`, dollars. */
  maxCost?: string | undefined;
  /** `--timeout`: `90s`, `20m`, `1h`. */
  timeout?: string | undefined;
  maxTurns?: string | undefined;
}

/** `90s`, `20m`, `1h`, `500ms` → milliseconds. Errors: `usage`. */
export function parseDuration(text: string, name: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  const scale = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? ''];
  const value = Number(match?.[1]) * (scale ?? Number.NaN);
  if (!Number.isFinite(value) || value < 1 || value > 24 * 3_600_000) {
    throw new CofferdamError(
      'usage',
      'config.parseDuration',
      `${name}: "${text}" is not a duration such as 90s, 20m or 1h (at most 24h)`,
    );
  }
  return Math.floor(value);
}

function dollars(text: string): number {
  const match = /^\$?(\d{1,7}(?:\.\d{1,6})?)$/.exec(text);
  if (!match)
    throw new CofferdamError(
      'usage',
      'config.settleLimits',
      `--max-cost: "${text}" is not an amount in dollars such as 2 or 0.50`,
    );
  return Number(match[1]);
}

/** Takes a lower value, and says clearly when a person asks for more than the ceiling. */
function within(options: {
  name: string;
  ceiling: number;
  wanted: number | undefined;
  code: 'usage' | 'repository_file';
  /** How a person writes the value. */
  show?: (value: number) => string;
}): number {
  const { name, ceiling, wanted, code, show = String } = options;
  if (wanted === undefined) return ceiling;
  if (wanted > ceiling) {
    const whose = code === 'usage' ? 'the ceiling here, which is' : "the operator's ceiling of";
    const fix = code === 'usage' ? '' : `; write ${show(ceiling)} or less`;
    throw new CofferdamError(
      code,
      'config.settleLimits',
      `${name}: ${show(wanted)} is above ${whose} ${show(ceiling)}${fix}`,
    );
  }
  return wanted;
}

function showDollars(value: number): string {
  return `$${value}`;
}

function showTime(ms: number): string {
  return ms % 60_000 === 0 ? `${ms / 60_000}m` : `${ms / 1000}s`;
}

/** Operator's ceilings, lowered by the repository's file, lowered by the command's flags. */
export function settleLimits(policy: OperatorPolicy, file: RepositoryFile, flags: Flags): Limits {
  const limits = policy.limits;
  const turns = flags.maxTurns === undefined ? undefined : Number(flags.maxTurns);
  if (turns !== undefined && !(Number.isInteger(turns) && turns > 0)) {
    throw new CofferdamError(
      'usage',
      'config.settleLimits',
      `--max-turns: "${flags.maxTurns ?? ''}" is not a positive whole number`,
    );
  }
  const code = 'repository_file';
  const wanted = file.limits;
  const cost = within({ name: 'limits.maxCostUsd', ceiling: limits.maxCostUsd, wanted: wanted.maxCostUsd, code });
  const minutes = within({
    name: 'limits.timeoutMinutes',
    ceiling: limits.timeoutMinutes,
    wanted: wanted.timeoutMinutes,
    code,
  });
  const maxTurns = within({ name: 'limits.maxTurns', ceiling: limits.maxTurns, wanted: wanted.maxTurns, code });
  const step = within({ name: 'limits.stepMinutes', ceiling: limits.stepMinutes, wanted: wanted.stepMinutes, code });
  const idle = within({ name: 'limits.idleMinutes', ceiling: limits.idleMinutes, wanted: wanted.idleMinutes, code });
  const asked = flags.maxCost === undefined ? undefined : dollars(flags.maxCost);
  const timeoutMs = flags.timeout === undefined ? undefined : parseDuration(flags.timeout, '--timeout');
  const ceiling = minutes * 60_000;
  return {
    maxCost: microUsd(within({ name: '--max-cost', ceiling: cost, wanted: asked, code: 'usage', show: showDollars })),
    repositoryDailyCost: microUsd(limits.repositoryDailyCostUsd),
    installationDailyCost: microUsd(limits.installationDailyCostUsd),
    timeoutMs: within({ name: '--timeout', ceiling, wanted: timeoutMs, code: 'usage', show: showTime }),
    maxTurns: within({ name: '--max-turns', ceiling: maxTurns, wanted: turns, code: 'usage' }),
    stepMs: Math.round(60_000 * step),
    idleMs: Math.round(60_000 * idle),
  };
}

/** When results wait for a person: the operator's setting, which a repository may only make stricter. Errors: `repository_file`. */
export function settleHold(policy: OperatorPolicy, file: RepositoryFile): HoldSetting {
  const least = policy.publish.hold;
  const wanted = file.publish.hold ?? least;
  if (stricterHold(least, wanted) === wanted) return wanted;
  throw new CofferdamError(
    'repository_file',
    'config.settleHold',
    `publish.hold: "${wanted}" is looser than the operator's "${least}"; a repository may only make it stricter`,
  );
}

/**
 * Labels and reviewers of a new pull request: the repository's, or else the operator's. Errors: `repository_file` for a label by which
 * people ask for a run, or by which the App says how one goes.
 */
export function settlePull(policy: OperatorPolicy, file: Pick<RepositoryFile, 'publish'>): PullSettings {
  const { labels = policy.publish.labels, reviewers = policy.publish.reviewers } = file.publish;
  const own = ownLabel(labels, policy.label);
  if (own === undefined) return { labels, reviewers };
  throw new CofferdamError(
    'repository_file',
    'config.settlePull',
    `publish.labels: ${JSON.stringify(own)} is one of the labels that start a run or show its state; take another`,
  );
}

/** The repository's own protected paths. Errors: `repository_file` for a pattern that cannot be used. */
export function settleProtected(file: RepositoryFile): string[] {
  for (const pattern of file.protected) {
    try {
      compileGlob(pattern);
    } catch {
      throw new CofferdamError(
        'repository_file',
        'config.settleProtected',
        `protected: ${JSON.stringify(pattern)} is not a usable pattern; write a path such as infra/** or *.sql`,
      );
    }
  }
  return file.protected;
}

/** One entry of an allowlist, and where it came from, as reports name it. */
export interface SettledEntry {
  entry: EgressEntry;
  source: string;
}

/**
 * The operator's entries and those of the repository's file, and of the command (`--allow`), each with its place. Errors:
 * `repository_file` and `usage` for what the operator's `mayAdd` does not cover, with the lines that an operator would add.
 */
export function settleEgress(
  loaded: Pick<LoadedPolicy, 'policy' | 'allowLines'>,
  file: Pick<RepositoryFile, 'egress'>,
  flag?: string,
): SettledEntry[] {
  const { allow, mayAdd: permitted } = loaded.policy.egress;
  const refused = file.egress.allow.filter((entry) => !permitted.some((one) => covers(one, entry)));
  if (refused.length > 0) {
    const lines = refused.map((entry) => `- ${typeof entry === 'string' ? entry : `{ host: ${entry.host} }`}`);
    throw new CofferdamError(
      'repository_file',
      'config.settleEgress',
      `egress.allow asks for hosts that the operator has not opened. An operator would add under egress.mayAdd:\n${lines.join('\n')}`,
    );
  }
  const added = flag === undefined ? [] : readWaysOut(flag).map((way) => addedEntry(permitted, way));
  return [
    ...allow.map((entry, index) => ({ entry, source: `policy line ${loaded.allowLines[index] ?? 0}` })),
    ...file.egress.allow.map((entry) => ({ entry, source: 'repository file' })),
    ...added.map((entry) => ({ entry, source: '--allow of the command' })),
  ];
}

function covers(permitted: EgressEntry, wanted: EgressEntry): boolean {
  if (typeof permitted === 'string' || typeof wanted === 'string') return permitted === wanted;
  // What only an operator may say is never taken from a repository.
  if (wanted.allowPrivate || wanted.credential || wanted.passThrough || wanted.upgrade || wanted.unsafe) return false;
  // What is not named is the default, on both sides: an entry without ports is no permission for all of them.
  const subset = <T>(of: readonly T[], part: readonly T[]): boolean => part.every((item) => of.includes(item));
  return (
    (permitted.host === wanted.host || (!wanted.host.startsWith('*.') && matchesAllow(permitted.host, wanted.host))) &&
    subset(permitted.methods ?? DEFAULT_METHODS, wanted.methods ?? DEFAULT_METHODS) &&
    subset(permitted.ports ?? DEFAULT_PORTS, wanted.ports ?? DEFAULT_PORTS) &&
    (permitted.paths === undefined || (wanted.paths !== undefined && subset(permitted.paths, wanted.paths)))
  );
}

function addedEntry(permitted: readonly EgressEntry[], way: WayOut): EgressEntry {
  const found = mayAdd(permitted, way);
  if ('entry' in found) return found.entry;
  throw new CofferdamError(
    'usage',
    'config.settleEgress',
    `--allow: ${way.name} is not open to be added here. An operator would add under egress.mayAdd:\n${operatorLine(way)}`,
  );
}
