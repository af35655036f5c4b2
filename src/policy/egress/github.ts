/**
 * GitHub's own hosts: reading of named repositories, and nothing else. Results of a run leave as a pull request that the
 * host makes; an API that takes gists, issues, dispatches and GraphQL from anybody with a token is a way out otherwise.
 *
 * Trust: the path is canonical, the rule is the operator's, the request is hostile. Owner and repository are compared in
 * lower case, as GitHub does; numeric ids and everything that names no repository are refused by not being a shape here.
 */
import type { EgressPolicy, EgressRule } from '../../domain/policy.ts';
import { matchesAllow } from './host.ts';
import { matchesPath } from './path.ts';

type PolicyRule = EgressPolicy['rules'][number];

export const GITHUB_API = 'api.github.com';
export const GITHUB_READ: readonly string[] = ['GET', 'HEAD'];
/** Where downloads of `github.com` are redirected to, with signed addresses. Known beforehand: no answer adds a host. */
export const GITHUB_ASSETS: readonly string[] = [
  'codeload.github.com',
  'objects.githubusercontent.com',
  'raw.githubusercontent.com',
  'release-assets.githubusercontent.com',
];

/** Path segments before the owner, and what has to follow the repository. */
const SHAPES: Readonly<Record<string, { skip: string[]; rest: RegExp }>> = {
  'github.com': { skip: [], rest: /^(?:releases\/(?:latest\/)?download|archive|raw)\/./ },
  [GITHUB_API]: { skip: ['repos'], rest: /^/ },
  'raw.githubusercontent.com': { skip: [], rest: /./ },
  'codeload.github.com': { skip: [], rest: /^(?:zip|tar\.gz|legacy\.zip|legacy\.tar\.gz)\/./ },
};
const NAME = /^[a-z0-9._-]{1,100}$/;

export function isGithubHost(host: string): boolean {
  return /(?:^|\.)(?:github\.com|githubusercontent\.com|githubassets\.com)$/.test(host);
}

/** Does this host have paths that name a repository? Of GitHub's other hosts nothing can be read by a rule. */
export function isReadableGithub(host: string): boolean {
  return Object.hasOwn(SHAPES, host);
}

/** `owner/name` in lower case that this path reads from; undefined for everything that is not such a read. */
export function githubRepository(host: string, path: string): string | undefined {
  const shape = Object.hasOwn(SHAPES, host) ? SHAPES[host] : undefined;
  if (shape === undefined) return undefined;
  const segments = path.split('/').slice(1);
  if (!shape.skip.every((segment, at) => segments[at] === segment)) return undefined;
  const [owner = '', name = '', ...rest] = segments.slice(shape.skip.length);
  const repository = `${owner}/${name}`.toLowerCase();
  const known = repository.split('/').every((part) => NAME.test(part)) && !/\.git$/.test(repository);
  return known && shape.rest.test(rest.join('/')) ? repository : undefined;
}

/**
 * Does this rule allow reading that path? A pattern that names owner and repository means that one; any other pattern
 * means the run's own.
 */
export function githubRuleFits(rule: PolicyRule, policy: EgressPolicy, at: { host: string; path: string }): boolean {
  const repository = githubRepository(at.host, at.path);
  if (repository === undefined) return false;
  const first = 1 + (SHAPES[at.host]?.skip.length ?? 0);
  const path = lowered(at.path, first);
  return (rule.paths ?? ['/**']).some((pattern) => {
    const wanted = lowered(pattern, first);
    if (!matchesPath(wanted, path)) return false;
    return named(wanted, first) === repository || policy.gitRepositories.includes(repository);
  });
}

/** Where GitHub Enterprise Server's own host, and its hosts `raw` and `codeload`, read one named repository. */
const ENTERPRISE_SHAPES: readonly RegExp[] = [
  /^\/api\/v3\/repos\/[\w.-]+\/[\w.-]+\/./,
  /^\/(?!api\/)[\w.-]+\/[\w.-]+\/(?:releases\/(?:latest\/)?download|archive|raw)\/./,
  /^\/(?:raw|codeload)\/[\w.-]+\/[\w.-]+\/./,
];
const ENTERPRISE_FILES = /^\/[\w.-]+\/[\w.-]+\/./;

/**
 * What is wrong with a rule for a host of the installation's GitHub Enterprise Server, which takes gists, issues and
 * GraphQL as github.com does: undefined for other hosts, and for GET of paths that name owner and repository.
 */
export function enterpriseProblem(rule: EgressRule, enterprise: string): string | undefined {
  const bare = rule.host.replace(/^\*\./, '');
  const below = bare.endsWith(`.${enterprise}`);
  if (bare !== enterprise && !below && !matchesAllow(rule.host, enterprise)) return undefined;
  const files = rule.host === `raw.${enterprise}` || rule.host === `codeload.${enterprise}`;
  if (rule.host !== enterprise && !files)
    return `of GitHub Enterprise Server, only ${enterprise}, raw.${enterprise} and codeload.${enterprise} can be read`;
  if (rule.passThrough === true || rule.upgrade === true)
    return 'GitHub is read by path, which needs TLS to be terminated: remove passThrough and upgrade';
  if (rule.methods?.every((method) => GITHUB_READ.includes(method)) !== true)
    return 'GitHub can be read only, and what a run has to write is its pull request: add methods: [GET, HEAD]';
  const shapes = files ? [ENTERPRISE_FILES] : ENTERPRISE_SHAPES;
  const named = rule.paths?.every((path) => shapes.some((shape) => shape.test(path))) ?? false;
  return named
    ? undefined
    : `name owner and repository in each path: ${files ? '/OWNER/NAME/**' : '/api/v3/repos/OWNER/NAME/**, /OWNER/NAME/releases/download/**, /OWNER/NAME/archive/**, /OWNER/NAME/raw/**'}`;
}

function lowered(path: string, first: number): string {
  return path
    .split('/')
    .map((segment, at) => (at === first || at === first + 1 ? segment.toLowerCase() : segment))
    .join('/');
}

function named(pattern: string, first: number): string {
  return pattern
    .split('/')
    .slice(first, first + 2)
    .join('/');
}

/** The policy with the places that downloads from its GitHub rules are redirected to, each for granted addresses only. */
export function withGithubAssets(policy: EgressPolicy): EgressPolicy {
  const sources = policy.rules.filter((rule) => rule.host === 'github.com' || rule.host === GITHUB_API);
  const [first] = sources;
  if (first === undefined) return policy;
  const places = GITHUB_ASSETS.map((host) => ({
    host,
    ports: [443],
    methods: [...GITHUB_READ],
    source: `redirects of ${first.source}`,
    redirected: true,
    ...(sources.some((rule) => rule.allowPrivate === true) ? { allowPrivate: true } : {}),
  }));
  return { ...policy, rules: [...policy.rules, ...places] };
}
