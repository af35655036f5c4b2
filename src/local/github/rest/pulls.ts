import { without } from '../json/without.ts';
import { GitHubError, notFound } from '../errors.ts';
import { changes, comparisonBase, diffText } from '../git-content.ts';
import { log } from '../git.ts';
import { commitJson, fileJson } from '../json/commit.ts';
import { pullJson, pullSimpleJson, reviewCommentJson, reviewJson } from '../json/pull.ts';
import { changeBase, openPull, requestReviewers } from '../acts/pulls.ts';
import { addReviewComment, editReviewComment, submitReview } from '../acts/reviews.ts';
import { updateThread, type ThreadChange } from '../acts/threads.ts';
import type { Repository, Review, ReviewComment, ReviewState } from '../state.ts';
import { findPull, isPull, repositoryDir, sameName, type World } from '../world.ts';
import { created, ok, paged, type Call, type Handlers, type Reply } from './call.ts';

function listPulls(call: Call<'pulls/list'>): Promise<Reply> {
  const { world, repository, query } = call;
  const state = query.state ?? 'open';
  const pulls = world.state.threads.filter(isPull).filter((one) => {
    const head = world.state.repositories.find((repo) => repo.id === one.pull.headRepoId);
    return (
      one.repoId === repository.id &&
      (state === 'all' || one.state === state) &&
      (query.base === undefined || one.pull.baseRef === query.base) &&
      (query.head === undefined || sameName(`${head?.owner ?? ''}:${one.pull.headRef}`, query.head))
    );
  });
  return paged(call, query.direction === 'asc' ? pulls : pulls.reverse(), (one) => pullSimpleJson(world, one));
}

async function createPull({ world, repository, body, actor }: Call<'pulls/create'>): Promise<Reply> {
  if (body.title === undefined)
    throw new GitHubError(422, 'Validation Failed', [
      { resource: 'PullRequest', field: 'title', code: 'missing_field' },
    ]);
  const thread = await openPull(world, repository, actor, {
    title: body.title,
    body: body.body ?? null,
    head: body.head,
    base: body.base,
    draft: body.draft ?? false,
    ...(body.maintainer_can_modify === undefined ? {} : { maintainerCanModify: body.maintainer_can_modify }),
  });
  const json = await pullJson(world, thread);
  return created(json, json.url);
}

async function getPull({ world, repository, path, accept }: Call<'pulls/get'>): Promise<Reply> {
  const thread = findPull(world, repository, path.pull_number);
  if (!/diff|patch/.test(accept)) return ok(await pullJson(world, thread));
  const dir = repositoryDir(world, repository);
  const base = await comparisonBase(dir, thread.pull.baseSha, thread.pull.headSha);
  const content = await diffText(dir, base, thread.pull.headSha);
  return { status: 200, raw: { type: 'application/vnd.github.diff; charset=utf-8', content } };
}

async function updatePull({ world, repository, path, body, actor }: Call<'pulls/update'>): Promise<Reply> {
  const thread = findPull(world, repository, path.pull_number);
  if (body?.base !== undefined) await changeBase(world, thread, actor, body.base);
  const change: ThreadChange = {
    ...(body?.title === undefined ? {} : { title: body.title }),
    ...(body?.body === undefined ? {} : { body: body.body }),
    ...(body?.state === undefined ? {} : { state: body.state }),
  };
  await updateThread(world, thread, actor, change);
  if (body?.maintainer_can_modify !== undefined) thread.pull.maintainerCanModify = body.maintainer_can_modify;
  return ok(await pullJson(world, thread));
}

async function createReviewComment(call: Call<'pulls/create-review-comment'>): Promise<Reply> {
  const { world, repository, path, body, actor } = call;
  const thread = findPull(world, repository, path.pull_number);
  const comment = await addReviewComment(world, thread, actor, {
    path: body.path,
    body: body.body,
    line: body.line,
    startLine: body.start_line,
    side: body.side,
    subjectType: body.subject_type,
    inReplyTo: body.in_reply_to,
  });
  return created(reviewCommentJson(world, comment));
}

const REVIEW_STATE: Record<string, ReviewState> = {
  APPROVE: 'APPROVED',
  REQUEST_CHANGES: 'CHANGES_REQUESTED',
  COMMENT: 'COMMENTED',
};

