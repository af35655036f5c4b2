/** Every event of a run as it is stored, a page at a time. */
import type { AuditEvent } from '../../domain/audit.ts';
import { html, type Markup } from '../html.ts';
import { clock, count } from './words.ts';

export const EVENTS_PER_PAGE = 200;

export interface EventsPage {
  runId: string;
  title: string;
  query: string;
  page: number;
  events: AuditEvent[];
  /** Events that fit the query before and on this page; more may follow. */
  found: number;
  more: boolean;
}

/** Longest event in a page: a line may have a megabyte. */
const LONGEST = 8_000;

function shown(event: AuditEvent): string {
  const text = JSON.stringify(event, null, 2);
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}\n… the rest is in the audit file`;
}

function row(event: AuditEvent): Markup {
  const { decision } = event;
  const verdict = decision === undefined ? '' : decision.allow ? 'allowed' : 'denied';
  return html`<li class="${event.source} ${verdict}">
    <details data-keep="v${event.seq}">
      <summary>
        <span class="at">${clock(event.mono)}</span> <span class="quiet">${event.seq}</span> <code>${event.type}</code>
        <span class="quiet">${event.zone}${event.source === 'sandbox' && ', a hint from inside'}</span>
        ${decision !== undefined && html`<span class="tag ${decision.allow ? 'good' : 'bad'}">${decision.allow ? 'allowed' : `denied: ${decision.reason}`}</span>`}
      </summary>
      <pre tabindex="0" role="region" aria-label="Event ${event.seq}">${shown(event)}</pre>
    </details>
  </li>`;
}

export function eventsBody({ runId, title, query, page, events, found, more }: EventsPage): Markup {
  const to = (target: number): string =>
    `/runs/${runId}/events?${new URLSearchParams({ ...(query === '' ? {} : { q: query }), page: String(target) }).toString()}`;
  return html`<section class="card" aria-labelledby="title">
    <header>
      <h1 id="title">All events</h1>
      <a class="end" href="/runs/${runId}">${title}</a>
    </header>
    <form class="search" method="get" role="search">
      <label class="for-readers" for="q">Search all events</label>
      <input
        id="q"
        name="q"
        type="search"
        value="${query}"
        placeholder="Type, host, path, hash …"
        maxlength="100"
        autocomplete="off"
      />
      <button>Search</button>
    </form>
    ${
      events.length === 0
        ? html`<p class="quiet pad">Nothing of this kind.</p>`
        : html`<ol class="events">
            ${events.map(row)}
          </ol>`
    }
    <nav class="pager" aria-label="Pages">
      ${page > 1 && html`<a href="${to(page - 1)}">Earlier</a>`}
      <span>${count(found - events.length + 1)} to ${count(found)}${more && ', and more'}</span>
      ${more && html`<a href="${to(page + 1)}">Later</a>`}
    </nav>
  </section>`;
}
