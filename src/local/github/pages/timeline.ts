/** What happened on an issue or pull request, in the order in which it did. */
import type { CommitInfo } from '../git-format.ts';
import { log } from '../git.ts';
import type { CheckRun, Comment, Repository, Review, ReviewComment, Thread } from '../state.ts';
import { isPull, repositoryDir } from '../world.ts';
import { repositoryPath, type Context } from './context.ts';
import { html, type Markup } from './html.ts';
import { markdownFor } from './markdown.ts';
import { card, checkMark, diffTable, person, pill, reactions, time } from './parts.ts';

interface Entry {
  at: string;
  /** Ids grow, so they order what happened within one second. */
  id: number;
  markup: Markup;
}

type Render = (source: string | null) => Markup;

function commentEntry(context: Context, repository: Repository, render: Render, comment: Comment): Entry {
  const edited =
    comment.updatedAt !== comment.createdAt &&
    html`<span class="note">edited ${time(context.world, comment.updatedAt)}</span>`;
  const mine = comment.author === context.viewer.login;
  const edit =
    mine &&
    html`<details class="pad line">
      <summary class="note">Edit</summary>
      <form class="stack" method="post" action="${repositoryPath(repository)}/_edit">
        <input type="hidden" name="id" value="${comment.id}" />
        <textarea name="body" aria-label="Comment">${comment.body}</textarea>
        <div class="row"><button>Save</button></div>
      </form>
    </details>`;
  return {
    at: comment.createdAt,
    id: comment.id,
    markup: card({
      anchor: `issuecomment-${comment.id}`,
      head: html`${person(context.world, comment.author)} commented ${time(context.world, comment.createdAt)} ${edited}`,
      body: html`<div class="pad body">${render(comment.body)}</div>`,
      foot: html`${reactions(context, repository, { kind: 'comment', id: comment.id })} ${edit}`,
    }),
  };
}

const VERDICT: Record<Review['state'], string> = {
  APPROVED: 'approved these changes',
  CHANGES_REQUESTED: 'requested changes',
  COMMENTED: 'reviewed',
  PENDING: 'has begun a review',
};

function lineComment(context: Context, render: Render, comment: ReviewComment): Markup {
  return html`<div class="line" id="discussion_r${comment.id}">
    <div class="pad note"><code>${comment.path}${comment.line !== null && `:${comment.line}`}</code></div>
    ${comment.inReplyTo === null && diffTable(comment.diffHunk.split('\n').slice(-6).join('\n'))}
    <div class="pad">
      ${person(context.world, comment.author)} <span class="note">${time(context.world, comment.createdAt)}</span>
      <div class="body">${render(comment.body)}</div>
    </div>
  </div>`;
}

function reviewEntry(context: Context, render: Render, review: Review): Entry {
  const lines = context.world.state.reviewComments.filter((one) => one.reviewId === review.id);
  const kind = review.state === 'APPROVED' ? 'success' : review.state === 'CHANGES_REQUESTED' ? 'failure' : 'neutral';
  return {
    at: review.submittedAt,
    id: review.id,
    markup: card({
      anchor: `pullrequestreview-${review.id}`,
      head: html`${person(context.world, review.author)} ${VERDICT[review.state]}
        ${time(context.world, review.submittedAt)}
        <span class="end">${pill(kind, review.state.toLowerCase().replaceAll('_', ' '))}</span>`,
      body: html`${review.body !== '' && html`<div class="pad body">${render(review.body)}</div>`}
      ${lines.map((one) => lineComment(context, render, one))}`,
    }),
  };
}

function checkEntry(repository: Repository, run: CheckRun): Entry {
  return {
    at: run.startedAt ?? run.completedAt ?? '',
    id: run.id,
    markup: html`<p class="event">
      ${checkMark(run)}
      <span
        >Check
        <a href="${repositoryPath(repository)}/runs/${run.id}"><b>${run.name}</b></a>
        ${(run.conclusion ?? run.status).replaceAll('_', ' ')} ${run.title !== null && html`· ${run.title}`} on
        <code>${run.headSha.slice(0, 7)}</code></span
      >
    </p>`,
  };
}

function commitEntry(repository: Repository, commit: CommitInfo): Entry {
  return {
    at: commit.committer.date,
    id: 0,
    markup: html`<p class="event">
      <span class="dot">◆</span>
      <span>
        <a href="${repositoryPath(repository)}/commit/${commit.sha}">${commit.message.split('\n')[0]}</a>
        <code>${commit.sha.slice(0, 7)}</code> by ${commit.author.name}
      </span>
    </p>`,
  };
}

/** Everything after the description, oldest first. */
export async function timeline(context: Context, repository: Repository, thread: Thread): Promise<Markup> {
  const { world } = context;
  const render = markdownFor(repositoryPath(repository));
  const here = <T extends { repoId: number; number: number }>(list: readonly T[]): T[] =>
    list.filter((one) => one.repoId === repository.id && one.number === thread.number);
  const entries = here(world.state.comments).map((one) => commentEntry(context, repository, render, one));
  if (isPull(thread)) {
    const range = `${thread.pull.baseSha}..${thread.pull.headSha}`;
    const commits = await log(repositoryDir(world, repository), [range]);
    const shas = new Set([thread.pull.headSha, ...commits.map((one) => one.sha)]);
    const runs = world.state.checkRuns.filter((one) => one.repoId === repository.id && shas.has(one.headSha));
    entries.push(
      ...commits.map((one) => commitEntry(repository, one)),
      ...runs.map((one) => checkEntry(repository, one)),
      ...here(world.state.reviews).map((one) => reviewEntry(context, render, one)),
    );
  }
  entries.sort((left, right) => left.at.localeCompare(right.at) || left.id - right.id);
  return html`${entries.map((one) => one.markup)}`;
}
