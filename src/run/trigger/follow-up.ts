import { freezeText } from '../../domain/freeze.ts';
import type { LineComment } from '../../domain/review.ts';
import type { FrozenText, PullHead } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import type { InputRepository } from './ports.ts';

const MAX_THREADS = 30;
const MAX_THREAD_CHARS = 60_000;
const MAX_HUNK = 4_000;

/** Has this person write access? Undefined: too many people to look each of them up. */
export type MayWrite = (
  login: string,
  account?: { id?: number | undefined; type?: string },
) => Promise<boolean | undefined>;

interface FollowUp {
  trigger: Trigger;
  repository: InputRepository;
  pull: PullHead;
  mayWrite: MayWrite;
}

/** What a follow-up on a pull request is shown besides its texts: the threads that wait for an answer, and what fails on its head. */
export async function followUpTexts(options: FollowUp): Promise<FrozenText[]> {
  return [...(await openThreads(options)), ...(await failures(options))];
}

/** Threads on lines of the diff whose last word is not this App's, as far as people with write access wrote them, or asked in them. */
async function openThreads({ trigger, repository, pull, mayWrite }: FollowUp): Promise<FrozenText[]> {
  const threads = new Map<number, LineComment[]>();
  for (const one of await repository.lineComments(pull.number)) {
    const root = one.inReplyTo ?? one.id;
    const said = threads.get(root) ?? [];
    // By their last word: one that was answered long ago takes nobody's place.
    threads.delete(root);
    threads.set(root, [...said, one]);
  }
  const texts: FrozenText[] = [];
  let chars = 0;
  for (const [root, comments] of [...threads].reverse()) {
    if (texts.length === MAX_THREADS) break;
    const spoken: LineComment[] = [];
    // A command in a thread answers what is said there: whoever asks vouches for it.
    const vouched = comments.some(({ id }) => id === trigger.source.reviewCommentId);
    let allMayWrite = true;
    for (const one of comments) {
      const inTime = one.reviewId === trigger.reviewId || before(one.updatedAt, trigger.happenedAt);
      const right =
        one.ours || (inTime && (await mayWrite(one.author, { id: one.authorId, type: one.authorType })) === true);
      if (right || (inTime && vouched)) spoken.push(one);
      allMayWrite &&= right || !(inTime && vouched);
    }
    const last = spoken.at(-1);
    if (last === undefined || last.ours) continue;
    const text = { ...threadText(root, spoken), authorMayWrite: allMayWrite };
    if (chars + text.body.length > MAX_THREAD_CHARS) continue;
    chars += text.body.length;
    texts.unshift(text);
  }
  return texts;
}

function threadText(root: number, spoken: readonly LineComment[]): FrozenText {
  const first = spoken.find(({ ours }) => !ours) ?? spoken[0];
  const said = spoken.map(({ ours, author, body }) => `@${author}${ours ? ' (this App)' : ''}: ${body}`);
  const where = first?.line === undefined ? (first?.path ?? '') : `${first.path}, line ${first.line}`;
  const text = {
    kind: 'thread' as const,
    id: root,
    author: first?.author ?? 'ghost',
    updatedAt: spoken.at(-1)?.updatedAt ?? '',
    title: where,
    body: [(first?.hunk ?? '').slice(-MAX_HUNK), ...said].join('\n\n').toWellFormed(),
  };
  return freezeText(text);
}

async function failures({ repository, pull }: FollowUp): Promise<FrozenText[]> {
  const failed = await repository.failingChecks(pull.sha);
  return failed.map(({ id, name, app, conclusion, completedAt, text }) =>
    freezeText({ kind: 'check', id, author: app, updatedAt: completedAt, title: `${name}: ${conclusion}`, body: text }),
  );
}

/** Is one time of GitHub's not later than the other? */
export function before(at: string, limit: string): boolean {
  const [left, right] = [Date.parse(at), Date.parse(limit)];
  return Number.isFinite(left) && Number.isFinite(right) && left <= right;
}
