/** What happened, in order. What the host saw and what the agent said are never mixed: each entry says whose word it is. */
import { FIRST_KEPT, type Entry, type EntryKind } from '../../audit/story/activity.ts';
import type { RunStory } from '../../audit/story/story.ts';
import { html, type Markup, type Part } from '../html.ts';
import { FILTERS, filterQuery, inGroup, matches, PER_PAGE, type ActivityFilter } from './filter.ts';
import type { RunView } from './run-view.ts';
import { clock, count, duration, printed, stepWords } from './words.ts';

const KIND: Record<EntryKind, string> = {
  message: 'says',
  thought: 'thinks',
  plan: 'plans',
  tool: 'tool',
  command: 'command',
  model: 'model',
  network: 'network',
  denied: 'denied',
  git: 'git',
  check: 'check',
  publish: 'publish',
  kernel: 'kernel',
  run: 'run',
};
const ICON: Record<Entry['outcome'], [sign: string, words: string]> = {
  none: ['', ''],
  running: ['●', 'under way'],
  ok: ['✓', 'ok'],
  failed: ['✕', 'failed'],
  denied: ['⊘', 'denied'],
};
/** Longest text that is shown without being asked for. */
const SHORT = 1_200;
/** Longest text of one entry in a page; the audit file has all of it. */
const LONGEST = 6_000;
const MAX_MEANWHILE = 12;
const IN_THE_FILE = '(what was said here is in the audit file only)';

function middleOut(text: string): string {
  if (text.length <= LONGEST) return text;
  const head = text.slice(0, LONGEST / 3);
  return `${head}\n… ${count(text.length - LONGEST)} characters are in the audit file only …\n${text.slice((-LONGEST * 2) / 3)}`;
}

function took(entry: Entry): string {
  return entry.to === undefined || entry.count > 1 ? '' : duration(entry.to - entry.from);
}

function isProse(entry: Entry): boolean {
  return entry.kind === 'message' || entry.kind === 'thought' || entry.kind === 'plan';
}

/** What the host saw while a tool call of the agent was under way. */
function meanwhile(story: RunStory, entry: Entry): Entry[] {
  if (entry.kind !== 'tool' || entry.to === undefined) return [];
  const seen: Entry[] = [];
  // Entries are in order of their beginning.
  const { entries } = story.activity;
  for (let index = entries.indexOf(entry) + 1; index < entries.length && seen.length < MAX_MEANWHILE; index += 1) {
    const one = entries[index];
    if (one === undefined || one.from > entry.to) break;
    if (one.voice === 'host' && one.kind !== 'run') seen.push(one);
  }
  return seen;
}

/** Names and commands are shown as code, sentences as such. */
const SENTENCES: readonly EntryKind[] = ['run', 'publish', 'check'];

function title(entry: Entry): Markup {
  const [sign, words] = ICON[entry.outcome];
  const sentence = SENTENCES.includes(entry.kind) && entry.role === undefined;
  return html`${sign !== '' && html`<span class="icon ${entry.outcome}" aria-hidden="true">${sign}</span><span class="for-readers">${words}</span> `}${sentence ? html`<span>${entry.title}</span>` : html`<code>${entry.title}</code>`}${entry.count > 1 && html` <span class="times">${count(entry.count)} ×</span>`}${entry.role === 'verify' && html` <span class="tag">second sandbox</span>`}`;
}

function insides(story: RunStory, entry: Entry): Markup {
  const seen = meanwhile(story, entry);
  const text = middleOut(printed(entry.text ?? ''));
  const input = middleOut(printed(entry.input ?? ''));
  return html`<dl class="facts">
      ${entry.details.map(
        ([name, value]) =>
          html`<div>
            <dt>${name}</dt>
            <dd><code>${value}</code></dd>
          </div>`,
      )}
    </dl>
    ${input !== '' && [html`<p class="quiet">Given</p>`, html`<pre tabindex="0" role="region" aria-label="Given">${input}</pre>`]}
    ${text !== '' && [input !== '' && html`<p class="quiet">Gave</p>`, html`<pre tabindex="0" role="region" aria-label="Output">${text}</pre>`]}
    ${entry.cut === true && html`<p class="quiet">What it said or printed is in the audit file only.</p>`}
    ${
      seen.length > 0 &&
      html`<p class="quiet">Meanwhile the host saw</p>
        <ul class="meanwhile">
          ${seen.map((one) => html`<li class="${one.kind}">${KIND[one.kind]} ${title(one)}</li>`)}
        </ul>`
    }`;
}

