/** The REST API: match, authenticate, judge, permit, answer, judge again. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { commentOf } from './rest/issues.ts';
import { actorOf, type Call, type Handler, type Reply } from './rest/call.ts';
import { handlers } from './rest/handlers.ts';
import type { Contract, Match } from './contract.ts';
import { GitHubError } from './errors.ts';
import { takeFault, type Fault } from './faults.ts';
import type { OperationId } from './openapi/operations.ts';
import { checkAccess, needsOf } from './permissions.ts';
import type { Repository } from './state.ts';
import { callerOf, type Caller } from './tokens.ts';
import type { Webhooks } from './webhooks.ts';
import { findRepository, findThread, formerly, now, repositoryById, type World } from './world.ts';

/** One call of the API, without any credential. */
export interface LoggedRequest {
  at: string;
  operationId: OperationId | null;
  method: string;
  path: string;
  params: Record<string, unknown>;
  body: unknown;
  status: number;
  caller: Caller['kind'];
  /** Permissions of the installation token that was used. */
  permissions: Record<string, string> | null;
}

export interface Api {
  world: World;
  contract: Contract;
  webhooks: Webhooks;
  faults: Fault[];
  requests: LoggedRequest[];
}

const BODY_LIMIT = 10 * 1024 * 1024;

export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw new GitHubError(413, 'Request entity too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined;
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw new GitHubError(400, 'Problems parsing JSON');
  }
}

interface Incoming {
  match: Match;
  method: string;
  url: URL;
  headers: Record<string, string>;
  body: unknown;
  caller: Caller;
}

function queryOf(url: URL): Record<string, string | string[]> {
  const query: Record<string, string | string[]> = {};
  for (const key of new Set(url.searchParams.keys())) {
    const values = url.searchParams.getAll(key);
    query[key] = values.length === 1 ? (values[0] ?? '') : values;
  }
  return query;
}

/** Whether the issue or comment of the path belongs to a pull request, which decides on the permission. */
function onPull(world: World, repository: Repository | undefined, path: Record<string, string>): boolean {
  if (repository === undefined) return false;
  try {
    const number = Number(path['issue_number'] ?? commentOf(world, repository, Number(path['comment_id'])).number);
    return findThread(world, repository, number).pull !== null;
  } catch (error) {
    if (error instanceof GitHubError) return false;
    throw error;
  }
}

/** From a former name to the address that stays; a write is to be sent again as it is. */
function redirected({ method, url }: Incoming, repository: Repository): Reply {
  const location = url.href.replace(/\/repos\/[^/]+\/[^/?]+/, `/repositories/${repository.id}`);
  const body = { message: 'Moved Permanently', url: location, documentation_url: 'https://docs.github.com/rest' };
  const raw = { type: 'application/json; charset=utf-8', content: JSON.stringify(body) };
  return { status: method === 'GET' ? 301 : 307, headers: { location }, raw };
}

const SAID = new Set<OperationId>([
  'issues/create-comment',
  'issues/update-comment',
  'reactions/create-for-issue',
  'reactions/create-for-issue-comment',
]);

/** An archived repository takes nothing, a locked conversation nothing that an App says. */
function refuseWrites(world: World, { match, method }: Incoming, repository: Repository | undefined): void {
  if (repository === undefined || method === 'GET') return;
  if (repository.archived === true) throw new GitHubError(403, 'Repository was archived so is read-only.');
  if (!SAID.has(match.operation)) return;
  const { issue_number: number, comment_id: comment } = match.path;
  const { locked } = findThread(
    world,
    repository,
    number === undefined ? commentOf(world, repository, Number(comment)).number : Number(number),
  );
  if (locked === true) throw new GitHubError(403, 'Unable to create comment because issue is locked.');
}

async function perform(api: Api, incoming: Incoming): Promise<Reply> {
  const { world, contract, webhooks } = api;
  const { match, caller, url } = incoming;
  const { owner, repo } = match.path;
  const moved = owner === undefined || repo === undefined ? undefined : formerly(world, owner, repo);
  if (moved !== undefined) return redirected(incoming, moved);
  const repository = owner === undefined || repo === undefined ? undefined : findRepository(world, owner, repo);
  const needs = needsOf(match.operation, onPull(world, repository, match.path));
  checkAccess(world, caller, { needs, repository });
  if (repo !== undefined && repository === undefined) throw new GitHubError(404, 'Not Found');
  const { problems, query, path } = contract.checkRequest(match, { ...incoming, query: queryOf(url) });
  if (problems.length > 0) {
    world.violations.push({ kind: 'request', where: match.operation, details: problems });
    throw new GitHubError(422, `Invalid request.\n\n${JSON.stringify(problems)}`);
  }
  refuseWrites(world, incoming, repository);
  // The description has judged the parts; from here on their types are the generated ones.
  const call = {
    world,
    webhooks,
    caller,
    actor: actorOf(world, caller),
    repository,
    path,
    query,
    body: incoming.body,
    url,
    accept: incoming.headers['accept'] ?? '',
  } as unknown as Call<OperationId>;
  const handler = handlers[match.operation] as Handler<OperationId>;
  const reply = await handler(call);
  if (reply.raw === undefined) {
    const wrong = contract.checkResponse(match.operation, reply.status, asJson(reply.body));
    if (wrong.length > 0) world.violations.push({ kind: 'response', where: match.operation, details: wrong });
  }
  return reply;
}

