/** Labels and reviewers of a new pull request. None of it is worth a publication: what GitHub does not take is recorded and said. */
import type { RunRequest, RunSpec } from '../domain/run.ts';
import { readFileAt } from '../git/plumbing.ts';
import { isBot } from '../policy/authority/may-ask.ts';
import { MAX_OWNERS_BYTES, OWNERS_FILES, ownersOf, type Owners } from '../policy/diff/code-owners.ts';
import type { Asked } from '../policy/markdown/check.ts';
import type { AuditLog, Harvest } from '../run/ports.ts';
import type { Call } from './call.ts';
import { recorded } from './effect.ts';
import { GitHubError } from './failure.ts';
import type { GitHubRepository } from './repository.ts';
import type { TokenPermissions } from './tokens.ts';

export interface AskVerbs {
  /** A label that the repository lacks is made by GitHub. */
  addLabels(number: number, labels: readonly string[]): Promise<void>;
  /** Logins and slugs of teams. One that GitHub does not take makes it refuse them all, with `invalid`. */
  requestReviewers(number: number, who: Owners): Promise<void>;
  /** Who is asked already. */
  requested(number: number): Promise<Owners>;
}

const PULLS: TokenPermissions = { pull_requests: 'write', contents: 'read', metadata: 'read' };
const LABELS: TokenPermissions = { issues: 'write', pull_requests: 'write', metadata: 'read' };

export function askVerbs(call: Call): AskVerbs {
  return {
    async addLabels(number, labels) {
      await call('github.addLabels', LABELS, ({ rest }, at) =>
        rest.issues.addLabels({ ...at, issue_number: number, labels: [...labels] }),
      );
    },
    async requestReviewers(number, { users, teams }) {
      await call('github.requestReviewers', PULLS, ({ rest }, at) =>
        rest.pulls.requestReviewers({ ...at, pull_number: number, reviewers: users, team_reviewers: teams }),
      );
    },
    async requested(number) {
      const { data } = await call('github.requested', PULLS, ({ rest }, at) =>
        rest.pulls.get({ ...at, pull_number: number }),
      );
      return {
        users: (data.requested_reviewers ?? []).map(({ login }) => login),
        teams: (data.requested_teams ?? []).map(({ slug }) => slug),
      };
    },
  };
}

/** GitHub takes no more reviewers of a pull request than this on most plans. */
const MAX_REVIEWERS = 15;

/**
 * Gives a pull request its labels and asks its reviewers, as the settings of the run say; undefined: they say nothing. May be called
 * again: who is asked already is not asked again. Errors: `github` when GitHub cannot be reached, `audit`.
 */
export async function ask(options: {
  repository: GitHubRepository;
  request: RunRequest;
  spec: RunSpec;
  harvest: Harvest;
  audit: Pick<AuditLog, 'append'>;
  pull: number;
  signal: AbortSignal;
}): Promise<Asked | undefined> {
  const { repository, spec, pull, audit } = options;
  const labels = spec.pull?.labels ?? [];
  const wanted = await reviewersOf(options);
  if (labels.length + wanted.users.length + wanted.teams.length === 0) return undefined;
  const data = { pull, labels, reviewers: wanted.users, teams: wanted.teams };
  const act = async (): Promise<string[]> => {
    const { users, teams } = without(wanted, await repository.requested(pull));
    const people = [
      ...users.map((name) => ({ users: [name], teams: [] })),
      ...teams.map((name) => ({ users: [], teams: [name] })),
    ];
    const noLabels = await each(labels, (some) => repository.addLabels(pull, some));
    const noPeople = await each(people, (some) =>
      repository.requestReviewers(pull, {
        users: some.flatMap((one) => one.users),
        teams: some.flatMap((one) => one.teams),
      }),
    );
    return [...noLabels, ...noPeople.flatMap((one) => [...one.users, ...one.teams])];
  };
  const refused = await recorded(audit, { type: 'publish.ask', data }, act, (names) => ({ refused: names }));
  const taken = (names: readonly string[]): string[] => names.filter((name) => !refused.includes(name));
  return { labels: taken(labels), reviewers: taken([...wanted.users, ...wanted.teams]), refused };
}

async function reviewersOf(options: Parameters<typeof ask>[0]): Promise<Owners> {
  const { spec, request, harvest, signal } = options;
  const reviewers = spec.pull?.reviewers ?? [];
  const requester = reviewers.includes('requester') && !isBot(request.actor) ? [request.actor.login] : [];
  if (!reviewers.includes('codeowners')) return { users: requester, teams: [] };
  const files = [...harvest.files, ...(harvest.incoming?.files ?? [])].map((file) => file.path);
  const text = await ownersFile(spec, harvest, signal);
  const owners = ownersOf(text, { organisation: request.repo.owner, files });
  const users = [...requester, ...without({ users: owners.users, teams: [] }, { users: requester, teams: [] }).users];
  const shown = users.slice(0, MAX_REVIEWERS);
  return { users: shown, teams: owners.teams.slice(0, MAX_REVIEWERS - shown.length) };
}

/** As the base branch has it: what the agent, or a stranger in a fork, made of it chooses nobody. */
async function ownersFile(spec: RunSpec, harvest: Harvest, signal: AbortSignal): Promise<string> {
  const at = { gitDir: harvest.repository, op: 'github.ownersFile', code: 'github' as const, signal };
  const commit = spec.fork?.since ?? spec.base;
  for (const path of OWNERS_FILES) {
    const content = await readFileAt(at, { commit, path, maxBytes: MAX_OWNERS_BYTES });
    if (content !== null) return content.toString('utf8');
  }
  return '';
}

function without(all: Owners, some: Owners): Owners {
  const rest = (names: readonly string[], known: readonly string[]): string[] =>
    names.filter((name) => !known.some((one) => one.toLowerCase() === name.toLowerCase()));
  return { users: rest(all.users, some.users), teams: rest(all.teams, some.teams) };
}

/** All at once, and where GitHub refuses that, one by one; gives those that it refuses. */
async function each<T>(items: readonly T[], act: (some: readonly T[]) => Promise<void>): Promise<T[]> {
  if (items.length === 0 || (await taken(act(items)))) return [];
  if (items.length === 1) return [...items];
  const refused: T[] = [];
  for (const item of items) if (!(await taken(act([item])))) refused.push(item);
  return refused;
}

async function taken(doing: Promise<void>): Promise<boolean> {
  try {
    await doing;
    return true;
  } catch (thrown) {
    if (thrown instanceof GitHubError && ['invalid', 'not_found', 'permission'].includes(thrown.kind)) return false;
    throw thrown;
  }
}
