/** Reviews and the comments on lines of a diff. */
import { GitHubError, invalid } from '../errors.ts';
import { changes, comparisonBase } from '../git-content.ts';
import { pullSimpleJson, reviewCommentJson, reviewJson } from '../json/pull.ts';
import type { Review, ReviewComment, ReviewState } from '../state.ts';
import { nextId, now, repositoryById, repositoryDir, type PullThread, type World } from '../world.ts';
import { checkBody, type Actor } from './threads.ts';

export interface LineComment {
  path: string;
  body: string;
  line?: number | undefined;
  startLine?: number | undefined;
  side?: 'LEFT' | 'RIGHT' | undefined;
  subjectType?: 'line' | 'file' | undefined;
}

/** The hunk up to the commented line, or `undefined` when the line is not part of the diff. */
export function hunkUpTo(patch: string, line: number, side: 'LEFT' | 'RIGHT'): string | undefined {
  let kept: string[] = [];
  let left = 0;
  let right = 0;
  for (const text of patch.split('\n')) {
    const header = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/.exec(text);
    if (header !== null) {
      kept = [text];
      left = Number(header[1]);
      right = Number(header[2]);
      continue;
    }
    kept.push(text);
    const sign = text.charAt(0);
    const at = side === 'RIGHT' ? right : left;
    const counts = sign === ' ' || sign === (side === 'RIGHT' ? '+' : '-');
    if (counts && at === line) return kept.join('\n');
    if (sign === ' ' || sign === '-') left += 1;
    if (sign === ' ' || sign === '+') right += 1;
  }
  return undefined;
}

async function hunkFor(world: World, thread: PullThread, comment: LineComment): Promise<string> {
  const dir = repositoryDir(world, repositoryById(world, thread.repoId));
  const base = await comparisonBase(dir, thread.pull.baseSha, thread.pull.headSha);
  const file = (await changes(dir, base, thread.pull.headSha)).find((one) => one.filename === comment.path);
  if (file === undefined) throw invalid({ resource: 'PullRequestReviewComment', field: 'path', code: 'invalid' });
  if (comment.subjectType === 'file') return file.patch ?? '';
  const hunk = hunkUpTo(file.patch ?? '', comment.line ?? 0, comment.side ?? 'RIGHT');
  if (hunk === undefined)
    throw invalid({
      resource: 'PullRequestReviewComment',
      field: 'pull_request_review_thread.line',
      code: 'custom',
      message: 'pull_request_review_thread.line must be part of the diff',
    });
  return hunk;
}

function emitReviewComment(
  world: World,
  thread: PullThread,
  comment: ReviewComment,
  sender: string,
  from?: string,
): void {
  world.emit({
    name: 'pull_request_review_comment',
    action: from === undefined ? 'created' : 'edited',
    repository: repositoryById(world, thread.repoId),
    sender,
    payload: {
      pull_request: pullSimpleJson(world, thread),
      comment: reviewCommentJson(world, comment),
      ...(from === undefined ? {} : { changes: { body: { from } } }),
    },
  });
}

async function makeComment(
  world: World,
  thread: PullThread,
  review: Review,
  wanted: LineComment,
): Promise<ReviewComment> {
  checkBody('PullRequestReviewComment', wanted.body);
  const comment: ReviewComment = {
    id: nextId(world),
    repoId: thread.repoId,
    number: thread.number,
    reviewId: review.id,
    author: review.author,
    body: wanted.body,
    path: wanted.path,
    line: wanted.subjectType === 'file' ? null : (wanted.line ?? null),
    startLine: wanted.startLine ?? null,
    side: wanted.side ?? 'RIGHT',
    subjectType: wanted.subjectType ?? 'line',
    commitId: thread.pull.headSha,
    diffHunk: await hunkFor(world, thread, wanted),
    inReplyTo: null,
    createdAt: review.submittedAt,
    updatedAt: review.submittedAt,
  };
  return comment;
}