async function createReview({ world, repository, path, body, actor }: Call<'pulls/create-review'>): Promise<Reply> {
  const thread = findPull(world, repository, path.pull_number);
  const review = await submitReview(world, thread, actor, {
    state: REVIEW_STATE[body?.event ?? ''] ?? 'PENDING',
    body: body?.body ?? '',
    comments: (body?.comments ?? []).map((one) => ({
      path: one.path,
      body: one.body,
      line: one.line ?? one.position,
      startLine: one.start_line,
      side: one.side === 'LEFT' ? 'LEFT' : 'RIGHT',
    })),
  });
  return ok(reviewJson(world, review));
}

function reviewOf(world: World, repository: Repository, id: number): Review {
  const found = world.state.reviews.find((one) => one.repoId === repository.id && one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

function lineComments(world: World, repository: Repository, matches: (one: ReviewComment) => boolean): ReviewComment[] {
  return world.state.reviewComments.filter((one) => one.repoId === repository.id && matches(one));
}

/** The comments of one review are listed in an older shape, without lines. */
function legacyCommentJson(world: World, comment: ReviewComment) {
  return {
    ...without(reviewCommentJson(world, comment), 'subject_type'),
    start_side: comment.startLine === null ? null : comment.side,
  };
}

export const pullHandlers = {
  'pulls/list': listPulls,
  'pulls/get': getPull,
  'pulls/create': createPull,
  'pulls/update': updatePull,
  'pulls/list-files': async (call) => {
    const { world, repository, path } = call;
    const { pull } = findPull(world, repository, path.pull_number);
    const dir = repositoryDir(world, repository);
    const files = await changes(dir, await comparisonBase(dir, pull.baseSha, pull.headSha), pull.headSha);
    return paged(call, files, (file) => fileJson(world, repository, file, pull.headSha));
  },
  'pulls/list-commits': async (call) => {
    const { world, repository, path } = call;
    const { pull } = findPull(world, repository, path.pull_number);
    const commits = (await log(repositoryDir(world, repository), [`${pull.baseSha}..${pull.headSha}`])).reverse();
    return paged(call, commits, (commit) => commitJson(world, repository, commit));
  },
  'pulls/list-reviews': (call) => {
    const { world, repository, path } = call;
    const { number } = findPull(world, repository, path.pull_number);
    const reviews = world.state.reviews.filter((one) => one.repoId === repository.id && one.number === number);
    return paged(call, reviews, (one) => reviewJson(world, one));
  },
  'pulls/get-review': ({ world, repository, path }) =>
    ok(reviewJson(world, reviewOf(world, repository, path.review_id))),
  'pulls/create-review': createReview,
  'pulls/list-comments-for-review': (call) => {
    const { world, repository, path } = call;
    const review = reviewOf(world, repository, path.review_id);
    return paged(
      call,
      lineComments(world, repository, (one) => one.reviewId === review.id),
      (one) => legacyCommentJson(world, one),
    );
  },
  'pulls/list-review-comments': (call) => {
    const { world, repository, path } = call;
    const { number } = findPull(world, repository, path.pull_number);
    return paged(
      call,
      lineComments(world, repository, (one) => one.number === number),
      (one) => reviewCommentJson(world, one),
    );
  },
  'pulls/get-review-comment': ({ world, repository, path }) => {
    const [comment] = lineComments(world, repository, (one) => one.id === path.comment_id);
    if (comment === undefined) throw notFound();
    return ok(reviewCommentJson(world, comment));
  },
  'pulls/create-review-comment': createReviewComment,
  'pulls/update-review-comment': ({ world, repository, path, body, actor }) => {
    const [comment] = lineComments(world, repository, (one) => one.id === path.comment_id);
    if (comment === undefined) throw notFound();
    const thread = findPull(world, repository, comment.number);
    editReviewComment(world, thread, actor, { id: comment.id, body: body.body });
    return ok(reviewCommentJson(world, comment));
  },
  'pulls/request-reviewers': async ({ world, repository, path, body, actor }) => {
    const thread = findPull(world, repository, path.pull_number);
    await requestReviewers(world, thread, actor, {
      reviewers: body?.reviewers ?? [],
      teams: body?.team_reviewers ?? [],
    });
    return created(pullSimpleJson(world, thread));
  },
} satisfies Partial<Handlers>;
