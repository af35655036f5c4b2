// What a page does more with a script: it follows a run that goes on, filters without loading anew, keeps what was opened.
// Markup comes from this server only, made by the same templates as the page; text of a run is text in it.
import { Idiomorph } from './idiomorph.js';

const policy = globalThis.trustedTypes?.createPolicy('cofferdam', { createHTML: (text) => text });
const main = document.getElementById('main');
const connection = document.getElementById('connection');
let source;

function parse(text) {
  return new DOMParser().parseFromString(policy === undefined ? text : policy.createHTML(text), 'text/html');
}

/** Puts the new part in place of the old one; opened details, focus and places in lists stay. */
function place(fresh) {
  const old = document.getElementById(fresh.id);
  if (old === null) return;
  const list = old.querySelector('[data-follow]');
  const atEnd = list !== null && list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  Idiomorph.morph(old, fresh, {
    ignoreActiveValue: true,
    callbacks: {
      beforeAttributeUpdated: (name, node) => !(name === 'open' && node instanceof HTMLDetailsElement),
    },
  });
  const now = document.getElementById(fresh.id)?.querySelector('[data-follow]');
  if (now != null && atEnd) now.scrollTop = now.scrollHeight;
  localTimes();
}

function say(words, kind) {
  connection.hidden = words === '';
  connection.textContent = words;
  connection.className = `connection ${kind}`;
}

/** In a row, after answers that are no stream: about four minutes, longer than a server takes to start again behind its proxy. */
const MOST_FAILURES = 20;
let again;

function listen(address, failures = 0) {
  clearTimeout(again);
  source?.close();
  source = new EventSource(address);
  const mine = source;
  let failed = failures;
  mine.addEventListener('open', () => {
    failed = 0;
    say('live', 'good');
  });
  mine.addEventListener('error', () => {
    // A browser connects again by itself when the connection broke, and never after an answer such as a proxy's 502.
    const closed = mine.readyState === EventSource.CLOSED;
    if (closed && failed >= MOST_FAILURES) return say('not live: load the page again', 'warn');
    say('connecting again …', 'warn');
    if (closed) again = setTimeout(() => listen(address, failed + 1), Math.min(1000 * 2 ** failed, 15_000));
  });
  mine.addEventListener('part', (event) => {
    const { html, title } = JSON.parse(event.data);
    document.title = title;
    const fresh = parse(html).body.firstElementChild;
    if (fresh !== null) place(fresh);
    ticked = performance.now();
  });
  mine.addEventListener('over', () => {
    mine.close();
    say('', '');
  });
  mine.addEventListener('lost', () => {
    mine.close();
    say('no longer shown to you: load the page again', 'warn');
  });
}

/** Loads an address of this page and puts its parts in place. */
async function load(address, push) {
  const answer = await fetch(address, { headers: { accept: 'text/html' } });
  // A page that looks by itself stays as it is while the server is away; one that may not be seen any more says so.
  if (!answer.ok) return push || answer.status < 500 ? location.assign(address) : undefined;
  const fresh = parse(await answer.text());
  if (push) history.pushState(null, '', address);
  for (const part of fresh.querySelectorAll('[data-part]')) place(part);
  const live = fresh.getElementById('main')?.dataset.live;
  if (live !== undefined && live !== 'poll') listen(live);
}

addEventListener('click', (event) => {
  const link = event.target.closest?.('a[data-soft]');
  if (link == null || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  load(link.href, true)
    .then(() => {
      if (new URL(link.href).hash === '#activity')
        document.getElementById('activity')?.scrollIntoView({ block: 'nearest' });
    })
    .catch(() => location.assign(link.href));
});

addEventListener('submit', (event) => {
  const form = event.target.closest?.('form[data-soft]');
  if (form == null) return;
  event.preventDefault();
  const address = new URL(location.href);
  address.search = new URLSearchParams(new FormData(form)).toString();
  load(address.href, true).catch(() => location.assign(address.href));
});

addEventListener('popstate', () => {
  load(location.href, false).catch(() => location.reload());
});

/** Moments in the reader's own time; the exact one stays in the title. */
function localTimes() {
  for (const time of document.querySelectorAll('time[datetime]')) {
    if (time.dataset.local === time.dateTime) continue;
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
    time.dataset.local = time.dateTime;
  }
}

let ticked = performance.now();
function tick() {
  const clock = document.querySelector('[data-elapsed]');
  if (clock === null) return;
  const seconds = Math.floor((Number(clock.dataset.elapsed) + performance.now() - ticked) / 1000);
  const pad = (value) => String(value).padStart(2, '0');
  const rest = `${pad(Math.floor((seconds % 3600) / 60))}:${pad(seconds % 60)}`;
  clock.textContent = seconds >= 3600 ? `${Math.floor(seconds / 3600)}:${rest}` : rest;
}

localTimes();
const live = main.dataset.live;
if (live === 'poll') setInterval(() => document.hidden || load(location.href, false).catch(() => undefined), 4000);
else if (live !== undefined) {
  listen(live);
  setInterval(tick, 1000);
  const list = document.querySelector('[data-follow]');
  if (list !== null && location.hash === '') list.scrollTop = list.scrollHeight;
}
// What a link names is opened when it is folded.
function unfold() {
  const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
  target?.querySelector('details')?.setAttribute('open', '');
}
addEventListener('hashchange', unfold);
unfold();
