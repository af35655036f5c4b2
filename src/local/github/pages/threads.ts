/** Issues and pull requests: lists, conversations, and the forms on them. */
import { log } from '../git.ts';
import type { CheckRun, Comment, Repository, Review, ReviewComment, Thread } from '../state.ts';
import { atLeast, findThread, isPull, repositoryDir, roleOf, type PullThread } from '../world.ts';
import { repositoryPath, type Context, type PageReply } from './context.ts';
import { html, type Markup } from './html.ts';
import { markdownFor } from './markdown.ts';
import { actingAs, card, checkMark, diffTable, labelChips, person, pill, reactions, statePill, time } from './parts.ts';

export function may(context: Context, repository: Repository, role: 'read' | 'triage' | 'write'): boolean {
  return atLeast(roleOf(context.world, repository, context.viewer.login), role);
}

export function threadPath(repository: Repository, thread: Thread): string {
  return `${repositoryPath(repository)}/${thread.pull === null ? 'issues' : 'pull'}/${thread.number}`;
}

function row(context: Context, repository: Repository, thread: Thread): Markup {
  const { world } = context;
  const comments = world.state.comments.filter((one) => one.repoId === repository.id && one.number === thread.number);
  return html`<li>
    ${statePill(thread)}
    <div class="grow">
      <a class="title" href="${threadPath(repository, thread)}">${thread.title}</a> ${labelChips(thread.labels)}
      <div class="note">#${thread.number} opened ${time(world, thread.createdAt)} by ${thread.author}</div>
    </div>
    ${comments.length > 0 && html`<span class="note" title="comments">💬 ${comments.length}</span>`}
  </li>`;
}

function newIssueForm(context: Context, repository: Repository): Markup {
  return card({
    head: html`<b>Open an issue</b> <span class="end">${actingAs(context, repository)}</span>`,
    body: html`<form class="stack pad" method="post" action="${repositoryPath(repository)}/issues">
      <div><label for="title">Title</label><input id="title" type="text" name="title" required maxlength="256" /></div>
      <div><label for="body">Description</label><textarea id="body" name="body"></textarea></div>
      <div class="row"><button class="main">Open issue</button></div>
    </form>`,
  });
}

/** All issues or all pull requests of a repository. */
export function listPage(context: Context, repository: Repository, kind: 'issues' | 'pulls'): PageReply {
  const closed = context.url.searchParams.get('state') === 'closed';
  const all = context.world.state.threads
    .filter((one) => one.repoId === repository.id && isPull(one) === (kind === 'pulls'))
    .reverse();
  const shown = all.filter((one) => (one.state === 'closed') === closed);
  const count = (state: string): number => all.filter((one) => one.state === state).length;
  const base = `${repositoryPath(repository)}/${kind}`;
  const head = html`<a href="${base}" ${!closed && html`aria-current="page"`}>${count('open')} open</a> ·
    <a href="${base}?state=closed" ${closed && html`aria-current="page"`}>${count('closed')} closed</a>`;
  const body =
    shown.length === 0
      ? html`<p class="center">Nothing ${closed ? 'closed' : 'open'} here.</p>`
      : html`<ul class="list">
          ${shown.map((thread) => row(context, repository, thread))}
        </ul>`;
  return {
    kind: 'page',
    title: `${kind === 'issues' ? 'Issues' : 'Pull requests'} · ${repository.owner}/${repository.name}`,
    repository,
    tab: kind,
    body: html`${card({ head, body })}
    ${kind === 'issues' && may(context, repository, 'read') && newIssueForm(context, repository)}`,
  };
}

export function titleBlock(repository: Repository, thread: Thread, more?: Markup): Markup {
  return html`<div class="head">
    <h1>${thread.title} <span class="number">#${thread.number}</span></h1>
    ${statePill(thread)}
    <span class="note"
      >${
        thread.pull === null
          ? html`opened by <b>${thread.author}</b>`
          : html`<b>${thread.author}</b> wants to merge <code>${thread.pull.headRef}</code> into
              <code>${thread.pull.baseRef}</code>`
      }</span
    >
    ${more}
  </div>`;
}

