/** Issues, comments, labels and reactions: what happens, whoever asked (the API, a page, a test), with the webhooks it causes. */
import { GitHubError, invalid } from '../errors.ts';
import { labelJson } from '../json/repository.ts';
import { commentJson, issueJson } from '../json/thread.ts';
import { pullJson } from '../json/pull.ts';
import type { Comment, Label, Reaction, ReactionContent, ReactionSubject, Repository, Thread } from '../state.ts';
import { isPull, nextId, now, repositoryById, sameName, type World } from '../world.ts';

/** GitHub counts characters; its own description has no limit here. */
const BODY_LIMIT = 65_536;
const TITLE_LIMIT = 256;

/** Who does it, and whether by way of the App. */
export interface Actor {
  login: string;
  viaApp: boolean;
}

export function checkBody(resource: string, body: string | null | undefined): void {
  if (body !== null && body !== undefined && Array.from(body).length > BODY_LIMIT)
    throw invalid({
      resource,
      field: 'body',
      code: 'custom',
      message: `body is too long (maximum is ${BODY_LIMIT} characters)`,
    });
}

export function checkTitle(resource: string, title: string): void {
  if (title.trim() === '') throw invalid({ resource, field: 'title', code: 'missing_field' });
  if (Array.from(title).length > TITLE_LIMIT)
    throw invalid({
      resource,
      field: 'title',
      code: 'custom',
      message: `title is too long (maximum is ${TITLE_LIMIT} characters)`,
    });
}

async function threadPayload(world: World, thread: Thread): Promise<Record<string, unknown>> {
  return isPull(thread)
    ? { number: thread.number, pull_request: await pullJson(world, thread) }
    : { issue: issueJson(world, thread) };
}

/** Sends `issues` or `pull_request`, whichever the thread is. */
export async function emitThread(
  world: World,
  thread: Thread,
  event: { action: string; sender: string; extra?: Record<string, unknown> },
): Promise<void> {
  world.emit({
    name: isPull(thread) ? 'pull_request' : 'issues',
    action: event.action,
    repository: repositoryById(world, thread.repoId),
    sender: event.sender,
    payload: { ...(await threadPayload(world, thread)), ...event.extra },
  });
}

/** Finds a label of the repository, or makes it as GitHub does when an unknown name is added. */
export function ensureLabel(world: World, repository: Repository, name: string, more: Partial<Label> = {}): Label {
  const found = repository.labels.find((one) => sameName(one.name, name));
  if (found !== undefined) return found;
  if (name.trim() === '' || name.length > 50) throw invalid({ resource: 'Label', field: 'name', code: 'invalid' });
  const label = { id: nextId(world), name, color: more.color ?? 'ededed', description: more.description ?? null };
  repository.labels.push(label);
  return label;
}

export interface NewIssue {
  title: string;
  body: string | null;
  labels: readonly string[];
  assignees?: readonly string[];
}

export async function openIssue(world: World, repository: Repository, actor: Actor, issue: NewIssue): Promise<Thread> {
  checkTitle('Issue', issue.title);
  checkBody('Issue', issue.body);
  const labels = issue.labels.map((name) => ensureLabel(world, repository, name).name);
  const at = now(world);
  const thread: Thread = {
    id: nextId(world),
    repoId: repository.id,
    number: repository.nextNumber++,
    title: issue.title,
    body: issue.body,
    author: actor.login,
    viaApp: actor.viaApp,
    state: 'open',
    stateReason: null,
    labels: [...new Set(labels)],
    assignees: [...(issue.assignees ?? [])],
    createdAt: at,
    updatedAt: at,
    closedAt: null,
    pull: null,
  };
  world.state.threads.push(thread);
  await emitThread(world, thread, { action: 'opened', sender: actor.login });
  for (const name of thread.labels) await emitLabel(world, thread, { action: 'labeled', name, sender: actor.login });
  world.changed();
  return thread;
}

async function emitLabel(
  world: World,
  thread: Thread,
  change: { action: 'labeled' | 'unlabeled'; name: string; sender: string },
): Promise<void> {
  const repository = repositoryById(world, thread.repoId);
  const label = labelJson(world, repository, ensureLabel(world, repository, change.name));
  await emitThread(world, thread, { action: change.action, sender: change.sender, extra: { label } });
}

export async function addLabels(world: World, thread: Thread, actor: Actor, names: readonly string[]): Promise<void> {
  const repository = repositoryById(world, thread.repoId);
  for (const wanted of names) {
    const { name } = ensureLabel(world, repository, wanted);
    if (thread.labels.includes(name)) continue;
    thread.labels.push(name);
    thread.updatedAt = now(world);
    await emitLabel(world, thread, { action: 'labeled', name, sender: actor.login });
  }
  world.changed();
}

export async function removeLabel(world: World, thread: Thread, actor: Actor, wanted: string): Promise<void> {
  const name = thread.labels.find((one) => sameName(one, wanted));
  if (name === undefined) throw new GitHubError(404, 'Label does not exist');
  thread.labels = thread.labels.filter((one) => one !== name);
  thread.updatedAt = now(world);
  await emitLabel(world, thread, { action: 'unlabeled', name, sender: actor.login });
  world.changed();
}