/** What the client will read: without keys that hold `undefined`; no body counts as null. */
function asJson(body: unknown): unknown {
  return body === undefined ? null : JSON.parse(JSON.stringify(body));
}

function faultReply(fault: Fault): Reply | undefined {
  if (fault.status === undefined) return undefined;
  const body = { message: fault.message ?? 'Server Error', documentation_url: 'https://docs.github.com/rest' };
  return { status: fault.status, body, headers: fault.headers ?? {} };
}

async function performWithFaults(api: Api, incoming: Incoming): Promise<Reply | 'drop'> {
  const fault = takeFault(api.faults, incoming.match.operation);
  if (fault === undefined) return perform(api, incoming);
  if (fault.delayMs !== undefined) await sleep(fault.delayMs);
  const faulty = fault.drop === true ? 'drop' : faultReply(fault);
  if (faulty === undefined) return perform(api, incoming);
  if (fault.afterwards === true) await perform(api, incoming);
  return faulty;
}

function send(response: ServerResponse, reply: Reply): void {
  const headers: Record<string, string> = {
    'x-github-media-type': 'github.v3; format=json',
    'x-github-request-id': randomUUID(),
    'x-ratelimit-limit': '5000',
    'x-ratelimit-remaining': '4999',
    'x-ratelimit-used': '1',
    'x-ratelimit-reset': String(Math.floor(Date.now() / 1000) + 3_600),
    'x-ratelimit-resource': 'core',
    'x-content-type-options': 'nosniff',
    ...reply.headers,
  };
  if (reply.raw !== undefined) {
    response.writeHead(reply.status, { ...headers, 'content-type': reply.raw.type }).end(reply.raw.content);
  } else if (reply.body === undefined) {
    response.writeHead(reply.status, headers).end();
  } else {
    headers['content-type'] = 'application/json; charset=utf-8';
    response.writeHead(reply.status, headers).end(JSON.stringify(reply.body));
  }
}

async function answer(
  api: Api,
  exchange: { request: IncomingMessage; url: URL; path: string },
  log: LoggedRequest,
): Promise<Reply | 'drop'> {
  const { request, url } = exchange;
  const { world, contract } = api;
  const path = exchange.path.replace(/^\/repositories\/(\d+)(?=\/|$)/, (_, id: string) => {
    const { owner, name } = repositoryById(world, Number(id));
    return `/repos/${owner}/${name}`;
  });
  const bytes = await readBody(request, BODY_LIMIT);
  if (path === '/graphql') {
    world.violations.push({ kind: 'graphql', where: `${log.method} ${path}`, details: null });
    throw new GitHubError(501, 'The stand-in has no GraphQL API.');
  }
  const match = contract.match(log.method, path);
  if (match === undefined) {
    world.violations.push({ kind: 'unknown-operation', where: `${log.method} ${path}`, details: null });
    throw new GitHubError(501, `The stand-in has no operation for ${log.method} ${path}.`);
  }
  log.operationId = match.operation;
  log.params = match.path;
  const caller = callerOf(world, request.headers.authorization);
  log.caller = caller.kind;
  log.permissions = caller.kind === 'installation' ? { ...caller.token.permissions } : null;
  log.body = parseJson(bytes);
  const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
  return performWithFaults(api, { match, method: log.method, url, headers, body: log.body, caller });
}

/** Answers one API request; `path` is without the `/api/v3` prefix. */
export async function serveApi(
  api: Api,
  exchange: { request: IncomingMessage; response: ServerResponse; url: URL; path: string },
): Promise<void> {
  const method = exchange.request.method ?? 'GET';
  const log: LoggedRequest = {
    at: now(api.world),
    operationId: null,
    method,
    path: exchange.path,
    params: {},
    body: undefined,
    status: 0,
    caller: 'anonymous',
    permissions: null,
  };
  api.requests.push(log);
  let reply: Reply | 'drop';
  try {
    reply = await answer(api, exchange, log);
  } catch (error) {
    if (!(error instanceof GitHubError)) throw error;
    reply = { status: error.status, body: error.body() };
  }
  if (reply === 'drop') {
    exchange.response.destroy();
    return;
  }
  log.status = reply.status;
  send(exchange.response, reply);
}
