import type { RunRecord } from '../../run/ports.ts';
import { html, type Markup, type Part } from '../html.ts';
import { badge, moment, stepWords } from './words.ts';

/** One line of the list: what the queue knows, or only that there is an audit file. */
export interface ListedRun {
  runId: string;
  record: RunRecord | null;
  /** For runs that the queue does not know. */
  at?: string;
  title?: string;
}

function row({ runId, record, at, title }: ListedRun): Markup {
  const source = record?.request.source;
  const repo = record?.request.repo;
  const state = record?.state ?? 'local';
  const words: Part = source?.title ?? title ?? `Run ${runId}`;
  return html`<li class="run ${state}">
    <span class="state">${record === null ? html`<span class="badge plain">Local</span>` : badge(state)}</span>
    <span class="name"
      ><a href="/runs/${runId}">${words}</a>
      <span class="quiet"
        >${repo !== undefined && html`${repo.owner}/${repo.name} `}${source !== undefined && html`#${source.number} `}${record !== null && html`· ${record.request.actor.login} `}<code
          >${runId}</code
        ></span
      ></span
    >
    <span class="when"
      >${state === 'running' && record !== null && html`<span class="quiet">${stepWords(record.step)}</span> `}${at === undefined ? record !== null && moment(record.request.requestedAt) : moment(at)}</span
    >
  </li>`;
}

export function listBody(runs: readonly ListedRun[], note: Part): Markup {
  return html`<section id="list" data-part aria-labelledby="title">
    <h1 id="title">Runs</h1>
    ${note}
    ${
      runs.length === 0
        ? html`<p class="card pad quiet">No run that you may see.</p>`
        : html`<ol class="card runs">
            ${runs.map(row)}
          </ol>`
    }
  </section>`;
}

/** A page that says one thing. */
export function messageBody(title: string, ...paragraphs: Part[]): Markup {
  return html`<section class="card message">
    <h1>${title}</h1>
    ${paragraphs.map((one) => html`<p>${one}</p>`)}
  </section>`;
}