export interface ThreadChange {
  title?: string;
  body?: string | null;
  state?: 'open' | 'closed';
  stateReason?: Thread['stateReason'];
  labels?: readonly string[];
  assignees?: readonly string[];
}

async function editText(world: World, thread: Thread, actor: Actor, change: ThreadChange): Promise<void> {
  const changes: Record<string, { from: string }> = {};
  if (change.title !== undefined && change.title !== thread.title) {
    checkTitle('Issue', change.title);
    changes['title'] = { from: thread.title };
    thread.title = change.title;
  }
  if (change.body !== undefined && change.body !== thread.body) {
    checkBody('Issue', change.body);
    changes['body'] = { from: thread.body ?? '' };
    thread.body = change.body;
  }
  if (Object.keys(changes).length === 0) return;
  thread.updatedAt = now(world);
  await emitThread(world, thread, { action: 'edited', sender: actor.login, extra: { changes } });
}

async function setState(world: World, thread: Thread, actor: Actor, change: ThreadChange): Promise<void> {
  if (change.state === undefined || change.state === thread.state) return;
  if (thread.pull?.mergedAt != null && change.state === 'open')
    throw invalid({ resource: 'PullRequest', field: 'state', code: 'invalid' });
  thread.state = change.state;
  thread.updatedAt = now(world);
  thread.closedAt = change.state === 'closed' ? thread.updatedAt : null;
  if (thread.pull === null)
    thread.stateReason = change.stateReason ?? (change.state === 'closed' ? 'completed' : 'reopened');
  await emitThread(world, thread, { action: change.state === 'closed' ? 'closed' : 'reopened', sender: actor.login });
}

export async function updateThread(world: World, thread: Thread, actor: Actor, change: ThreadChange): Promise<void> {
  await editText(world, thread, actor, change);
  if (change.labels !== undefined) {
    const wanted = change.labels;
    for (const name of [...thread.labels])
      if (!wanted.some((one) => sameName(one, name))) await removeLabel(world, thread, actor, name);
    await addLabels(world, thread, actor, wanted);
  }
  if (change.assignees !== undefined) thread.assignees = [...change.assignees];
  await setState(world, thread, actor, change);
  world.changed();
}

function emitComment(
  world: World,
  comment: Comment,
  event: { action: string; sender: string; extra?: Record<string, unknown> },
): void {
  const thread = world.state.threads.find((one) => one.repoId === comment.repoId && one.number === comment.number);
  if (thread === undefined) throw new GitHubError(404, 'Not Found');
  world.emit({
    name: 'issue_comment',
    action: event.action,
    repository: repositoryById(world, comment.repoId),
    sender: event.sender,
    payload: { issue: issueJson(world, thread), comment: commentJson(world, comment), ...event.extra },
  });
}

export function addComment(world: World, thread: Thread, actor: Actor, body: string): Comment {
  if (body.trim() === '') throw invalid({ resource: 'IssueComment', field: 'body', code: 'missing_field' });
  checkBody('IssueComment', body);
  const at = now(world);
  const comment: Comment = {
    id: nextId(world),
    repoId: thread.repoId,
    number: thread.number,
    author: actor.login,
    viaApp: actor.viaApp,
    body,
    createdAt: at,
    updatedAt: at,
  };
  world.state.comments.push(comment);
  thread.updatedAt = at;
  emitComment(world, comment, { action: 'created', sender: actor.login });
  world.changed();
  return comment;
}

export function editComment(world: World, comment: Comment, actor: Actor, body: string): void {
  if (body.trim() === '') throw invalid({ resource: 'IssueComment', field: 'body', code: 'missing_field' });
  checkBody('IssueComment', body);
  const from = comment.body;
  comment.body = body;
  comment.updatedAt = now(world);
  emitComment(world, comment, { action: 'edited', sender: actor.login, extra: { changes: { body: { from } } } });
  world.changed();
}

export function deleteComment(world: World, comment: Comment, actor: Actor): void {
  emitComment(world, comment, { action: 'deleted', sender: actor.login });
  world.state.comments = world.state.comments.filter((one) => one.id !== comment.id);
  world.changed();
}

/** Adds a reaction; the same one again is found, not added. GitHub sends no webhook for reactions. */
export function react(
  world: World,
  actor: Actor,
  reaction: { repoId: number; subject: ReactionSubject; content: ReactionContent },
): { reaction: Reaction; created: boolean } {
  const found = world.state.reactions.find(
    (one) =>
      one.subject.kind === reaction.subject.kind &&
      one.subject.id === reaction.subject.id &&
      one.user === actor.login &&
      one.content === reaction.content,
  );
  if (found !== undefined) return { reaction: found, created: false };
  const made: Reaction = { id: nextId(world), ...reaction, user: actor.login, createdAt: now(world) };
  world.state.reactions.push(made);
  world.changed();
  return { reaction: made, created: true };
}
