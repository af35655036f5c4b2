/** What the forms do: the same acts as the API, by the person whom the visitor chose, with that person's rights. */
import { randomBytes } from 'node:crypto';
import { clickAction, rerequest } from '../acts/checks.ts';
import { mergePull, setDraft } from '../acts/pulls.ts';
import { submitReview } from '../acts/reviews.ts';
import {
  addComment,
  addLabels,
  editComment,
  openIssue,
  react,
  removeLabel,
  updateThread,
  type Actor,
} from '../acts/threads.ts';
import { GitHubError, notFound } from '../errors.ts';
import { reactionContents, type ReactionSubject, type Repository, type ReviewState } from '../state.ts';
import { findPull, findThread } from '../world.ts';
import { repositoryPath, type Context, type PageReply } from './context.ts';
import { may, threadPath } from './threads.ts';

export interface Form {
  context: Context;
  repository: Repository;
  fields: URLSearchParams;
}

function actor({ context }: Form): Actor {
  return { login: context.viewer.login, viaApp: false };
}

function need(form: Form, role: 'read' | 'triage' | 'write'): void {
  if (!may(form.context, form.repository, role))
    throw new GitHubError(403, `${form.context.viewer.login} would need the role ${role} here.`);
}

function back(to: string): PageReply {
  return { kind: 'redirect', to };
}

export async function issueForm(form: Form): Promise<PageReply> {
  need(form, 'read');
  const { context, repository, fields } = form;
  const thread = await openIssue(context.world, repository, actor(form), {
    title: fields.get('title') ?? '',
    body: fields.get('body') ?? '',
    labels: [],
  });
  return back(threadPath(repository, thread));
}

export async function commentForm(form: Form, number: number): Promise<PageReply> {
  need(form, 'read');
  const { context, repository, fields } = form;
  const thread = findThread(context.world, repository, number);
  const body = fields.get('body') ?? '';
  const act = fields.get('do') ?? 'comment';
  if (act === 'close' || act === 'reopen') {
    if (thread.author !== context.viewer.login) need(form, 'triage');
    if (body.trim() !== '') addComment(context.world, thread, actor(form), body);
    await updateThread(context.world, thread, actor(form), { state: act === 'close' ? 'closed' : 'open' });
    return back(threadPath(repository, thread));
  }
  const comment = addComment(context.world, thread, actor(form), body);
  return back(`${threadPath(repository, thread)}#issuecomment-${comment.id}`);
}

export function editForm(form: Form): PageReply {
  const { context, repository, fields } = form;
  const comment = context.world.state.comments.find(
    (one) => one.repoId === repository.id && one.id === Number(fields.get('id')),
  );
  if (comment === undefined) throw notFound();
  if (comment.author !== context.viewer.login) throw new GitHubError(403, 'Only its author edits a comment here.');
  editComment(context.world, comment, actor(form), fields.get('body') ?? '');
  const thread = findThread(context.world, repository, comment.number);
  return back(`${threadPath(repository, thread)}#issuecomment-${comment.id}`);
}

export async function labelForm(form: Form, number: number): Promise<PageReply> {
  need(form, 'triage');
  const { context, repository, fields } = form;
  const thread = findThread(context.world, repository, number);
  const [add, remove] = [fields.get('add'), fields.get('remove')];
  if (add !== null) await addLabels(context.world, thread, actor(form), [add.trim()]);
  if (remove !== null) await removeLabel(context.world, thread, actor(form), remove);
  return back(threadPath(repository, thread));
}

/** Where somebody reacted: the page of the thread, wherever its subject is. */
function subjectOf(form: Form): { subject: ReactionSubject; number: number } {
  const { context, repository, fields } = form;
  const id = Number(fields.get('id'));
  const { threads, comments, reviewComments } = context.world.state;
  const here = (one: { repoId: number; id: number }): boolean => one.repoId === repository.id && one.id === id;
  switch (fields.get('kind')) {
    case 'issue': {
      const found = threads.find(here);
      if (found !== undefined) return { subject: { kind: 'issue', id }, number: found.number };
      break;
    }
    case 'comment': {
      const found = comments.find(here);
      if (found !== undefined) return { subject: { kind: 'comment', id }, number: found.number };
      break;
    }
    case 'review_comment': {
      const found = reviewComments.find(here);
      if (found !== undefined) return { subject: { kind: 'review_comment', id }, number: found.number };
      break;
    }
  }
  throw notFound();
}

export function reactForm(form: Form): PageReply {
  need(form, 'read');
  const { context, repository, fields } = form;
  const { subject, number } = subjectOf(form);
  const content = reactionContents.find((one) => one === fields.get('content'));
  if (content === undefined) throw notFound();
  react(context.world, actor(form), { repoId: repository.id, subject, content });
  return back(threadPath(repository, findThread(context.world, repository, number)));
}

export async function mergeForm(form: Form, number: number): Promise<PageReply> {
  need(form, 'write');
  const { context, repository, fields } = form;
  const thread = findPull(context.world, repository, number);
  if (fields.get('do') === 'merge') await mergePull(context.world, thread, actor(form));
  else await setDraft(context.world, thread, actor(form), fields.get('do') === 'draft');
  return back(threadPath(repository, thread));
}

const REVIEW_STATES: readonly ReviewState[] = ['APPROVED', 'CHANGES_REQUESTED', 'COMMENTED'];

export async function reviewForm(form: Form, number: number): Promise<PageReply> {
  need(form, 'read');
  const { context, repository, fields } = form;
  const thread = findPull(context.world, repository, number);
  const state = REVIEW_STATES.find((one) => one === fields.get('state'));
  if (state === undefined) throw notFound();
  await submitReview(context.world, thread, actor(form), { state, body: fields.get('body') ?? '' });
  return back(threadPath(repository, thread));
}

export function runForm(form: Form, id: number): PageReply {
  const { context, repository, fields } = form;
  const run = context.world.state.checkRuns.find((one) => one.repoId === repository.id && one.id === id);
  if (run === undefined) throw notFound();
  const { login } = context.viewer;
  const identifier = fields.get('action');
  if (identifier !== null) clickAction(context.world, run, { identifier, login });
  else rerequest(context.world, run, login);
  return back(`${repositoryPath(repository)}/runs/${id}`);
}

/** The last step of the manifest flow: back to whoever asked, with a code for the App's key. */
export function manifestForm(context: Context, fields: URLSearchParams): PageReply {
  const redirect = fields.get('redirect') ?? '';
  if (!URL.canParse(redirect) || !/^https?:$/.test(new URL(redirect).protocol))
    throw new GitHubError(422, 'The manifest has no redirect_url.');
  const code = randomBytes(20).toString('hex');
  context.world.manifestCodes.add(code);
  const to = new URL(redirect);
  to.searchParams.set('code', code);
  const state = fields.get('state') ?? '';
  if (state !== '') to.searchParams.set('state', state);
  return { kind: 'redirect', to: to.href };
}
