import type { Call } from './call.ts';
import type { TokenPermissions } from './tokens.ts';

export interface CheckOutput {
  title: string;
  /** Markdown, 65,535 characters at most. */
  summary: string;
}

export type CheckConclusion = 'success' | 'neutral' | 'failure' | 'timed_out' | 'action_required' | 'cancelled';

export interface Check {
  externalId: string;
  detailsUrl?: string | undefined;
  output: CheckOutput;
  /** Buttons, three at most; absent: none. */
  actions?: readonly { label: string; description: string; identifier: string }[] | undefined;
  /** Absent: in progress. */
  conclusion?: CheckConclusion | undefined;
}

export interface CheckVerbs {
  /** This App's check run of that commit with that external id. */
  findCheck(sha: string, externalId: string): Promise<number | null>;
  createCheck(sha: string, check: Check): Promise<number>;
  updateCheck(id: number, check: Check): Promise<void>;
}

const CHECK_NAME = 'Cofferdam';
export const CHECKS: TokenPermissions = { checks: 'write', metadata: 'read' };

export function checkVerbs(call: Call): CheckVerbs {
  return {
    async findCheck(sha, externalId) {
      const { data } = await call('github.findCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.listForRef({ ...at, ref: sha, check_name: CHECK_NAME, filter: 'all', per_page: 100 }),
      );
      return data.check_runs.find((run) => run.external_id === externalId)?.id ?? null;
    },
    async createCheck(sha, check) {
      const { data } = await call('github.createCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.create({ ...at, name: CHECK_NAME, head_sha: sha, ...checkBody(check) }),
      );
      return data.id;
    },
    async updateCheck(id, check) {
      await call('github.updateCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.update({ ...at, check_run_id: id, ...checkBody(check) }),
      );
    },
  };
}

function checkBody(check: Check) {
  return {
    external_id: check.externalId,
    ...(check.detailsUrl === undefined ? {} : { details_url: check.detailsUrl }),
    output: check.output,
    // Always sent: what is left out keeps what was there.
    actions: [...(check.actions ?? [])],
    ...(check.conclusion === undefined
      ? { status: 'in_progress' as const }
      : { status: 'completed' as const, conclusion: check.conclusion }),
  };
}
