import type { Annotation } from '../policy/markdown/remarks.ts';
import type { Call } from './call.ts';
import type { TokenPermissions } from './tokens.ts';
import { ONCE } from './transport.ts';

export interface CheckOutput {
  title: string;
  /** Markdown, 65,535 characters at most. */
  summary: string;
  /** The same: the details. */
  text?: string | undefined;
  /** Remarks beside lines of the change, 50 at most. */
  annotations?: readonly Annotation[] | undefined;
}

/** A check run that is there, with how many annotations it has. */
interface FoundCheck {
  id: number;
  annotations: number;
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
  findCheck(sha: string, externalId: string): Promise<FoundCheck | null>;
  createCheck(sha: string, check: Check): Promise<number>;
  updateCheck(id: number, check: Check): Promise<void>;
  /** Adds the annotations of the output to those that are there. Not repeated when it fails: nobody knows then whether it was done. */
  annotateCheck(id: number, output: CheckOutput): Promise<void>;
}

const CHECK_NAME = 'Cofferdam';
export const CHECKS: TokenPermissions = { checks: 'write', metadata: 'read' };

export function checkVerbs(call: Call): CheckVerbs {
  return {
    async findCheck(sha, externalId) {
      const { data } = await call('github.findCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.listForRef({ ...at, ref: sha, check_name: CHECK_NAME, filter: 'all', per_page: 100 }),
      );
      const run = data.check_runs.find((one) => one.external_id === externalId);
      return run === undefined ? null : { id: run.id, annotations: run.output.annotations_count };
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
    async annotateCheck(id, output) {
      await call('github.annotateCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.update({
          ...at,
          check_run_id: id,
          output: { ...outputBody(output), annotations: [...(output.annotations ?? [])] },
          headers: { [ONCE]: '1' },
        }),
      );
    },
  };
}

/** Makes the check run of that commit, or changes the one that is there. */
export async function putCheck(verbs: CheckVerbs, sha: string, check: Check): Promise<void> {
  const found = await verbs.findCheck(sha, check.externalId);
  if (found === null) await verbs.createCheck(sha, check);
  else await verbs.updateCheck(found.id, check);
  if ((check.output.annotations ?? []).length > 0) await annotate(verbs, sha, check);
}

const ATTEMPTS = 3;

/** Each annotation stands there once, whatever got lost: before each attempt it is looked whether one did it. */
async function annotate(verbs: CheckVerbs, sha: string, check: Check): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const found = await verbs.findCheck(sha, check.externalId);
    if (found === null || found.annotations > 0) return;
    try {
      await verbs.annotateCheck(found.id, check.output);
      return;
    } catch (thrown) {
      if (attempt === ATTEMPTS) throw thrown;
    }
  }
}

function checkBody(check: Check) {
  return {
    external_id: check.externalId,
    ...(check.detailsUrl === undefined ? {} : { details_url: check.detailsUrl }),
    output: outputBody(check.output),
    // Always sent: what is left out keeps what was there.
    actions: [...(check.actions ?? [])],
    ...(check.conclusion === undefined
      ? { status: 'in_progress' as const }
      : { status: 'completed' as const, conclusion: check.conclusion }),
  };
}

function outputBody({ title, summary, text }: CheckOutput) {
  return { title, summary, ...(text === undefined ? {} : { text }) };
}
