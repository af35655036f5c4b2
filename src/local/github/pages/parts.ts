/** The small pieces that pages are made of. */
import type { FileChange } from '../git-format.ts';
import {
  reactionContents,
  type CheckRun,
  type ReactionContent,
  type ReactionSubject,
  type Repository,
  type Thread,
} from '../state.ts';
import { findUser, roleOf, type World } from '../world.ts';
import { ago, repositoryPath, written, type Context } from './context.ts';
import { html, type Markup, type Part } from './html.ts';

export function time(world: World, at: string): Markup {
  return html`<time datetime="${at}" title="${written(at)}">${ago(world, at)}</time>`;
}

export function person(world: World, login: string): Markup {
  const user = findUser(world, login);
  const page = user?.type === 'Bot' ? `/apps/${login.replace(/\[bot\]$/, '')}` : `/${login}`;
  return html`<img class="avatar" alt="" src="/_/avatar/${user?.id ?? 0}" /> <a href="${page}"><b>${login}</b></a
    >${user?.type === 'Bot' && html` <span class="tag">bot</span>`}`;
}

export function pill(kind: string, text: string): Markup {
  return html`<span class="pill ${kind}">${text}</span>`;
}

export function statePill(thread: Thread): Markup {
  if (thread.pull?.mergedAt != null) return pill('merged', 'Merged');
  if (thread.state === 'closed') return pill(thread.pull === null ? 'completed' : 'closed', 'Closed');
  return thread.pull?.draft === true ? pill('draft', 'Draft') : pill('open', 'Open');
}

export function labelChips(names: readonly string[]): Markup {
  return html`${names.map((name) => html`<span class="label">${name}</span> `)}`;
}

const EMOJI: Record<ReactionContent, string> = {
  '+1': '👍',
  '-1': '👎',
  laugh: '😄',
  confused: '😕',
  heart: '❤️',
  hooray: '🎉',
  rocket: '🚀',
  eyes: '👀',
};

export function reactions(context: Context, repository: Repository, subject: ReactionSubject): Markup {
  const { world, viewer } = context;
  const all = world.state.reactions.filter((one) => one.subject.kind === subject.kind && one.subject.id === subject.id);
  const shown = reactionContents.flatMap((content) => {
    const mine = all.filter((one) => one.content === content);
    if (mine.length === 0) return [];
    const names = mine.map((one) => one.user).join(', ');
    const own = mine.some((one) => one.user === viewer.login) && 'mine';
    return [
      html`<span class="${own}" title="${names}" aria-label="${content}: ${names}"
        >${EMOJI[content]} ${mine.length}</span
      >`,
    ];
  });
  return html`<div class="reactions">
    ${shown}
    <details>
      <summary aria-label="Add a reaction">☺ +</summary>
      <form method="post" action="${repositoryPath(repository)}/_react">
        <input type="hidden" name="kind" value="${subject.kind}" /><input
          type="hidden"
          name="id"
          value="${subject.id}"
        />
        ${reactionContents.map((content) => html`<button name="content" value="${content}" title="${content}">${EMOJI[content]}</button>`)}
      </form>
    </details>
  </div>`;
}

/** A card with a head and a body; `anchor` is where links to it lead. */
export function card(options: { head?: Part; body: Part; anchor?: string; foot?: Part }): Markup {
  return html`<section class="card" ${options.anchor !== undefined && html`id="${options.anchor}"`}>
    ${options.head !== undefined && html`<header>${options.head}</header>`} ${options.body} ${options.foot}
  </section>`;
}

const MARKS: Record<string, string> = {
  success: '✓',
  failure: '✕',
  timed_out: '⏱',
  action_required: '!',
  cancelled: '⊘',
  neutral: '■',
  skipped: '»',
  in_progress: '●',
  queued: '○',
};

export function checkMark(run: CheckRun): Markup {
  const kind = run.conclusion ?? run.status;
  return html`<span class="dot ${kind}" title="${kind.replaceAll('_', ' ')}">${MARKS[kind] ?? '•'}</span>`;
}

export function counts(files: readonly FileChange[]): Markup {
  const sum = (of: 'additions' | 'deletions'): number => files.reduce((total, file) => total + file[of], 0);
  return html`<span class="plus">+${sum('additions')}</span> <span class="minus">−${sum('deletions')}</span>`;
}

function diffRows(patch: string): Markup[] {
  let left = 0;
  let right = 0;
  return patch.split('\n').map((line) => {
    const header = /^@@ -(\d+)(?:,\d+)? \+(\d+)/.exec(line);
    if (header !== null) {
      left = Number(header[1]);
      right = Number(header[2]);
      return html`<tr class="hunk">
        <td class="n"></td>
        <td class="n"></td>
        <td>${line}</td>
      </tr>`;
    }
    const sign = line.charAt(0);
    if (sign === '+')
      return html`<tr class="add">
        <td class="n"></td>
        <td class="n">${right++}</td>
        <td>${line}</td>
      </tr>`;
    if (sign === '-')
      return html`<tr class="del">
        <td class="n">${left++}</td>
        <td class="n"></td>
        <td>${line}</td>
      </tr>`;
    if (sign === '\\')
      return html`<tr>
        <td class="n"></td>
        <td class="n"></td>
        <td class="faint">${line}</td>
      </tr>`;
    return html`<tr>
      <td class="n">${left++}</td>
      <td class="n">${right++}</td>
      <td>${line}</td>
    </tr>`;
  });
}

export function diffTable(patch: string): Markup {
  return html`<table class="diff">
    <tbody>
      ${diffRows(patch)}
    </tbody>
  </table>`;
}

export function diffOf(files: readonly FileChange[]): Markup {
  if (files.length === 0) return html`<p class="center">No files changed.</p>`;
  return html`${files.map((file) =>
    card({
      anchor: `file-${file.filename}`,
      head: html`<code>${file.previousFilename !== undefined && `${file.previousFilename} → `}${file.filename}</code>
        <span class="tag">${file.status}</span> <span class="end">${counts([file])}</span>`,
      body:
        file.patch === undefined
          ? html`<p class="pad empty">Binary or empty: nothing to show.</p>`
          : diffTable(file.patch),
    }),
  )}`;
}

/** A title, with words in backticks as code: the only markup that titles have. */
export function titleText(title: string): Markup {
  const parts = title.split(/`([^`]+)`/);
  return html`${parts.map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}

/** What the visitor may do here, said beside every form. */
export function actingAs(context: Context, repository: Repository): Markup {
  const role = roleOf(context.world, repository, context.viewer.login);
  return html`<span class="note">as <b>${context.viewer.login}</b> (${role})</span>`;
}
