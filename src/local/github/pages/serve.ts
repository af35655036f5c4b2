/** Pages for people: routing, who the visitor is, and headers that let nothing in from elsewhere. */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { readBody, type Api } from '../api.ts';
import { GitHubError, notFound } from '../errors.ts';
import type { PageServer } from '../server.ts';
import type { Repository, User } from '../state.ts';
import { findRepository, findUser, type World } from '../world.ts';
import { appPage, deliveriesPage, manifestPage, requestsPage, violationsPage } from './app.ts';
import { authorizeForm, authorizePage } from './authorize.ts';
import { avatar, icon } from './avatar.ts';
import { checkRunPage } from './checks.ts';
import * as code from './code.ts';
import type { Context, PageReply } from './context.ts';
import * as forms from './forms.ts';
import { html } from './html.ts';
import { layout } from './layout.ts';
import { listPage, threadPage } from './threads.ts';

const COOKIE = 'stand-in-user';
const FORM_LIMIT = 1024 * 1024;

type Reply = PageReply | Promise<PageReply>;
type Get = (context: Context, repository: Repository, part: string) => Reply;
type Post = (form: forms.Form, part: string) => Reply;

/** Below `/owner/name`; the part in parentheses is handed on. */
const gets: [RegExp, Get][] = [
  [/^$/, (context, repository) => code.treePage(context, repository)],
  [/^\/(?:tree)\/(.+)$/, (context, repository, rest) => code.treePage(context, repository, rest)],
  [/^\/blob\/(.+)$/, code.blobPage],
  [/^\/raw\/(.+)$/, code.rawPage],
  [/^\/commits$/, (context, repository) => code.commitsPage(context, repository)],
  [/^\/commits\/(.+)$/, (context, repository, ref) => code.commitsPage(context, repository, ref)],
  [/^\/commit\/(\w+)$/, code.commitPage],
  [/^\/compare\/(.+)$/, code.comparePage],
  [/^\/issues$/, (context, repository) => listPage(context, repository, 'issues')],
  [/^\/pulls$/, (context, repository) => listPage(context, repository, 'pulls')],
  [/^\/(?:issues|pull)\/(\d+)$/, (context, repository, number) => threadPage(context, repository, Number(number))],
  [/^\/pull\/(\d+)\/files$/, (context, repository, number) => code.pullFilesPage(context, repository, Number(number))],
  [
    /^\/pull\/(\d+)\/commits$/,
    (context, repository, number) => code.pullCommitsPage(context, repository, Number(number)),
  ],
  [
    /^\/pull\/(\d+)\.(?:diff|patch)$/,
    (context, repository, number) => code.pullDiff(context, repository, Number(number)),
  ],
  [/^\/runs\/(\d+)$/, (context, repository, id) => checkRunPage(context, repository, Number(id))],
];

const posts: [RegExp, Post][] = [
  [/^\/issues$/, (form) => forms.issueForm(form)],
  [/^\/(?:issues|pull)\/(\d+)\/comment$/, (form, number) => forms.commentForm(form, Number(number))],
  [/^\/(?:issues|pull)\/(\d+)\/label$/, (form, number) => forms.labelForm(form, Number(number))],
  [/^\/pull\/(\d+)\/merge$/, (form, number) => forms.mergeForm(form, Number(number))],
  [/^\/pull\/(\d+)\/review$/, (form, number) => forms.reviewForm(form, Number(number))],
  [/^\/runs\/(\d+)$/, (form, id) => forms.runForm(form, Number(id))],
  [/^\/_react$/, (form) => forms.reactForm(form)],
  [/^\/_edit$/, (form) => forms.editForm(form)],
];

/** Who the visitor chose to be; first the cookie, then the first person there is. */
function viewerOf(world: World, request: IncomingMessage): User {
  const cookie = new RegExp(`(?:^|;\\s*)${COOKIE}=([\\w-]+)`).exec(request.headers.cookie ?? '')?.[1];
  const chosen = cookie === undefined ? undefined : findUser(world, cookie);
  const people = world.state.users.filter((one) => one.type === 'User');
  const viewer =
    chosen?.type === 'User' ? chosen : (people.find((one) => one.login !== world.state.app.owner) ?? people[0]);
  return viewer ?? { id: 0, login: world.state.app.owner, name: null, type: 'User' };
}

function decodedPath(url: URL): string {
  try {
    return decodeURIComponent(url.pathname);
  } catch {
    throw notFound();
  }
}

function inRepository<T>(
  context: Context,
  routes: readonly [RegExp, T][],
): { repository: Repository; act: T; part: string } {
  const [, owner = '', name = '', rest = ''] = /^\/([^/]+)\/([^/]+)(\/.*)?$/.exec(decodedPath(context.url)) ?? [];
  const repository = findRepository(context.world, owner, name);
  if (repository === undefined) throw notFound();
  for (const [pattern, act] of routes) {
    const found = pattern.exec(rest.replace(/\/$/, ''));
    if (found !== null) return { repository, act, part: found[1] ?? '' };
  }
  throw notFound();
}