function body(story: RunStory, entry: Entry): Markup {
  if (isProse(entry)) {
    const text = middleOut(printed(entry.text ?? (entry.cut === true ? IN_THE_FILE : '')));
    if (text.length <= SHORT) return html`<p class="prose">${text}</p>`;
    return html`<details data-keep="e${entry.seq}">
      <summary><span class="prose">${text.slice(0, SHORT)}…</span></summary>
      <p class="prose">${text}</p>
    </details>`;
  }
  if (entry.details.length === 0 && (entry.text ?? '') === '' && entry.input === undefined)
    return html`<p>${title(entry)}</p>`;
  return html`<details data-keep="e${entry.seq}">
    <summary>${title(entry)}</summary>
    ${insides(story, entry)}
  </details>`;
}

function item(story: RunStory, entry: Entry): Markup {
  return html`<li id="e${entry.seq}" class="entry ${entry.voice} ${entry.kind} ${entry.outcome}">
    <a class="at" href="#e${entry.seq}" aria-label="at ${clock(entry.from)}">${clock(entry.from)}</a>
    <span class="kind"
      >${entry.voice === 'agent' && html`<span class="for-readers">agent </span>`}${KIND[entry.kind]}</span
    >
    <div class="what">${body(story, entry)}</div>
    <span class="took">${took(entry)}</span>
  </li>`;
}

/** Entries with the headings of the steps in which they happened. */
function items(story: RunStory, shown: readonly Entry[]): Part[] {
  let current = '';
  return shown.flatMap((entry) => {
    const step = story.steps.findLast((one) => one.from <= entry.from);
    const name = step === undefined ? '' : `${step.name}@${step.from}`;
    if (name === current || step === undefined) return [item(story, entry)];
    current = name;
    return [
      html`<li id="s${Math.round(step.from)}-${step.name}" class="mark"><h3>${stepWords(step.name)}</h3></li>`,
      item(story, entry),
    ];
  });
}

function tabs(entries: readonly Entry[], filter: ActivityFilter): Markup {
  return html`<nav class="filters" aria-label="Filter">
    ${FILTERS.map(([show, words]) => {
      const amount = entries.reduce((sum, entry) => sum + (inGroup(entry, show) ? 1 : 0), 0);
      const href = `?${new URLSearchParams({ show, ...(filter.query === '' ? {} : { q: filter.query }) }).toString()}#activity`;
      return html`<a href="${href}" data-soft ${show === filter.show && html`aria-current="true"`}
        >${words} <span class="amount">${count(amount)}</span></a
      >`;
    })}
  </nav>`;
}

function pager(filter: ActivityFilter, page: number, pages: number): Markup | false {
  if (pages <= 1) return false;
  const to = (target: number, words: string): Markup =>
    html`<a href="${filterQuery({ ...filter, page: target })}#activity" data-soft>${words}</a>`;
  return html`<nav class="pager" aria-label="Pages">
    ${page > 1 && [to(1, 'First'), ' ', to(page - 1, 'Earlier')]}
    <span>page ${count(page)} of ${count(pages)}</span>
    ${page < pages && [to(page + 1, 'Later'), ' ', to(pages, 'Newest')]}
  </nav>`;
}

export function activityPart(view: RunView): Markup {
  const { story, filter, over } = view;
  const entries = story?.activity.entries ?? [];
  const found =
    filter.show === 'all' && filter.query === '' ? entries : entries.filter((entry) => matches(entry, filter));
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  const page = Math.min(pages, filter.page ?? (over ? 1 : pages));
  const shown = found.slice((page - 1) * PER_PAGE, page * PER_PAGE);
  const dropped = story?.activity.dropped ?? 0;
  return html`<section id="activity" data-part class="card" aria-labelledby="activity-title">
    <header>
      <h2 id="activity-title">Activity</h2>
      <span class="legend"
        ><span class="key host"></span>seen by the host <span class="key agent"></span>said by the agent</span
      >
    </header>
    ${tabs(entries, filter)}
    <form class="search" method="get" role="search" data-soft>
      ${filter.show !== 'all' && html`<input type="hidden" name="show" value="${filter.show}" />`}
      <label class="for-readers" for="q">Search the activity</label>
      <input
        id="q"
        name="q"
        type="search"
        value="${filter.query}"
        placeholder="Search the activity"
        autocomplete="off"
        maxlength="100"
      />
      <button>Search</button>
    </form>
    ${
      found.length === 0
        ? html`<p class="quiet pad">${entries.length === 0 ? 'Nothing has happened yet.' : 'Nothing of this kind.'}</p>`
        : html`<ol class="entries" tabindex="0" aria-label="Activity" ${!over && html`data-follow`}>
            ${story !== undefined && items(story, shown)}
          </ol>`
    }
    ${pager(filter, page, pages)}
    ${dropped > 0 && html`<p class="quiet pad">${count(dropped)} entries after the first ${count(FIRST_KEPT)} are in the audit file only.</p>`}
  </section>`;
}