function newReview(
  world: World,
  thread: PullThread,
  actor: Actor,
  wanted: { state: ReviewState; body: string },
): Review {
  return {
    id: nextId(world),
    repoId: thread.repoId,
    number: thread.number,
    author: actor.login,
    body: wanted.body,
    state: wanted.state,
    commitId: thread.pull.headSha,
    submittedAt: now(world),
  };
}

function emitReview(world: World, thread: PullThread, review: Review): void {
  // Webhooks write the state in lower case, the API in upper case.
  const described = { ...reviewJson(world, review), state: review.state.toLowerCase(), updated_at: review.submittedAt };
  world.emit({
    name: 'pull_request_review',
    action: 'submitted',
    repository: repositoryById(world, thread.repoId),
    sender: review.author,
    payload: { review: described, pull_request: pullSimpleJson(world, thread) },
  });
}

export async function submitReview(
  world: World,
  thread: PullThread,
  actor: Actor,
  wanted: { state: ReviewState; body: string; comments?: readonly LineComment[] },
): Promise<Review> {
  const judges = wanted.state === 'APPROVED' || wanted.state === 'CHANGES_REQUESTED';
  if (judges && actor.login === thread.author)
    throw new GitHubError(
      422,
      `Can not ${wanted.state === 'APPROVED' ? 'approve' : 'request changes on'} your own pull request`,
    );
  if (wanted.body === '' && wanted.state !== 'APPROVED' && (wanted.comments ?? []).length === 0)
    throw new GitHubError(422, 'Unprocessable Entity: a review needs a body or comments');
  checkBody('PullRequestReview', wanted.body);
  const review = newReview(world, thread, actor, wanted);
  const comments = [];
  for (const one of wanted.comments ?? []) comments.push(await makeComment(world, thread, review, one));
  world.state.reviews.push(review);
  world.state.reviewComments.push(...comments);
  thread.updatedAt = review.submittedAt;
  thread.pull.requestedReviewers = thread.pull.requestedReviewers.filter((login) => login !== actor.login);
  if (review.state !== 'PENDING') {
    emitReview(world, thread, review);
    for (const comment of comments) emitReviewComment(world, thread, comment, actor.login);
  }
  world.changed();
  return review;
}

/** A single comment on a line, or an answer to one; GitHub makes a review of its own for it. */
export async function addReviewComment(
  world: World,
  thread: PullThread,
  actor: Actor,
  wanted: LineComment & { inReplyTo?: number | undefined },
): Promise<ReviewComment> {
  const parent = world.state.reviewComments.find(
    (one) => one.id === wanted.inReplyTo && one.repoId === thread.repoId && one.number === thread.number,
  );
  if (wanted.inReplyTo !== undefined && parent === undefined) throw new GitHubError(404, 'Not Found');
  const review = newReview(world, thread, actor, { state: 'COMMENTED', body: '' });
  const comment =
    parent === undefined
      ? await makeComment(world, thread, review, wanted)
      : {
          ...parent,
          id: nextId(world),
          reviewId: review.id,
          author: actor.login,
          body: wanted.body,
          inReplyTo: parent.inReplyTo ?? parent.id,
          createdAt: review.submittedAt,
          updatedAt: review.submittedAt,
        };
  checkBody('PullRequestReviewComment', wanted.body);
  world.state.reviews.push(review);
  world.state.reviewComments.push(comment);
  thread.updatedAt = review.submittedAt;
  emitReview(world, thread, review);
  emitReviewComment(world, thread, comment, actor.login);
  world.changed();
  return comment;
}

export function editReviewComment(
  world: World,
  thread: PullThread,
  actor: Actor,
  edit: { id: number; body: string },
): ReviewComment {
  const comment = world.state.reviewComments.find((one) => one.id === edit.id && one.repoId === thread.repoId);
  if (comment === undefined) throw new GitHubError(404, 'Not Found');
  checkBody('PullRequestReviewComment', edit.body);
  const from = comment.body;
  comment.body = edit.body;
  comment.updatedAt = now(world);
  emitReviewComment(world, thread, comment, actor.login, from);
  world.changed();
  return comment;
}
