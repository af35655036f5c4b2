/** One HTTP server on loopback: REST, git, signed addresses, and pages for people. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serveApi, type Api } from './api.ts';
import { parseGitRequest, serveGit } from './smart-http.ts';
import { serveAccessToken } from './oauth.ts';
import { openSigned } from './signed.ts';
import type { World } from './world.ts';

/** First segments that are the API's even without its prefix; no account on GitHub may have these names. */
const API_ROOTS = new Set([
  'repos',
  'repositories',
  'app',
  'apps',
  'installation',
  'user',
  'users',
  'app-manifests',
  'graphql',
  'rate_limit',
  'meta',
]);

/** The API path of a request, or `undefined` when it is for git or a page. */
function apiPath(url: URL, request: IncomingMessage): string | undefined {
  const { pathname } = url;
  if (pathname === '/api/v3' || pathname.startsWith('/api/v3/')) return pathname.slice('/api/v3'.length) || '/';
  if (pathname === '/api/graphql') return '/graphql';
  const root = pathname.split('/')[1] ?? '';
  // A person's browser asks for the page of an App under the same address.
  const wantsPage = root === 'apps' && (request.headers.accept ?? '').includes('text/html');
  return API_ROOTS.has(root) && !wantsPage ? pathname : undefined;
}

function serveSigned(world: World, exchange: { request: IncomingMessage; response: ServerResponse; url: URL }): void {
  const { request, response, url } = exchange;
  // GitHub's signed addresses are on another host, which must never see a token.
  if (request.headers.authorization !== undefined)
    world.violations.push({
      kind: 'credentials',
      where: url.pathname,
      details: 'a credential was sent along with a redirect',
    });
  const id = /^logs\/(\d+)$/.exec(openSigned(world, url) ?? '')?.[1];
  const job = world.state.jobs.find((one) => one.id === Number(id));
  const type = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };
  if (job === undefined) response.writeHead(404, type).end('not found or expired\n');
  else response.writeHead(200, type).end(job.log);
}

export type PageServer = (exchange: { request: IncomingMessage; response: ServerResponse; url: URL }) => Promise<void>;

async function route(
  api: Api,
  pages: PageServer,
  exchange: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const { request, response } = exchange;
  const { world } = api;
  const here = new URL(world.origin);
  const host = (request.headers.host ?? '').toLowerCase();
  // A name of somebody else's that points here (DNS rebinding) gets nothing.
  if (![here.host, `localhost:${here.port}`].includes(host)) {
    response.writeHead(421, { 'content-type': 'text/plain' }).end(`this server is ${here.host}\n`);
    return;
  }
  const target = `${world.origin}${request.url ?? '/'}`; // never `//host`, which would name another one
  if (!URL.canParse(target)) {
    response.writeHead(400, { 'content-type': 'text/plain' }).end('not an address\n');
    return;
  }
  const url = new URL(target);
  const path = apiPath(url, request);
  if (path !== undefined) return serveApi(api, { request, response, url, path });
  const git = parseGitRequest(url);
  if (git !== undefined) return serveGit(world, { request, response, url, git, faults: api.faults });
  if (url.pathname === '/login/oauth/access_token' && request.method === 'POST')
    return serveAccessToken(world, { request, response });
  if (url.pathname.startsWith('/_/signed/')) {
    serveSigned(world, { request, response, url });
    return;
  }
  return pages({ request, response, url });
}

/** Listens on loopback; `port` 0 takes a free one. */
export async function listen(api: Api, pages: PageServer, port: number): Promise<Server> {
  const server = createServer((request, response) => {
    route(api, pages, { request, response }).catch((error: unknown) => {
      // A fault of the stand-in itself must fail the test that caused it.
      const details = error instanceof Error ? (error.stack ?? error.message) : String(error);
      api.world.violations.push({ kind: 'response', where: `${request.method ?? ''} ${request.url ?? ''}`, details });
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' });
      response.end('the stand-in failed\n');
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  api.world.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return server;
}
