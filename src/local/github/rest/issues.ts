import { invalid, notFound } from '../errors.ts';
import { labelJson, labelsJson } from '../json/repository.ts';
import { commentJson, issueJson, reactionJson } from '../json/thread.ts';
import type { ReactionSubject, Repository, Comment } from '../state.ts';
import {
  addComment,
  addLabels,
  deleteComment,
  editComment,
  ensureLabel,
  openIssue,
  react,
  removeLabel,
  updateThread,
  type ThreadChange,
} from '../acts/threads.ts';
import { findThread, sameName, type World } from '../world.ts';
import { created, NO_CONTENT, ok, paged, type Call, type Handlers, type Reply } from './call.ts';

export function commentOf(world: World, repository: Repository, id: number): Comment {
  const found = world.state.comments.find((one) => one.repoId === repository.id && one.id === id);
  if (found === undefined) throw notFound();
  return found;
}

type NamedLabels = readonly (string | { name?: string })[];

function labelNames(labels: NamedLabels | undefined): string[] {
  return (labels ?? []).flatMap((one) => (typeof one === 'string' ? [one] : one.name === undefined ? [] : [one.name]));
}

function listIssues(call: Call<'issues/list-for-repo'>): Promise<Reply> {
  const { world, repository, query } = call;
  const wanted = query.labels?.split(',').map((one) => one.trim().toLowerCase()) ?? [];
  const state = query.state ?? 'open';
  const issues = world.state.threads.filter(
    (one) =>
      one.repoId === repository.id &&
      (state === 'all' || one.state === state) &&
      wanted.every((label) => one.labels.some((name) => name.toLowerCase() === label)) &&
      (query.creator === undefined || sameName(one.author, query.creator)),
  );
  return paged(call, issues.reverse(), (one) => issueJson(world, one));
}

async function updateIssue(call: Call<'issues/update'>): Promise<Reply> {
  const { world, repository, path, body, actor } = call;
  const thread = findThread(world, repository, path.issue_number);
  const title = body?.title;
  const change: ThreadChange = {
    ...(title === undefined || title === null ? {} : { title: String(title) }),
    ...(body?.body === undefined ? {} : { body: body.body }),
    ...(body?.state === undefined ? {} : { state: body.state }),
    ...(body?.state_reason === undefined ? {} : { stateReason: body.state_reason }),
    ...(body?.labels === undefined ? {} : { labels: labelNames(body.labels) }),
    ...(body?.assignees === undefined ? {} : { assignees: body.assignees as string[] }),
  };
  await updateThread(world, thread, actor, change);
  return ok(issueJson(world, thread));
}

function reactionsTo(
  call: Call<'reactions/list-for-issue' | 'reactions/list-for-issue-comment'>,
  subject: ReactionSubject,
): Promise<Reply> {
  const { world, query } = call;
  const found = world.state.reactions.filter(
    (one) =>
      one.subject.kind === subject.kind &&
      one.subject.id === subject.id &&
      (query.content === undefined || one.content === query.content),
  );
  return paged(call, found, (one) => reactionJson(world, one));
}

type CreateReaction =
  | 'reactions/create-for-issue'
  | 'reactions/create-for-issue-comment'
  | 'reactions/create-for-pull-request-review-comment';

function createReaction(call: Call<CreateReaction>, subject: ReactionSubject): Reply {
  const { world, actor, repository, body } = call;
  const made = react(world, actor, { repoId: repository.id, subject, content: body.content });
  return { status: made.created ? 201 : 200, body: reactionJson(world, made.reaction) };
}

function deleteReaction(world: World, subject: ReactionSubject, id: number): Reply {
  const index = world.state.reactions.findIndex(
    (one) => one.id === id && one.subject.kind === subject.kind && one.subject.id === subject.id,
  );
  if (index < 0) throw notFound();
  world.state.reactions.splice(index, 1);
  world.changed();
  return NO_CONTENT;
}

function issueSubject(world: World, repository: Repository, number: number): ReactionSubject {
  return { kind: 'issue', id: findThread(world, repository, number).id };
}

function commentSubject(world: World, repository: Repository, id: number): ReactionSubject {
  return { kind: 'comment', id: commentOf(world, repository, id).id };
}

function reviewCommentSubject(world: World, repository: Repository, id: number): ReactionSubject {
  if (!world.state.reviewComments.some((one) => one.repoId === repository.id && one.id === id)) throw notFound();
  return { kind: 'review_comment', id };
}

