/**
 * A repository's CODEOWNERS: who owns which files, as GitHub documents it.
 *
 * Trust: the file is the base branch's, so people with write access have written it; its names are still no more than text. What is
 * no login and no team is not asked, and sizes are bounded, because a pattern is tried on every file.
 */
import { matchSegments } from './glob.ts';

/** Where GitHub looks for it; the first that is there counts. */
export const OWNERS_FILES = ['.github/CODEOWNERS', 'CODEOWNERS', 'docs/CODEOWNERS'] as const;
/** GitHub reads no larger one. */
export const MAX_OWNERS_BYTES = 3 * 2 ** 20;
const MAX_RULES = 5_000;
const MAX_LINE = 2_000;
const MAX_FILES = 300;

export interface Owners {
  /** Logins, without `@`. */
  users: string[];
  /** Slugs of teams of the repository's organisation. */
  teams: string[];
}

interface Rule {
  segments: readonly string[];
  owners: readonly string[];
}

const USER = /^@[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
const TEAM = /^@([A-Za-z0-9][A-Za-z0-9-]{0,38})\/([A-Za-z0-9_][A-Za-z0-9_.-]{0,99})$/;
/** Owners by address cannot be asked through the API. */
const ADDRESS = /^[^\s@]+@[^\s@]+$/;

/**
 * Owners of these files, each once, in the order of the files. The last pattern that matches a file counts, also one without owners.
 * `organisation`: owner of the repository; teams of others are left out. Only the first 5,000 rules and 300 files are looked at.
 */
export function ownersOf(text: string, options: { organisation: string; files: readonly string[] }): Owners {
  const rules = text
    .split('\n')
    .flatMap((line) => readRule(line) ?? [])
    .slice(0, MAX_RULES);
  const users = new Map<string, string>();
  const teams = new Map<string, string>();
  for (const file of options.files.slice(0, MAX_FILES)) {
    const names = file.split('/');
    for (const owner of rules.findLast(({ segments }) => matchSegments(segments, names))?.owners ?? []) {
      const [, organisation, slug] = TEAM.exec(owner) ?? [];
      if (USER.test(owner)) users.set(owner.toLowerCase(), owner.slice(1));
      else if (slug !== undefined && organisation?.toLowerCase() === options.organisation.toLowerCase())
        teams.set(slug.toLowerCase(), slug);
    }
  }
  return { users: [...users.values()], teams: [...teams.values()] };
}

/** Undefined: a comment, or a line that GitHub skips because of its syntax. */
function readRule(line: string): Rule | undefined {
  if (line.length > MAX_LINE) return undefined;
  // A space in a path is escaped.
  const words = line.trim().match(/(?:\\\s|\S)+/g) ?? [];
  const comment = words.findIndex((word) => word.startsWith('#'));
  const [pattern, ...owners] = comment < 0 ? words : words.slice(0, comment);
  if (pattern === undefined || /^!|^\\#|[[\]]/.test(pattern)) return undefined;
  if (!owners.every((owner) => USER.test(owner) || TEAM.test(owner) || ADDRESS.test(owner))) return undefined;
  const segments = segmentsOf(pattern.replace(/\\(\s)/g, '$1'));
  return segments === undefined ? undefined : { segments, owners };
}

/** The pattern from the root; what names a directory covers all below it, but `docs/*` only what lies directly there. */
function segmentsOf(pattern: string): string[] | undefined {
  const names = pattern.split('/').filter((name) => name !== '');
  if (names.length === 0) return undefined;
  const anchored = pattern.startsWith('/') || names.length > 1;
  const directory = pattern.endsWith('/');
  const below = directory ? ['**', '*'] : anchored && names.at(-1) === '*' ? [] : ['**'];
  return [...(anchored ? [] : ['**']), ...names, ...below];
}
