import { describeRemoval, type Removal } from '../../audit/removal.ts';
import { html, type Markup } from '../html.ts';

/** What is said of a run whose record is kept no longer. */
export function removedLines(removal: Removal): (Markup | string)[] {
  const { count, head } = removal;
  const lines = [describeRemoval(removal)];
  const still = 'What the run did on GitHub is still there: its commit, its pull request, its check run.';
  if (count === undefined || head === undefined) return [...lines, still];
  const seal = html`It had ${count} lines. The check run, or the status comment, carries the hash of the last one:
    <code>${head}</code>`;
  return [...lines, seal, still];
}
