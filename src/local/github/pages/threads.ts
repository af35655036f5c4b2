/** Issues and pull requests: lists, conversations, and the forms on them. */
import type { Repository, Thread } from '../state.ts';
import { atLeast, findThread, isPull, roleOf, type PullThread } from '../world.ts';
import { repositoryPath, type Context, type PageReply } from './context.ts';
import { html, type Markup } from './html.ts';
import { markdownFor } from './markdown.ts';
import { actingAs, card, checkMark, labelChips, person, reactions, statePill, time, titleText } from './parts.ts';
import { timeline } from './timeline.ts';

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
      <a class="title" href="${threadPath(repository, thread)}">${titleText(thread.title)}</a>
      ${labelChips(thread.labels)}
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
    <h1>${titleText(thread.title)} <span class="number">#${thread.number}</span></h1>
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
      <span class="note"
        >${[...thread.pull.requestedReviewers, ...(thread.pull.requestedTeams ?? []).map((slug) => `${repository.owner}/${slug}`)].join(', ') || 'Nobody asked'}</span
      >
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
        <div>${first} ${await timeline(context, repository, thread)} ${forms}</div>
        <aside>
          ${labelSection(context, repository, thread)} ${isPull(thread) && pullSection(context, repository, thread)}
        </aside>
      </div>`,
  };
}
