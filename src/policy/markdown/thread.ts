import type { RunResult } from '../../domain/run.ts';
import { headline } from './facts.ts';
import { code } from './outside.ts';
import { agentWords } from './status.ts';

/** By which the answer of a run in a review thread is found again. */
export function threadMarker({ runId, held }: Pick<RunResult, 'runId' | 'held'>): string {
  // What waited is answered once more when somebody lets it go.
  return `<!-- cofferdam:thread ${runId}${held === undefined ? '' : ' held'} -->`;
}

const LINE = /^[\s>*_`-]*THREAD\s+#?(\d{1,20})[*_`]*:/;

/** What the agent says of each thread, by the lines that the prompt asks for; the first word on a thread counts. */
export function wordsOnThreads(summary: string): Map<number, string> {
  const found = new Map<number, string>();
  let current: number | undefined;
  for (const line of summary.split('\n')) {
    const [head, id] = LINE.exec(line) ?? [];
    if (head === undefined) {
      if (line.trim() === '') current = undefined;
      if (current !== undefined) found.set(current, `${found.get(current) ?? ''}\n${line}`);
      continue;
    }
    current = found.has(Number(id)) ? undefined : Number(id);
    if (current !== undefined) found.set(current, line.slice(head.length).trim());
  }
  return found;
}

/** The answer in one thread: what the host knows first, then the agent's words. */
export function threadAnswer(facts: {
  result: RunResult;
  path: string;
  /** The agent's words on this thread. */
  words: string | undefined;
}): string {
  const { result, path, words } = facts;
  const said = agentWords(words, { maxChars: 2_000, maxLines: 30 });
  return [
    threadMarker(result),
    commitLine(result, path),
    '',
    said === undefined ? 'The agent says nothing about this thread.' : said.text,
  ].join('\n');
}

function commitLine(result: RunResult, path: string): string {
  const where = code(path, { max: 160 });
  if (result.held !== undefined) return 'A commit waits for a person; the status comment says what to do.';
  if (result.branch === undefined || result.head === undefined) return `No commit came of this: ${headline(result)}.`;
  const touched = result.files.some((file) => file.path === path);
  return touched ? `Commit ${result.head} changes ${where}.` : `Commit ${result.head} does not change ${where}.`;
}
