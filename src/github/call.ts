import type { Octokit } from '@octokit/rest';
import { githubError } from './failure.ts';
import { octokitFor, type TokenPermissions, type Tokens } from './tokens.ts';
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
) => Promise<T>;

export function caller(parts: RepositoryParts): Call {
  const { repository, tokens } = parts;
  const at = { owner: repository.owner, repo: repository.name };
  return async (op, permissions, use) => {
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
        if (error.kind !== 'credentials') throw error;
        tokens.drop(scope);
        if (attempt === 2) throw error;
      }
    }
  };
}
