import { OWN_BRANCHES, ownBranch, type RunRequest } from '../domain/run.ts';

const MAX_SLUG = 40;

/** The one branch that a run may push: that of its own pull request, or `cofferdam/<number>-<slug>-<salt>`. */
export function branchFor(request: Pick<RunRequest, 'pull' | 'source' | 'runId'>): string {
  const { source, runId } = request;
  const own = ownBranch(request.pull);
  if (own?.startsWith(OWN_BRANCHES) === true) return own;
  const slug = source.title
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, MAX_SLUG)
    .replace(/^-+|-+$/g, '');
  return [`${OWN_BRANCHES}${source.number}`, slug, runId.slice(-6)].filter((part) => part !== '').join('-');
}
