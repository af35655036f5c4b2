import { errorRow } from '../../domain/errors.ts';
import type { RunResult } from '../../domain/run.ts';

/** What a person can do after a run. `plan`: it was asked for words only. Undefined: what to do is said with why it failed. */
export function nextSteps(result: RunResult, { prefix, plan }: { prefix: string; plan: boolean }): string | undefined {
  switch (result.state) {
    case 'succeeded':
    case 'unverified':
    case 'verify_failed':
      return `Review it; \`${prefix} …\` on the pull request goes on.`;
    case 'partial':
      return `\`${prefix} continue\` on the pull request goes on from here.`;
    case 'needs_input':
      return `Answer with \`${prefix} continue\` and the answer behind it.`;
    case 'held':
      return `\`${prefix} retry\` does the work anew instead.`;
    case 'no_change':
      if (plan) return `\`${prefix} run\` does it; with text behind it, you say what should be different.`;
      return `Write \`${prefix}\` and what is missing to try again.`;
    case 'timed_out':
    case 'over_budget':
      return `\`${prefix} retry\` tries again within the same limits; a smaller task, \`${prefix} run\` and what to do first, is likelier to fit.`;
    case 'refused':
      return result.files.length === 0 ? 'Nothing was run.' : 'Nothing was pushed.';
    case 'failed':
      return result.error !== undefined && errorRow(result.error.code).namesRetry === true
        ? undefined
        : `\`${prefix} retry\` tries again.`;
    default:
      return `\`${prefix} retry\` tries again.`;
  }
}