function getPage(context: Context): Reply {
  const path = decodedPath(context.url);
  if (path === '/') return code.indexPage(context);
  if (path === '/login/oauth/authorize') return authorizePage(context);
  if (path === '/_/deliveries') return deliveriesPage(context);
  if (path === '/_/requests') return requestsPage(context);
  if (path === '/_/violations') return violationsPage(context);
  const slug = /^\/apps\/([^/]+)$/.exec(path)?.[1];
  if (slug !== undefined) return appPage(context, slug);
  const login = /^\/([^/]+)$/.exec(path)?.[1];
  if (login !== undefined) {
    const user = findUser(context.world, login);
    if (user === undefined) throw notFound();
    return code.indexPage(context, user.login);
  }
  const { repository, act, part } = inRepository(context, gets);
  return act(context, repository, part);
}

/** A page of somebody else's must not press buttons here: browsers say where a form comes from. */
function checkOrigin(context: Context, request: IncomingMessage): void {
  const site = request.headers['sec-fetch-site'];
  const { origin } = request.headers;
  const own =
    origin === undefined ? site === undefined : URL.canParse(origin) && new URL(origin).host === request.headers.host;
  if (!own || (site !== undefined && site !== 'same-origin'))
    throw new GitHubError(403, 'This form was sent by another site.');
}

async function postPage(context: Context, request: IncomingMessage, response: ServerResponse): Promise<PageReply> {
  const fields = new URLSearchParams((await readBody(request, FORM_LIMIT)).toString());
  const { pathname } = context.url;
  // The one form that comes from elsewhere on purpose; it only shows a page that asks.
  if (/^(?:\/organizations\/[^/]+)?\/settings\/apps\/new$/.test(pathname)) return manifestPage(context, fields);
  checkOrigin(context, request);
  if (pathname === '/_/manifest') return forms.manifestForm(context, fields);
  if (pathname === '/_/authorize') return authorizeForm(context, fields);
  if (pathname === '/_/deliveries') {
    context.api.webhooks.redeliver(Number(fields.get('id')));
    return { kind: 'redirect', to: '/_/deliveries' };
  }
  if (pathname === '/_/as') {
    const login = encodeURIComponent(fields.get('login') ?? '');
    response.setHeader('set-cookie', `${COOKIE}=${login}; Path=/; HttpOnly; SameSite=Strict`);
    const back = fields.get('back') ?? '/';
    return { kind: 'redirect', to: /^\/(?![/\\])/.test(back) ? back : '/' };
  }
  const { repository, act, part } = inRepository(context, posts);
  return act({ context, repository, fields }, part);
}

const HEADERS = {
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

function send(context: Context, response: ServerResponse, reply: PageReply): void {
  switch (reply.kind) {
    case 'redirect':
      response.writeHead(303, { ...HEADERS, location: reply.to }).end();
      return;
    case 'text':
      response.writeHead(200, { ...HEADERS, 'content-type': 'text/plain; charset=utf-8' }).end(reply.content);
      return;
    case 'page': {
      const type = { 'content-type': 'text/html; charset=utf-8' };
      // Browsers hold a form's redirect against this policy too.
      const policy = HEADERS['content-security-policy'].replace(
        "form-action 'self'",
        `form-action 'self' ${reply.leadsTo ?? ''}`.trim(),
      );
      response.writeHead(reply.status ?? 200, { ...HEADERS, ...type, 'content-security-policy': policy });
      response.end(layout(context, reply).text);
    }
  }
}

function errorPage(error: GitHubError): PageReply {
  const why = error.errors?.map((one) => one.message ?? `${one.field ?? one.resource}: ${one.code}`).join('; ') ?? '';
  const body = html`<section class="card center">
    <h1>${error.status === 404 ? 'Not found' : 'That did not work'}</h1>
    <p>${error.message}${why !== '' && `: ${why}`}</p>
    <p><a href="/">All repositories</a></p>
  </section>`;
  return { kind: 'page', status: error.status, title: error.message, body };
}

function assetOf(world: World, path: string, style: Buffer): { type: string; content: string | Buffer } | undefined {
  if (path === '/_/style.css') return { type: 'text/css; charset=utf-8', content: style };
  if (path === '/_/icon.svg') return { type: 'image/svg+xml', content: icon() };
  const face = /^\/_\/avatar\/(\d+)$/.exec(path)?.[1];
  return face === undefined ? undefined : { type: 'image/svg+xml', content: avatar(world, Number(face)) };
}

/** The pages of a stand-in. */
export function createPages(api: Api): PageServer {
  const style = readFileSync(join(import.meta.dirname, 'style.css'));
  const { world } = api;
  return async ({ request, response, url }) => {
    const found = assetOf(world, url.pathname, style);
    if (found !== undefined) {
      response.writeHead(200, { ...HEADERS, 'content-type': found.type }).end(found.content);
      return;
    }
    const context: Context = { api, world, url, viewer: viewerOf(world, request) };
    let reply: PageReply;
    try {
      if (request.method === 'POST') reply = await postPage(context, request, response);
      else if (request.method === 'GET' || request.method === 'HEAD') reply = await getPage(context);
      else throw new GitHubError(405, 'Only GET and POST here.');
    } catch (error) {
      if (!(error instanceof GitHubError)) throw error;
      reply = errorPage(error);
    }
    send(context, response, reply);
  };
}
