import { createAppAuth } from '@octokit/auth-app';
import { Octokit } from '@octokit/rest';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import { GitHubError, githubError } from './failure.ts';
import type { Transport } from './transport.ts';

/** What a token may do. Named as in GitHub's API; each is asked for only where it is needed. */
export type TokenPermissions = Partial<
  Record<'actions' | 'contents' | 'issues' | 'pull_requests' | 'checks' | 'metadata' | 'members', 'read' | 'write'>
> & { workflows?: 'write' };

export interface TokenScope {
  installationId: number;
  owner: string;
  name: string;
  /** Lets a repository that was renamed meanwhile still be found. */
  repositoryId?: number | undefined;
  permissions: TokenPermissions;
}

export interface AppOptions {
  baseUrl: string;
  appId: number;
  /** PEM; never logged, never part of an error. */
  privateKey: string;
  transport: Transport;
}

export interface Tokens {
  /** A token for one repository and these permissions, from memory while it is good for five more minutes. */
  get(scope: TokenScope): Promise<string>;
  /** Forgets the token of this scope: GitHub said that it is not valid. */
  drop(scope: TokenScope): void;
  /** The App's own login, `<slug>[bot]`; null where GitHub does not say. */
  login(): Promise<string | null>;
  /** Octokit that speaks as the App itself. */
  asApp(): Promise<Octokit>;
}

const Minted = z.object({ token: z.string().min(1), expires_at: z.string() });
const MARGIN_MS = 5 * 60_000;
const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** An Octokit of ours: guarded transport, no console. */
export function octokitFor(options: { baseUrl: string; transport: Transport }): Octokit {
  return new Octokit({
    baseUrl: options.baseUrl.replace(/\/+$/, ''),
    userAgent: 'cofferdam',
    log: silent,
    request: { fetch: options.transport },
  });
}

/**
 * Tokens are minted on the configured base only: Octokit's own installation auth asks the public API, whatever the base is.
 * Errors of `get`: `github` with the kinds `credentials`, `suspended`, `not_found`, `permission`, `unavailable`; `config` for a bad key.
 */
export function createTokens(options: AppOptions): Tokens {
  const cache = new Map<string, { token: Promise<string>; until: number }>();
  const auth = createAppAuth({ appId: options.appId, privateKey: options.privateKey, log: silent });
  let login: Promise<string | null> | undefined;

  async function asApp(): Promise<Octokit> {
    const octokit = octokitFor(options);
    const jwt = await auth({ type: 'app' }).catch((cause: unknown) => {
      const name = cause instanceof Error ? cause.name : 'unknown';
      throw new CofferdamError(
        'config',
        'github.asApp',
        `PRIVATE_KEY cannot sign (${name}); it must be the App's PEM key`,
      );
    });
    octokit.hook.before('request', (request) => {
      request.headers.authorization = `bearer ${jwt.token}`;
    });
    return octokit;
  }

  async function mint(scope: TokenScope, entry: { until: number }): Promise<string> {
    const octokit = await asApp();
    const create = (which: { repositories: string[] } | { repository_ids: number[] }): Promise<{ data: unknown }> =>
      octokit.rest.apps.createInstallationAccessToken({
        installation_id: scope.installationId,
        permissions: scope.permissions,
        ...which,
      });
    try {
      const minted = await create({ repositories: [scope.name] }).catch((error: unknown) => {
        // A new name of the repository: its number stays.
        const renamed = githubError(error, 'github.token').kind === 'invalid' && scope.repositoryId !== undefined;
        if (!renamed) throw error;
        return create({ repository_ids: [scope.repositoryId ?? 0] });
      });
      const { token, expires_at: expires } = Minted.parse(minted.data);
      entry.until = Date.parse(expires) - MARGIN_MS;
      return token;
    } catch (thrown) {
      const error = githubError(thrown, 'github.token');
      if (error.kind === 'invalid') throw await whereIs(octokit, scope, error);
      throw error.kind === 'permission' ? await whyRefused(octokit, scope, error) : error;
    }
  }

  /** GitHub answers 403 for a suspended installation as for a missing permission: the installation itself says which. */
  async function whyRefused(octokit: Octokit, scope: TokenScope, error: GitHubError): Promise<GitHubError> {
    const installation = await octokit.rest.apps
      .getInstallation({ installation_id: scope.installationId })
      .catch(() => undefined);
    if (installation?.data.suspended_at == null) return error;
    return new GitHubError({ kind: 'suspended', op: 'github.token', status: 403, cause: error });
  }

  /** GitHub answers 422 for a repository that this installation does not reach (any more) as for a permission that it does not have. */
  async function whereIs(octokit: Octokit, scope: TokenScope, error: GitHubError): Promise<GitHubError> {
    const { owner, name: repo } = scope;
    const asked = octokit.rest.apps.getRepoInstallation({ owner, repo });
    const there = await asked.then(
      ({ data }) => data.id,
      (thrown: unknown) => (githubError(thrown, 'github.token').kind === 'not_found' ? null : undefined),
    );
    if (there === undefined || there === scope.installationId) return error;
    return new GitHubError({ kind: 'not_found', op: 'github.token', status: 404, cause: error });
  }

  const keyOf = (scope: TokenScope): string =>
    JSON.stringify([
      scope.installationId,
      scope.name.toLowerCase(),
      Object.entries(scope.permissions).sort(([a], [b]) => a.localeCompare(b)),
    ]);

  return {
    asApp,
    get(scope) {
      const key = keyOf(scope);
      const known = cache.get(key);
      if (known !== undefined && known.until > Date.now()) return known.token;
      const entry = { token: Promise.resolve(''), until: Infinity };
      entry.token = mint(scope, entry);
      cache.set(key, entry);
      entry.token.catch(() => {
        if (cache.get(key) === entry) cache.delete(key);
      });
      return entry.token;
    },
    drop(scope) {
      cache.delete(keyOf(scope));
    },
    login() {
      login ??= asApp()
        .then((octokit) => octokit.rest.apps.getAuthenticated())
        .then(
          ({ data }) => (data?.slug === undefined ? null : `${data.slug}[bot]`),
          (error: unknown) => {
            login = undefined;
            const failure = githubError(error, 'github.login');
            if (failure.kind === 'not_found') return null;
            throw failure;
          },
        );
      return login;
    },
  };
}
