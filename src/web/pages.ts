/** The run pages as one request handler. Everything below `/runs` is answered here; anything else is somebody else's. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { toRunError } from '../domain/errors.ts';
import { RunId } from '../domain/ids.ts';
import type { RunRecord } from '../run/ports.ts';
import type { Logger } from '../telemetry/log.ts';
import { createAccess, type Access, type AccessMode, type Refusal } from './access.ts';
import { redirect, sendPage, setCookie } from './answer.ts';
import { loadAssets, type Assets } from './assets.ts';
import { serveCheck, serveEvents, serveFile } from './files.ts';
import { html, type Markup } from './html.ts';
import { serveLive, type LiveLimit } from './live.ts';
import { beginLogin, CALLBACK_PATH, finishLogin, logOut, type LoginOptions } from './login.ts';
import type { RunIndex, RunLogs, SealKeys, ShortLived } from './ports.ts';
import { listBody, messageBody, type ListedRun } from './view/list.ts';
import { readFilter } from './view/filter.ts';
import { frame, runBody, runTitle } from './view/page.ts';
import { removedLines } from './view/removed.ts';
import { titleOf, type RunView } from './view/run-view.ts';
import { createWatch, type Watch, type Watched } from './watch.ts';

export interface RunPagesOptions {
  runs: RunIndex;
  logs: RunLogs;
  /** Runs that only this machine knows, newest first: shown where no login is asked for. */
  localRuns?: (limit: number) => Promise<ListedRun[]>;
  mode: AccessMode;
  store: ShortLived;
  linkKey: Buffer;
  /** Where browsers reach this server, without a slash at the end. */
  publicUrl: string;
  /** `https://github.com` and its kin. */
  githubUrl: string;
  /** Public keys in PEM form, to check seals. */
  sealKeys: SealKeys;
  /** First word of a command on GitHub; default `/agent`. */
  prefix?: string;
  log: Logger;
  maxLive?: number;
}

export type RunPages = (request: IncomingMessage, response: ServerResponse) => Promise<boolean>;

/** What the parts of this room share. */
export interface Pages {
  options: RunPagesOptions;
  access: Access;
  assets: Assets;
  watch: Watch;
  live: LiveLimit;
}

export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  url: URL;
}

const LISTED = 100;

/** A handler that answers true when the request was for it. */
export function createRunPages(options: RunPagesOptions): RunPages {
  const { mode, store, linkKey, publicUrl } = options;
  const access = createAccess({ mode, store, linkKey, secure: publicUrl.startsWith('https:') });
  const live = { open: 0, most: options.maxLive ?? 200 };
  const pages: Pages = { options, access, assets: loadAssets(), watch: createWatch(options.logs), live };
  return async (request, response) => {
    const [path = ''] = (request.url ?? '').split('?');
    if (path !== '/runs' && !path.startsWith('/runs/')) return false;
    try {
      await route(pages, { request, response, url: new URL(`http://pages${request.url ?? ''}`) });
    } catch (thrown) {
      const { code, op } = toRunError(thrown, 'web.pages');
      options.log.warn({ code, op }, 'run page failed');
      if (response.headersSent) response.destroy();
      else say(pages, response, 502, 'That did not work', ['It has been logged. Try again in a moment.']);
    }
    return true;
  };
}

async function route(pages: Pages, exchange: Exchange): Promise<void> {
  const { request, response, url } = exchange;
  const path = url.pathname;
  const login: LoginOptions = { access: pages.access, ...pages.options };
  if (path === '/runs/-/logout' && request.method === 'POST') {
    // A form of another site must not sign anybody out.
    if (request.headers['sec-fetch-site'] !== 'same-origin') say(pages, response, 403, 'Not from here', []);
    else await logOut(login, request, response);
    return;
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    say(pages, response, 405, 'Only reading here', []);
    return;
  }
  if (path === '/runs/-/login') return beginLogin(login, url, response);
  if (path === CALLBACK_PATH) {
    if (!(await finishLogin(login, url, exchange)))
      say(pages, response, 400, 'That sign-in is over', [html`<a href="/runs/-/login">Sign in again</a>`]);
    return;
  }
  if (path.startsWith('/runs/-/')) {
    if (!pages.assets.serve(path, response)) say(pages, response, 404, 'Not found', []);
    return;
  }
  if (path === '/runs' || path === '/runs/') return serveList(pages, exchange);
  const [, id = '', rest = ''] = /^\/runs\/([^/]+)(\/[a-z.]+)?$/.exec(path) ?? [];
  const runId = RunId.safeParse(id);
  if (!runId.success) {
    say(pages, response, 404, 'Not found', []);
    return;
  }
  return serveRun(pages, { ...exchange, runId: runId.data, rest });
}

function say(pages: Pages, response: ServerResponse, status: number, title: string, lines: (Markup | string)[]): void {
  const body = messageBody(title, ...lines, html`<a href="/runs">Runs</a>`);
  sendPage(response, status, frame({ title, viewer: undefined, assets: pages.assets.version, body }));
}

function refuse(pages: Pages, { response, url }: Exchange, why: Refusal): void {
  const back = new URLSearchParams({ back: url.pathname.split('/').slice(0, 3).join('/') }).toString();
  switch (why) {
    case 'sign_in': {
      say(pages, response, 401, 'Sign in', [
        'A run is shown to people who may read its repository.',
        html`<a class="button" href="/runs/-/login?${back}">Sign in with GitHub</a>`,
      ]);
      return;
    }
    case 'no_login': {
      say(pages, response, 401, 'Sign-in is not set up', [
        'The operator has not set GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET, so nobody can sign in here.',
        html`The operator can print a link for one run with <code>cofferdam open RUN</code>.`,
      ]);
      return;
    }
    case 'not_local': {
      say(pages, response, 403, 'Only on this machine', [
        'These pages are without login and answer this machine only.',
      ]);
      return;
    }
    case 'not_found': {
      say(pages, response, 404, 'Not found', ['There is no such run, or you may not read its repository.']);
      return;
    }
  }
}