export const issueHandlers = {
  'issues/list-for-repo': listIssues,
  'issues/get': ({ world, repository, path }) => ok(issueJson(world, findThread(world, repository, path.issue_number))),
  'issues/create': async ({ world, repository, body, actor }) => {
    const thread = await openIssue(world, repository, actor, {
      title: String(body.title),
      body: body.body ?? null,
      labels: labelNames(body.labels),
      assignees: body.assignees ?? [],
    });
    return created(issueJson(world, thread));
  },
  'issues/update': updateIssue,
  'issues/list-labels-on-issue': (call) => {
    const { world, repository, path } = call;
    return paged(
      call,
      labelsJson(world, repository, findThread(world, repository, path.issue_number).labels),
      (one) => one,
    );
  },
  'issues/add-labels': async ({ world, repository, path, body, actor }) => {
    const thread = findThread(world, repository, path.issue_number);
    await addLabels(
      world,
      thread,
      actor,
      labelNames((Array.isArray(body) ? body : body?.labels) as NamedLabels | undefined),
    );
    return ok(labelsJson(world, repository, thread.labels));
  },
  'issues/remove-label': async ({ world, repository, path, actor }) => {
    const thread = findThread(world, repository, path.issue_number);
    await removeLabel(world, thread, actor, path.name);
    return ok(labelsJson(world, repository, thread.labels));
  },
  'issues/list-labels-for-repo': (call) =>
    paged(call, call.repository.labels, (one) => labelJson(call.world, call.repository, one)),
  'issues/get-label': ({ world, repository, path }) => {
    const label = repository.labels.find((one) => sameName(one.name, path.name));
    if (label === undefined) throw notFound();
    return ok(labelJson(world, repository, label));
  },
  'issues/create-label': ({ world, repository, body }) => {
    if (repository.labels.some((one) => sameName(one.name, body.name)))
      throw invalid({ resource: 'Label', field: 'name', code: 'already_exists' });
    const label = ensureLabel(world, repository, body.name, {
      color: body.color ?? 'ededed',
      description: body.description ?? null,
    });
    world.changed();
    return created(labelJson(world, repository, label));
  },
  'issues/list-comments': (call) => {
    const { world, repository, path, query } = call;
    const { number } = findThread(world, repository, path.issue_number);
    const since = query.since ?? '';
    const comments = world.state.comments.filter(
      (one) => one.repoId === repository.id && one.number === number && one.updatedAt >= since,
    );
    return paged(call, comments, (one) => commentJson(world, one));
  },
  'issues/list-comments-for-repo': (call) => {
    const comments = call.world.state.comments.filter((one) => one.repoId === call.repository.id);
    return paged(call, comments, (one) => commentJson(call.world, one));
  },
  'issues/get-comment': ({ world, repository, path }) =>
    ok(commentJson(world, commentOf(world, repository, path.comment_id))),
  'issues/create-comment': ({ world, repository, path, body, actor }) => {
    const comment = addComment(world, findThread(world, repository, path.issue_number), actor, body.body);
    return created(commentJson(world, comment));
  },
  'issues/update-comment': ({ world, repository, path, body, actor }) => {
    const comment = commentOf(world, repository, path.comment_id);
    editComment(world, comment, actor, body.body);
    return ok(commentJson(world, comment));
  },
  'issues/delete-comment': ({ world, repository, path, actor }) => {
    deleteComment(world, commentOf(world, repository, path.comment_id), actor);
    return NO_CONTENT;
  },
  'reactions/list-for-issue': (call) =>
    reactionsTo(call, issueSubject(call.world, call.repository, call.path.issue_number)),
  'reactions/create-for-issue': (call) =>
    createReaction(call, issueSubject(call.world, call.repository, call.path.issue_number)),
  'reactions/delete-for-issue': ({ world, repository, path }) =>
    deleteReaction(world, issueSubject(world, repository, path.issue_number), path.reaction_id),
  'reactions/list-for-issue-comment': (call) =>
    reactionsTo(call, commentSubject(call.world, call.repository, call.path.comment_id)),
  'reactions/create-for-issue-comment': (call) =>
    createReaction(call, commentSubject(call.world, call.repository, call.path.comment_id)),
  'reactions/delete-for-issue-comment': ({ world, repository, path }) =>
    deleteReaction(world, commentSubject(world, repository, path.comment_id), path.reaction_id),
  'reactions/create-for-pull-request-review-comment': (call) =>
    createReaction(call, reviewCommentSubject(call.world, call.repository, call.path.comment_id)),
  'reactions/delete-for-pull-request-comment': ({ world, repository, path }) =>
    deleteReaction(world, reviewCommentSubject(world, repository, path.comment_id), path.reaction_id),
} satisfies Partial<Handlers>;
