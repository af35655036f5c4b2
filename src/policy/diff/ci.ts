/**
 * What a push of the run's branch would make CI do, read from the files that CI reads.
 *
 * Trust assumptions: the files are the repository's, of commits that people pushed; they may still be anything. What cannot be
 * read for certain counts as dangerous: a look too many costs a comment, one too few a secret.
 */
import { isMap, parseDocument } from 'yaml';
import type { CiReason, CiRisk } from '../../domain/held.ts';

/** What CI would give to the code of a pushed branch; `unknown` when that could not be read. */
export type CiExposure = 'secrets' | 'none' | 'unknown';

export interface CiLook {
  exposure: CiExposure;
  reasons: CiReason[];
}

/** A workflow file; null: it is there, but it cannot be read. */
export interface WorkflowFile {
  path: string;
  content: string | null;
}

/** Events that run something after a push of a branch or on its pull request. */
const EVENTS = new Set([
  'push',
  'create',
  'pull_request',
  'pull_request_target',
  'pull_request_review',
  'pull_request_review_comment',
  // Runs the default branch's code, but is there to look at what the pushed one made.
  'workflow_run',
  'merge_group',
]);

/** Files and directories at the root by which other CI services are known. They say nothing about secrets. */
const OTHER_SERVICES =
  /^(?:\.gitlab-ci\.ya?ml|\.circleci|\.travis\.yml|azure-pipelines.*\.ya?ml|\.azure-pipelines|jenkinsfile.*|\.buildkite|\.drone\.ya?ml|\.woodpecker.*|bitbucket-pipelines\.yml|\.?appveyor\.yml|\.cirrus\.yml|\.semaphore|\.forgejo|\.gitea|\.teamcity|cloudbuild.*\.ya?ml|buildspec.*\.ya?ml)$/i;

const UNKNOWN: readonly CiRisk[] = ['default_permission', 'unreadable', 'other_service'];
const MAX_REASONS = 20;

/** Looks at the workflows and at the names at the root of the repository. `branch`: what would be pushed. */
export function ciLook(options: {
  workflows: readonly WorkflowFile[];
  rootNames: readonly string[];
  branch: string;
}): CiLook {
  const found = options.workflows.flatMap(({ path, content }) =>
    workflowRisks(content, options.branch).map((risk) => ({ file: path, risk })),
  );
  const others = options.rootNames.filter((name) => OTHER_SERVICES.test(name));
  const all: CiReason[] = [...found, ...others.map((file) => ({ file, risk: 'other_service' as const }))];
  const reasons = all.filter(
    (one, at) => all.findIndex(({ file, risk }) => file === one.file && risk === one.risk) === at,
  );
  const certain = reasons.some(({ risk }) => !UNKNOWN.includes(risk));
  const exposure = certain ? 'secrets' : reasons.length > 0 ? 'unknown' : 'none';
  return { exposure, reasons: reasons.slice(0, MAX_REASONS) };
}

function workflowRisks(content: string | null, branch: string): CiRisk[] {
  const workflow = content === null ? undefined : parse(content);
  if (workflow === undefined) return ['unreadable'];
  const runs = runsFor(workflow['on'], branch);
  if (runs === undefined) return ['unreadable'];
  if (!runs) return [];
  const jobs = mapping(workflow['jobs']);
  if (jobs === undefined) return ['unreadable'];
  const risks = new Set<CiRisk>();
  // Values only: what a comment says runs nothing. The token that every job gets is judged by its permissions.
  const said = JSON.stringify(workflow).replaceAll(/secrets\s*(?:\.\s*|\[\s*\\?['"])GITHUB_TOKEN\b/gi, '');
  if (/\bsecrets\s*[.[),*|&}]|"secrets":/i.test(said)) risks.add('secrets');
  if (/\bself-hosted\b/i.test(said)) risks.add('self_hosted');
  for (const job of Object.values(jobs)) {
    const settings = mapping(job);
    const risk =
      settings === undefined ? 'unreadable' : permissionRisk(settings['permissions'] ?? workflow['permissions']);
    if (risk !== undefined) risks.add(risk);
  }
  return [...risks];
}

function parse(content: string): Record<string, unknown> | undefined {
  const document = parseDocument(content, { version: '1.2', logLevel: 'silent' });
  if (document.errors.length > 0 || !isMap(document.contents)) return undefined;
  try {
    return mapping(document.toJS({ maxAliasCount: 50 }));
  } catch {
    return undefined;
  }
}

function mapping(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** Would one of these triggers run it after a push of the branch? Undefined: they cannot be read. */
function runsFor(on: unknown, branch: string): boolean | undefined {
  if (typeof on === 'string') return EVENTS.has(on);
  if (Array.isArray(on)) return on.some((event) => typeof event !== 'string' || EVENTS.has(event));
  const events = mapping(on);
  if (events === undefined) return undefined;
  return Object.entries(events).some(([event, filter]) => {
    if (!EVENTS.has(event)) return false;
    return event !== 'push' || pushReaches(mapping(filter), branch);
  });
}

/** Filters of `push`: on branches by their literal beginning, since more than that is not needed to tell `main` from ours. */
function pushReaches(filter: Record<string, unknown> | undefined, branch: string): boolean {
  if (filter === undefined) return true;
  const { branches, tags } = filter;
  const ignored = filter['branches-ignore'];
  if (Array.isArray(ignored)) return !ignored.includes('cofferdam/**');
  if (branches === undefined) return tags === undefined && filter['tags-ignore'] === undefined;
  const patterns: unknown[] = Array.isArray(branches) ? branches : [branches];
  return patterns.some((pattern) => typeof pattern !== 'string' || mayMatch(pattern, branch));
}

function mayMatch(pattern: string, branch: string): boolean {
  if (pattern.startsWith('!')) return false;
  const special = /[*?+[\]\\]/.exec(pattern);
  if (special === null) return pattern === branch;
  // `?` and `+` are about the character before them.
  const literal = pattern.slice(0, /[?+]/.test(special[0]) ? Math.max(0, special.index - 1) : special.index);
  return branch.startsWith(literal);
}

function permissionRisk(permissions: unknown): CiRisk | undefined {
  if (permissions === undefined || permissions === null) return 'default_permission';
  if (permissions === 'read-all') return undefined;
  if (permissions === 'write-all') return 'write_permission';
  const levels = mapping(permissions);
  if (levels === undefined) return 'unreadable';
  const values = Object.values(levels);
  if (values.some((level) => level === 'write')) return 'write_permission';
  return values.every((level) => level === 'read' || level === 'none') ? undefined : 'unreadable';
}
