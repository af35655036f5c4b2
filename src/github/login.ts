/** GitHub's OAuth web flow for people who look at pages. The person's token is used for two questions only: who, and may they read. */
import { z } from 'zod';
import { GitHubError, githubError } from './failure.ts';
import { createTransport } from './transport.ts';

export interface LoginOptions {
  /** `https://api.github.com` or `<protocol>://<host>/api/v3`. */
  apiUrl: string;
  /** `https://github.com` or `<protocol>://<host>`. */
  webUrl: string;
  clientId: string;
  clientSecret: string;
  fetch?: typeof globalThis.fetch;
}

export interface Login {
  authorizeUrl(options: { state: string; challenge: string; redirectUrl: string }): string;
  /** The person's token for a code. Errors: `github`. */
  exchange(options: { code: string; verifier: string; redirectUrl: string }): Promise<string>;
  login(token: string): Promise<string>;
  mayRead(token: string, repository: { owner: string; name: string; id?: number | undefined }): Promise<boolean>;
}

const Answer = z.union([
  z.object({ access_token: z.string().min(1).max(1_000), token_type: z.string() }),
  z.object({ error: z.string() }),
]);
const User = z.object({ login: z.string().min(1).max(100) });
const Repository = z.object({ id: z.number().int() });
const NO = [401, 403, 404, 451];

export function createLogin(options: LoginOptions): Login {
  const { apiUrl, webUrl, clientId, clientSecret } = options;
  const patience = { writeGapMs: 0, backoffMs: 500, maxWaitMs: 2_000 };
  const through = options.fetch === undefined ? {} : { fetch: options.fetch };
  const api = createTransport({ baseUrl: apiUrl, ...patience, ...through });
  const web = createTransport({ baseUrl: webUrl, ...patience, ...through });

  async function ask(path: string, token: string, op: string): Promise<Response> {
    const headers = {
      accept: 'application/vnd.github+json',
      authorization: `Bearer ${token}`,
      'user-agent': 'cofferdam',
    };
    return api(`${apiUrl}${path}`, { headers }).catch((thrown: unknown) => {
      throw githubError(thrown, op);
    });
  }

  return {
    authorizeUrl({ state, challenge, redirectUrl }) {
      const url = new URL(`${webUrl}/login/oauth/authorize`);
      const parameters = {
        client_id: clientId,
        redirect_uri: redirectUrl,
        state,
        code_challenge: challenge,
        code_challenge_method: 'S256',
      };
      for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
      return url.href;
    },
    async exchange({ code, verifier, redirectUrl }) {
      const op = 'github.exchange';
      const fields = {
        client_id: clientId,
        client_secret: clientSecret,
        code,
        redirect_uri: redirectUrl,
        code_verifier: verifier,
      };
      const response = await web(`${webUrl}/login/oauth/access_token`, {
        method: 'POST',
        headers: { accept: 'application/json', 'content-type': 'application/json', 'user-agent': 'cofferdam' },
        body: JSON.stringify(fields),
      }).catch((thrown: unknown) => {
        throw githubError(thrown, op);
      });
      // A refusal is a 200 with `error`. Source: GitHub's documentation of user access tokens.
      const answer = Answer.safeParse(await response.json().catch(() => undefined));
      if (answer.success && 'access_token' in answer.data) return answer.data.access_token;
      const detail = answer.success && 'error' in answer.data ? answer.data.error.slice(0, 100) : 'no token';
      throw new GitHubError({ kind: 'credentials', op, status: response.status, detail });
    },
    async login(token) {
      const response = await ask('/user', token, 'github.login');
      const user = User.safeParse(await response.json().catch(() => undefined));
      if (!response.ok || !user.success)
        throw new GitHubError({ kind: 'other', op: 'github.login', status: response.status });
      return user.data.login;
    },
    async mayRead(token, { owner, name, id }) {
      const response = await ask(
        `/repos/${encodeURIComponent(owner)}/${encodeURIComponent(name)}`,
        token,
        'github.mayRead',
      );
      if (NO.includes(response.status)) {
        await response.body?.cancel();
        return false;
      }
      const repository = Repository.safeParse(await response.json().catch(() => undefined));
      if (!response.ok || !repository.success)
        throw new GitHubError({ kind: 'other', op: 'github.mayRead', status: response.status });
      // Another repository may have got the name since.
      return id === undefined || repository.data.id === id;
    },
  };
}
