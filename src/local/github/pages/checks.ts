/** The page of a check run, with its buttons. */
import { notFound } from '../errors.ts';
import { appIdentity } from '../json/people.ts';
import type { Annotation, CheckRun, Repository } from '../state.ts';
import { isPull } from '../world.ts';
import { repositoryPath, written, type Context, type PageReply } from './context.ts';
import { html, type Markup } from './html.ts';
import { markdownFor } from './markdown.ts';
import { actingAs, card, checkMark, pill, time } from './parts.ts';
import { may, threadPath } from './threads.ts';

function buttons(context: Context, repository: Repository, run: CheckRun): Markup {
  const allowed = may(context, repository, 'write');
  if (run.status !== 'completed') return html`<p class="note">The buttons appear when the run is completed.</p>`;
  const actions = run.actions.map(
    (one) => html`<button name="action" value="${one.identifier}" title="${one.description}">${one.label}</button>`,
  );
  return html`<form class="row start" method="post" action="${repositoryPath(repository)}/runs/${run.id}">
    ${allowed && actions} ${allowed && html`<button name="rerequest" value="1">Re-run</button>`}
    ${actingAs(context, repository)}
  </form>`;
}

function annotation(one: Annotation): Markup {
  return html`<li>
    <span class="dot ${one.annotation_level === 'failure' ? 'failure' : 'queued'}">●</span>
    <div class="grow">
      <b>${one.title ?? one.annotation_level}</b> <code>${one.path}:${one.start_line}</code>
      <div class="note">${one.message}</div>
    </div>
  </li>`;
}

function facts(context: Context, repository: Repository, run: CheckRun): Markup {
  const pulls = context.world.state.threads.filter(
    (one) => isPull(one) && one.repoId === repository.id && one.pull.headSha === run.headSha,
  );
  return html`<section>
      <h2>Commit</h2>
      <a href="${repositoryPath(repository)}/commit/${run.headSha}"><code>${run.headSha.slice(0, 12)}</code></a>
    </section>
    <section>
      <h2>Pull requests</h2>
      ${pulls.length === 0 && html`<span class="note">None with this head</span>`}${pulls.map(
        (one) => html`<div><a href="${threadPath(repository, one)}">#${one.number} ${one.title}</a></div>`,
      )}
    </section>
    <section>
      <h2>App</h2>
      ${appIdentity(context.world, run.app).name}
    </section>
    <section>
      <h2>Times</h2>
      <div class="note">
        ${run.startedAt !== null && html`started ${written(run.startedAt)}<br />`}${
          run.completedAt !== null && html`completed ${written(run.completedAt)}`
        }
      </div>
    </section>
    ${
      run.detailsUrl !== null &&
      html`<section>
        <h2>Details</h2>
        <a rel="nofollow noopener noreferrer" href="${detailsLink(run.detailsUrl)}">${run.detailsUrl}</a>
      </section>`
    }`;
}

/** Only web addresses become links; the App may have written anything. */
function detailsLink(address: string): string {
  return /^https?:\/\//i.test(address) ? address : '#';
}

export function checkRunPage(context: Context, repository: Repository, id: number): PageReply {
  const run = context.world.state.checkRuns.find((one) => one.repoId === repository.id && one.id === id);
  if (run === undefined) throw notFound();
  const render = markdownFor(repositoryPath(repository));
  const kind = run.conclusion ?? run.status;
  return {
    kind: 'page',
    title: `${run.name} · ${run.headSha.slice(0, 7)}`,
    repository,
    tab: 'pulls',
    body: html`<div class="head">
        <h1>${run.name}${run.title !== null && html`: ${run.title}`}</h1>
        ${pill(kind, kind.replaceAll('_', ' '))}
        <span class="note">${checkMark(run)} ${run.completedAt !== null && time(context.world, run.completedAt)}</span>
      </div>
      <div class="columns">
        <div>
          ${buttons(context, repository, run)}
          ${card({ head: html`<b>Summary</b>`, body: html`<div class="pad body">${render(run.summary)}</div>` })}
          ${run.text !== null && card({ head: html`<b>Details</b>`, body: html`<div class="pad body">${render(run.text)}</div>` })}
          ${
            run.annotations.length > 0 &&
            card({
              head: html`<b>Annotations</b>`,
              body: html`<ul class="list">
                ${run.annotations.map(annotation)}
              </ul>`,
            })
          }
        </div>
        <aside>${facts(context, repository, run)}</aside>
      </div>`,
  };
}