interface Entry {
  at: string;
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

function reviewEntry(context: Context, repository: Repository, render: Render, review: Review): Entry {
  const lines = context.world.state.reviewComments.filter((one) => one.reviewId === review.id);
  const kind = review.state === 'APPROVED' ? 'success' : review.state === 'CHANGES_REQUESTED' ? 'failure' : 'neutral';
  return {
    at: review.submittedAt,
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

function checkEntry(context: Context, repository: Repository, run: CheckRun): Entry {
  return {
    at: run.startedAt ?? run.completedAt ?? '',
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

async function commitEntries(context: Context, repository: Repository, thread: PullThread): Promise<Entry[]> {
  const commits = await log(repositoryDir(context.world, repository), [
    `${thread.pull.baseSha}..${thread.pull.headSha}`,
  ]);
  return commits.map((commit) => ({
    at: commit.committer.date,
    markup: html`<p class="event">
      <span class="dot">◆</span>
      <span
        ><a href="${repositoryPath(repository)}/commit/${commit.sha}">${commit.message.split('\n')[0]}</a>
        <code>${commit.sha.slice(0, 7)}</code> by ${commit.author.name}</span
      >
    </p>`,
  }));
}

function commentForm(context: Context, repository: Repository, thread: Thread): Markup {
  const canClose = may(context, repository, 'triage') || thread.author === context.viewer.login;
  const close =
    canClose &&
    thread.pull?.mergedAt == null &&
    html`<button name="do" value="${thread.state === 'open' ? 'close' : 'reopen'}" formnovalidate>
      ${thread.state === 'open' ? 'Close' : 'Reopen'}
    </button>`;
  return card({
    head: html`<b>Add a comment</b> <span class="end">${actingAs(context, repository)}</span>`,
    body: html`<form class="stack pad" method="post" action="${threadPath(repository, thread)}/comment">
      <textarea
        name="body"
        required
        aria-label="Comment"
        placeholder="Markdown works here; /agent … gives a command"
      ></textarea>
      <div class="row">${close} <button class="main" name="do" value="comment">Comment</button></div>
    </form>`,
  });
}

function labelSection(context: Context, repository: Repository, thread: Thread): Markup {
  const path = threadPath(repository, thread);
  const free = repository.labels.filter((one) => !thread.labels.includes(one.name));
  const allowed = may(context, repository, 'triage');
  return html`<section>
    <h2>Labels</h2>
    <div class="labels">
      ${thread.labels.map(
        (name) =>
          html`<span class="label">${name}</span>${
              allowed &&
              html`<form method="post" action="${path}/label">
                <input type="hidden" name="remove" value="${name}" /><button
                  class="bare"
                  title="Remove ${name}"
                  aria-label="Remove ${name}"
                >
                  ✕
                </button>
              </form>`
            }`,
      )}${thread.labels.length === 0 && html`<span class="note">None yet</span>`}
    </div>
    ${
      allowed &&
      html`<form class="row start" method="post" action="${path}/label">
        <input type="text" name="add" list="labels" required placeholder="label" aria-label="Label to add" />
        <datalist id="labels">${free.map((one) => html`<option value="${one.name}"></option>`)}</datalist>
        <button>Add label</button>
      </form>`
    }
  </section>`;
}

function pullSection(context: Context, repository: Repository, thread: PullThread): Markup {
  const runs = context.world.state.checkRuns.filter(
    (one) => one.repoId === repository.id && one.headSha === thread.pull.headSha,
  );
  const actions = thread.state === 'open' && may(context, repository, 'write');
  const path = threadPath(repository, thread);
  return html`<section>
      <h2>Checks</h2>
      ${
        runs.length === 0
          ? html`<span class="note">None on the head commit</span>`
          : runs.map(
              (run) =>
                html`<div>
                  ${checkMark(run)} <a href="${repositoryPath(repository)}/runs/${run.id}">${run.name}</a>
                </div>`,
            )
      }
    </section>
    <section>
      <h2>Reviewers</h2>
      <span class="note">${thread.pull.requestedReviewers.join(', ') || 'Nobody asked'}</span>
    </section>
    ${
      actions &&
      html`<section>
        <h2>Merge</h2>
        <form class="row start" method="post" action="${path}/merge">
          ${
            thread.pull.draft
              ? html`<button name="do" value="ready">Ready for review</button>`
              : html`<button class="main" name="do" value="merge">Merge</button
                  ><button name="do" value="draft">Back to draft</button>`
          }
        </form>
      </section>`
    }`;
}

export function pullTabs(
  repository: Repository,
  thread: PullThread,
  current: 'conversation' | 'commits' | 'files',
): Markup {
  const path = threadPath(repository, thread);
  const entries = [
    ['conversation', path, 'Conversation'],
    ['commits', `${path}/commits`, 'Commits'],
    ['files', `${path}/files`, 'Files changed'],
  ] as const;
  return html`<nav class="inner" aria-label="Pull request">
    <ul class="tabs">
      ${entries.map(
        ([name, to, text]) =>
          html`<li><a href="${to}" ${name === current && html`aria-current="page"`}>${text}</a></li>`,
      )}
    </ul>
  </nav>`;
}

function reviewForm(context: Context, repository: Repository, thread: PullThread): Markup {
  const own = thread.author === context.viewer.login;
  return html`<details class="card">
    <summary class="pad">Review these changes</summary>
    <form class="stack pad" method="post" action="${threadPath(repository, thread)}/review">
      <textarea name="body" aria-label="Review"></textarea>
      <div class="row">
        ${actingAs(context, repository)}
        <button name="state" value="COMMENTED">Comment</button>
        ${!own && html`<button name="state" value="CHANGES_REQUESTED">Request changes</button> <button name="state" value="APPROVED">Approve</button>`}
      </div>
    </form>
  </details>`;
}

/** The conversation of an issue or pull request. */
export async function threadPage(context: Context, repository: Repository, number: number): Promise<PageReply> {
  const { world } = context;
  const thread = findThread(world, repository, number);
  const render = markdownFor(repositoryPath(repository));
  const here = <T extends { repoId: number; number: number }>(list: readonly T[]): T[] =>
    list.filter((one) => one.repoId === repository.id && one.number === number);
  const entries = here(world.state.comments).map((one) => commentEntry(context, repository, render, one));
  if (isPull(thread)) {
    const commits = await commitEntries(context, repository, thread);
    const shas = new Set([
      thread.pull.headSha,
      ...(await log(repositoryDir(world, repository), [`${thread.pull.baseSha}..${thread.pull.headSha}`])).map(
        (one) => one.sha,
      ),
    ]);
    const runs = world.state.checkRuns.filter((one) => one.repoId === repository.id && shas.has(one.headSha));
    entries.push(
      ...commits,
      ...runs.map((one) => checkEntry(context, repository, one)),
      ...here(world.state.reviews).map((one) => reviewEntry(context, repository, render, one)),
    );
  }
  const timeline = entries.sort((left, right) => left.at.localeCompare(right.at));
  const first = card({
    head: html`${person(world, thread.author)} opened this ${time(world, thread.createdAt)}`,
    body: html`<div class="pad body">${render(thread.body)}</div>`,
    foot: reactions(context, repository, { kind: 'issue', id: thread.id }),
  });
  const forms =
    may(context, repository, 'read') &&
    html`${isPull(thread) && thread.state === 'open' && reviewForm(context, repository, thread)}
    ${commentForm(context, repository, thread)}`;
  return {
    kind: 'page',
    title: `${thread.title} · #${thread.number}`,
    repository,
    tab: isPull(thread) ? 'pulls' : 'issues',
    body: html`${titleBlock(repository, thread)} ${isPull(thread) && pullTabs(repository, thread, 'conversation')}
      <div class="columns">
        <div>${first} ${timeline.map((one) => one.markup)} ${forms}</div>
        <aside>
          ${labelSection(context, repository, thread)} ${isPull(thread) && pullSection(context, repository, thread)}
        </aside>
      </div>`,
  };
}
