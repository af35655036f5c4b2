import type { RunRequest, RunResult } from '../domain/run.ts';
import { threadAnswer, threadMarker, wordsOnThreads } from '../policy/markdown/thread.ts';
import type { GitHubRepository } from './repository.ts';

/** Answers each review thread that the run was shown, once; where the result waited, once more when it is published. Errors: `github`. */
export async function answerThreads(options: {
  repository: Pick<GitHubRepository, 'lineComments' | 'answerLine'>;
  request: RunRequest;
  result: RunResult;
  redact: (text: string) => string;
}): Promise<void> {
  const { repository, request, result, redact } = options;
  const { pull } = request;
  const roots = request.input.texts.flatMap(({ kind, id }) => (kind === 'thread' && id !== undefined ? [id] : []));
  if (pull === undefined || roots.length === 0 || result.state === 'cancelled' || result.state === 'refused') return;
  const words = wordsOnThreads(result.agentSummary ?? '');
  const comments = await repository.lineComments(pull.number);
  const marker = threadMarker(result);
  for (const root of roots) {
    const to = comments.find(({ id }) => id === root);
    const answered = comments.some((one) => one.inReplyTo === root && one.ours && one.body.startsWith(marker));
    if (to === undefined || answered) continue;
    const body = redact(threadAnswer({ result, path: to.path, words: words.get(root) }));
    await repository.answerLine(pull.number, { to, sha: result.head ?? pull.sha, body });
  }
}
