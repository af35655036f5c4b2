/** What a handler of one operation gets and gives. Requests have passed GitHub's description when a handler sees them. */
import type { BodyOf, PathOf, QueryOf } from '../openapi/types.ts';
import type { OperationId } from '../openapi/operations.ts';
import type { Repository } from '../state.ts';
import type { Caller } from '../tokens.ts';
import type { Webhooks } from '../webhooks.ts';
import type { Actor } from '../acts/threads.ts';
import { botLogin, type World } from '../world.ts';

export interface Call<Id extends OperationId> {
  world: World;
  webhooks: Webhooks;
  caller: Caller;
  /** The person or bot that acts. */
  actor: Actor;
  /** The repository of the path; operations without one never look at it. */
  repository: Repository;
  path: PathOf<Id>;
  query: QueryOf<Id>;
  body: BodyOf<Id>;
  /** The whole address as the client sees it, for links to other pages. */
  url: URL;
  accept: string;
}

export interface Reply {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
  /** For media types other than JSON; not checked against the description. */
  raw?: { type: string; content: string | Buffer };
}

export type Handler<Id extends OperationId> = (call: Call<Id>) => Reply | Promise<Reply>;
export type Handlers = { [Id in OperationId]: Handler<Id> };

export function ok(body: unknown): Reply {
  return { status: 200, body };
}

export function created(body: unknown, location?: string): Reply {
  return { status: 201, body, ...(location === undefined ? {} : { headers: { location } }) };
}

export const NO_CONTENT: Reply = { status: 204 };

export function actorOf(world: World, caller: Caller): Actor {
  return caller.kind === 'user' ? { login: caller.login, viaApp: false } : { login: botLogin(world), viaApp: true };
}

/** The slug of the App whose checks the caller writes. */
export function appOf(world: World): string {
  return world.state.app.slug;
}

interface Paged {
  url: URL;
  query: object;
}

function numberIn(query: object, name: string, fallback: number): number {
  const value: unknown = (query as Record<string, unknown>)[name];
  return typeof value === 'number' && value > 0 ? value : fallback;
}

function linkTo(url: URL, page: number, rel: string): string {
  const target = new URL(url);
  target.searchParams.set('page', String(page));
  return `<${target.href}>; rel="${rel}"`;
}

/** One page of a list with GitHub's `Link` header; `render` is only called for what is shown. */
export async function paged<T>(call: Paged, items: readonly T[], render: (item: T) => unknown): Promise<Reply> {
  const { slice, headers } = pageOf(call, items);
  return { status: 200, body: await Promise.all(slice.map(render)), headers };
}

/** The same for lists that come as an object with a total. */
export async function pagedIn<T>(
  call: Paged,
  list: { name: string; items: readonly T[]; render: (item: T) => unknown; more?: Record<string, unknown> },
): Promise<Reply> {
  const { slice, headers } = pageOf(call, list.items);
  const body = { total_count: list.items.length, ...list.more, [list.name]: await Promise.all(slice.map(list.render)) };
  return { status: 200, body, headers };
}

function pageOf<T>(call: Paged, items: readonly T[]): { slice: T[]; headers: Record<string, string> } {
  const size = Math.min(numberIn(call.query, 'per_page', 30), 100);
  const page = numberIn(call.query, 'page', 1);
  const last = Math.max(1, Math.ceil(items.length / size));
  const links: string[] = [];
  if (page > 1) links.push(linkTo(call.url, page - 1, 'prev'));
  if (page < last) links.push(linkTo(call.url, page + 1, 'next'), linkTo(call.url, last, 'last'));
  if (page > 1) links.push(linkTo(call.url, 1, 'first'));
  const slice = items.slice((page - 1) * size, page * size);
  return { slice, headers: links.length === 0 ? {} : { link: links.join(', ') } };
}
