import type { Octokit } from '@octokit/rest';
import { GitHubError, githubError } from './failure.ts';
import { octokitFor, type TokenPermissions, type Tokens, type TokenScope } from './tokens.ts';
import type { Transport } from './transport.ts';

/** A repository of an installation. */
export interface RepositoryRef {
  installationId: number;
  owner: string;
  name: string;
  id?: number | undefined;
}

/** What every call on one repository needs. */
export interface RepositoryParts {
  repository: RepositoryRef;
  baseUrl: string;
  appId: number;
  transport: Transport;
  tokens: Tokens;
}

/** One call with a token for this repository; a token that GitHub no longer knows is replaced once. */
export type Call = <T>(
  op: string,
  permissions: TokenPermissions,
  use: (octokit: Octokit, at: { owner: string; repo: string }) => Promise<T>,
  /** Number of the thread that it writes to. */
  thread?: number,
) => Promise<T>;

export function caller(parts: RepositoryParts): Call {
  const { repository, tokens } = parts;
  const at = { owner: repository.owner, repo: repository.name };
  const again = (scope: TokenScope): Promise<unknown> => {
    tokens.drop(scope);
    return tokens.get(scope);
  };
  return async (op, permissions, use, thread) => {
    const scope = { ...repository, repositoryId: repository.id, permissions };
    for (let attempt = 1; ; attempt += 1) {
      const token = await tokens.get(scope);
      const octokit = octokitFor(parts);
      octokit.hook.before('request', (request) => {
        request.headers.authorization = `token ${token}`;
      });
      try {
        return await use(octokit, at);
      } catch (thrown) {
        const error = githubError(thrown, op);
        if (error.kind === 'permission')
          throw await whyRefused(octokit, { error, op, at, thread, again: () => again(scope) });
        if (error.kind !== 'credentials') throw error;
        tokens.drop(scope);
        if (attempt === 2) throw error;
      }
    }
  };
}

/**
 * GitHub answers 403 to a missing permission, in an archived repository, a locked conversation and a suspended installation alike: the
 * things themselves say which it is.
 */
async function whyRefused(
  octokit: Octokit,
  refused: {
    error: GitHubError;
    op: string;
    at: { owner: string; repo: string };
    thread: number | undefined;
    /** Asks for a token anew: fails with `suspended` where that is why. */
    again: () => Promise<unknown>;
  },
): Promise<GitHubError> {
  const { error, op, at, thread } = refused;
  const because = (kind: 'archived' | 'locked'): GitHubError =>
    new GitHubError({ kind, op, status: error.status, cause: error });
  try {
    const { data } = await octokit.rest.repos.get(at);
    if (data.archived) return because('archived');
    if (thread === undefined) return error;
    const { data: there } = await octokit.rest.issues.get({ ...at, issue_number: thread });
    return there.locked ? because('locked') : error;
  } catch {
    const now = await refused.again().catch((thrown: unknown) => thrown);
    return now instanceof GitHubError && now.kind === 'suspended' ? now : error;
  }
}
