/** The check runs of one run: on the pull request that it continues from its beginning, and on the commit that it pushed. */
import { stateRow } from '../domain/final-state.ts';
import type { CommitSha, Digest } from '../domain/ids.ts';
import type { EgressEntry } from '../domain/policy.ts';
import type { PullHead, RunRequest, RunResult } from '../domain/run.ts';
import { endButtons, RUNNING_BUTTONS, type Button } from '../policy/authority/buttons.ts';
import type { Remark } from '../policy/diff/remarks.ts';
import {
  checkSummary,
  checkText,
  checkTitle,
  runningSummary,
  supersededSummary,
  type CheckFacts,
} from '../policy/markdown/check.ts';
import { annotations } from '../policy/markdown/remarks.ts';
import type { Logger } from '../telemetry/log.ts';
import { putCheck, type Check } from './check-run.ts';
import { failureKind } from './failure.ts';
import type { GitHubRepository } from './repository.ts';

export interface RunChecks {
  /** A follow-up shows on its pull request from the beginning. Never fails. */
  open(step: string): Promise<void>;
  /** On the commit that was pushed. Errors: `github`. */
  follow(commit: CommitSha): Promise<void>;
  /** Their end, with the evidence. Errors: `github`. */
  close(end: RunEnd): Promise<void>;
}

/** The evidence, without what is known from the beginning. */
type RunEnd = Omit<CheckFacts, 'runId' | 'prefix' | 'elapsedMs' | 'runUrl' | 'audit'> & {
  seal?: { count: number; head: Digest } | undefined;
  pushed: CommitSha | undefined;
  /** On the change that was pushed. */
  remarks: Remark[];
};

export function createRunChecks(options: {
  repository: GitHubRepository;
  /** The same repository, for what may be left out. */
  shown: GitHubRepository;
  request: RunRequest;
  /** The pull request that is continued, where its head is the repository's own. */
  followUp: PullHead | undefined;
  runUrl?: string | undefined;
  prefix?: string | undefined;
  mayAdd?: readonly EgressEntry[] | undefined;
  redact: (text: string) => string;
  log: Logger;
}): RunChecks {
  const { repository, shown, followUp, runUrl, prefix, redact, log } = options;
  const { runId } = options.request;

  function check(output: Check['output'], conclusion?: Check['conclusion'], buttons?: readonly Button[]): Check {
    const actions = buttons ?? (conclusion === undefined ? RUNNING_BUTTONS : []);
    const { title, summary, text } = output;
    // A path that had to be changed names no file any more.
    const marks = output.annotations?.filter(({ path }) => redact(path) === path);
    return {
      externalId: runId,
      actions,
      detailsUrl: runUrl,
      output: {
        title: redact(title),
        summary: redact(summary),
        text: text === undefined ? undefined : redact(text),
        annotations: marks,
      },
      conclusion,
    };
  }

  return {
    async open(step) {
      if (followUp === undefined) return;
      const output = { title: 'Cofferdam is working', summary: runningSummary({ runId, runUrl, step }) };
      await putCheck(shown, followUp.sha, check(output)).catch((thrown: unknown) => {
        log.warn({ runId, kind: failureKind(thrown) }, 'check run not opened');
      });
    },
    async follow(commit) {
      const summary = runningSummary({ runId, runUrl, step: 'publish' });
      await putCheck(repository, commit, check({ title: 'Cofferdam is finishing', summary }));
    },
    async close({ seal, pushed, ...end }) {
      const { result, remarks } = end;
      const { conclusion } = stateRow(result.state);
      const sha = pushed ?? followUp?.sha;
      if (sha === undefined || conclusion === 'none') return;
      const audit = seal === undefined ? undefined : { ...seal, file: result.auditFile?.split('/').at(-1) };
      const evidence = { ...end, runId, prefix, elapsedMs: elapsed(result), runUrl, audit };
      const output = {
        title: checkTitle(result),
        summary: checkSummary(evidence),
        text: checkText(evidence),
        annotations: annotations(remarks),
      };
      await putCheck(repository, sha, check(output, conclusion, endButtons(result, options.mayAdd ?? [])));
      if (followUp === undefined || pushed === undefined || followUp.sha === pushed) return;
      const superseded = { title: 'Continued on a newer commit', summary: supersededSummary({ runId, head: pushed }) };
      await putCheck(repository, followUp.sha, check(superseded, 'neutral'));
    },
  };
}

/** Milliseconds from start to end. */
export function elapsed(result: RunResult): number {
  return Math.max(0, Date.parse(result.endedAt) - Date.parse(result.startedAt)) || 0;
}
