import { GitHubError, githubError } from './failure.ts';
import { createTokens, octokitFor } from './tokens.ts';
import { createTransport } from './transport.ts';

/** What GitHub says of a pull request: what an audit is compared with. */
export interface PullEvidence {
  head: string;
  /** Oldest first. */
  commits: { sha: string; message: string }[];
  /** This App's check runs on those commits. */
  checks: { sha: string; externalId: string; summary: string }[];
}

export interface EvidenceOptions {
  /** `https://api.github.com` or `<protocol>://<host>/api/v3`. */
  apiUrl: string;
  appId: number;
  privateKey: string;
  owner: string;
  name: string;
  number: number;
}

const MAX_COMMITS = 250;

/** Reads commits and check runs of a pull request, as the App. Errors: `github`, `config`. */
export async function pullEvidence(options: EvidenceOptions): Promise<PullEvidence> {
  const { apiUrl, appId, privateKey, owner, name, number } = options;
  const transport = createTransport({ baseUrl: apiUrl, writeGapMs: 0, backoffMs: 500, maxWaitMs: 10_000 });
  const tokens = createTokens({ baseUrl: apiUrl, appId, privateKey, transport });
  const at = { owner, repo: name };
  try {
    const app = await tokens.asApp();
    const { data: installation } = await app.rest.apps.getRepoInstallation(at);
    const permissions = { pull_requests: 'read', contents: 'read', checks: 'read', metadata: 'read' } as const;
    const token = await tokens.get({ installationId: installation.id, owner, name, permissions });
    const octokit = octokitFor({ baseUrl: apiUrl, transport });
    octokit.hook.before('request', (request) => {
      request.headers.authorization = `token ${token}`;
    });
    const { data: pull } = await octokit.rest.pulls.get({ ...at, pull_number: number });
    const listed = await octokit.paginate(octokit.rest.pulls.listCommits, {
      ...at,
      pull_number: number,
      per_page: 100,
    });
    const commits = listed.slice(-MAX_COMMITS).map(({ sha, commit }) => ({ sha, message: commit.message }));
    const checks: PullEvidence['checks'] = [];
    for (const { sha } of commits.filter((commit) => /^Cofferdam-Run: /m.test(commit.message))) {
      const { data } = await octokit.rest.checks.listForRef({
        ...at,
        ref: sha,
        app_id: appId,
        // A commit has the check run of each run that was there, and they share a name.
        filter: 'all',
        per_page: 100,
      });
      for (const run of data.check_runs)
        checks.push({ sha, externalId: run.external_id ?? '', summary: run.output.summary ?? '' });
    }
    return { head: pull.head.sha, commits, checks };
  } catch (thrown) {
    if (thrown instanceof GitHubError) throw thrown;
    throw githubError(thrown, 'github.pullEvidence');
  }
}