async function serveList(pages: Pages, exchange: Exchange): Promise<void> {
  const { options, access, assets } = pages;
  const admission = await access.list(exchange.request);
  if (!admission.allow) {
    refuse(pages, exchange, admission.why);
    return;
  }
  const records = await options.runs.newest(LISTED);
  const seen = await Promise.all(records.map((record) => admission.sees(record.request.repo)));
  const runs: ListedRun[] = records
    .filter((_, index) => seen[index])
    .map((record) => ({ runId: record.request.runId, record }));
  if (admission.local) {
    const known = new Set(runs.map((run) => run.runId));
    const local = (await options.localRuns?.(LISTED)) ?? [];
    runs.push(...local.filter((run) => !known.has(run.runId)));
  }
  const note = admission.local && html`<p class="quiet">Without login: these pages answer this machine only.</p>`;
  const body = listBody(runs, note);
  sendPage(
    exchange.response,
    200,
    frame({ title: 'Runs · Cofferdam', viewer: admission.viewer, assets: assets.version, body, live: 'poll' }),
  );
}

/** One request about one run that may be seen. */
export interface RunExchange extends Exchange {
  runId: RunId;
  rest: string;
}

async function serveRun(pages: Pages, exchange: RunExchange): Promise<void> {
  const { access, options, watch } = pages;
  const { request, response, url, runId, rest } = exchange;
  const given = url.searchParams.get('ticket');
  if (given !== null) {
    acceptTicket(pages, exchange, given);
    return;
  }
  const record = await options.runs.load(runId);
  const admission = await access.run(request, runId, record?.request.repo);
  if (!admission.allow) {
    refuse(pages, exchange, admission.why);
    return;
  }
  if (rest === '/live') {
    let watched: Watched | null = null;
    const look = async (): Promise<RunView | null> => {
      const now = await options.runs.load(runId);
      if (!(await access.run(request, runId, now?.request.repo)).allow) return null;
      watched = await watch.open(runId);
      return viewOf(pages, exchange, now, watched);
    };
    const changed = (signal: AbortSignal): Promise<void> => watched?.changed(signal) ?? new Promise(() => undefined);
    return serveLive(exchange, { look, changed }, pages.live);
  }
  const watched = await watch.open(runId);
  const removal = watched === null ? ((await options.logs.removed?.(runId)) ?? null) : null;
  if (removal !== null) {
    say(pages, response, 410, 'This record is kept no longer', removedLines(removal));
    return;
  }
  if (record === null && watched === null) {
    refuse(pages, exchange, 'not_found');
    return;
  }
  const view = await viewOf(pages, exchange, record, watched);
  if (rest === '') {
    servePage(pages, exchange, view, admission.viewer);
    return;
  }
  if (watched === null) {
    say(pages, response, 404, 'Not begun', ['This run has no record yet.']);
    return;
  }
  if (rest === '/events') return serveEvents(pages, exchange, watched, titleOf(view));
  if (rest === '/check') return serveCheck(pages, exchange, watched);
  if (!(await serveFile(exchange, watched))) say(pages, response, 404, 'Not found', []);
}

function servePage(
  pages: Pages,
  { response, url, runId }: RunExchange,
  view: RunView,
  viewer: string | undefined,
): void {
  const live = view.over ? undefined : `/runs/${runId}/live${url.search}`;
  const page = frame({ title: runTitle(view), viewer, assets: pages.assets.version, body: runBody(view), live });
  sendPage(response, 200, page);
}

async function viewOf(
  pages: Pages,
  { url, runId }: RunExchange,
  record: RunRecord | null,
  watched: Watched | null,
): Promise<RunView> {
  const waits = record?.state === 'queued';
  const place = waits ? await pages.options.runs.place(runId) : null;
  const seal = watched?.seal() ?? null;
  const ended = record === null ? watched?.story().outline.outcome !== undefined : !waits && record.state !== 'running';
  return {
    runId,
    story: watched?.story(),
    reading: watched?.reading(),
    record,
    ahead: place?.ahead,
    over:
      seal !== null || (record !== null && ended && (watched?.story().outline.outcome === undefined || old(record))),
    seal,
    patch: watched?.patch() ?? null,
    filter: readFilter(url.searchParams),
    githubOrigin: new URL(pages.options.githubUrl).origin,
    prefix: pages.options.prefix ?? '/agent',
  };
}

/** A seal that is not there by now does not come any more. */
const SEAL_MS = 60_000;

function old(record: RunRecord): boolean {
  return Date.now() - Date.parse(record.updatedAt) > SEAL_MS;
}

/** The ticket goes from the address into a cookie, so that it stays in no history. */
function acceptTicket(pages: Pages, { response, runId }: RunExchange, given: string): void {
  const until = pages.access.ticket(runId, given);
  if (until === null) {
    say(pages, response, 403, 'This link is over', [html`Print a new one with <code>cofferdam open ${runId}</code>.`]);
    return;
  }
  const { ticket: name, secure } = pages.access.cookies;
  const seconds = Math.max(1, Math.floor((until - Date.now()) / 1_000));
  redirect(response, `/runs/${runId}`, [setCookie({ name, value: given, path: `/runs/${runId}`, seconds, secure })]);
}
