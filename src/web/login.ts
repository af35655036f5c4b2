/** Signing in with GitHub: the App's OAuth web flow with a state that is bound to the browser, and PKCE. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Access } from './access.ts';
import { redirect, setCookie } from './answer.ts';
import type { ShortLived } from './ports.ts';
import { cookie, keyOf, randomId, SESSION_SECONDS } from './sessions.ts';

export const CALLBACK_PATH = '/runs/-/callback';
const LOGIN_SECONDS = 600;

const Pending = z.object({ verifier: z.string(), back: z.string() });

export interface LoginOptions {
  access: Access;
  store: ShortLived;
  /** Where browsers reach this server. */
  publicUrl: string;
}

/** Only the pages of this room are led back to. */
function safeBack(path: string | null): string {
  return path !== null && /^\/runs(?:\/r[0-9a-z]{12})?$/.test(path) ? path : '/runs';
}

/** Sends the browser to GitHub. */
export async function beginLogin(options: LoginOptions, url: URL, response: ServerResponse): Promise<void> {
  const { access, store, publicUrl } = options;
  if (access.mode.kind !== 'github' || access.mode.github === undefined) {
    redirect(response, '/runs');
    return;
  }
  const state = randomId();
  const verifier = randomId();
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const pending = JSON.stringify({ verifier, back: safeBack(url.searchParams.get('back')) });
  await store.put(keyOf('login', state), pending, LOGIN_SECONDS);
  const { login: name, secure } = access.cookies;
  const remember = setCookie({ name, value: state, path: '/', seconds: LOGIN_SECONDS, secure });
  redirect(response, access.mode.github.authorizeUrl({ state, challenge, redirectUrl: publicUrl + CALLBACK_PATH }), [
    remember,
  ]);
}

function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

/** What GitHub sends the browser back with. `false`: it does not belong to a login that this browser began here. */
export async function finishLogin(
  options: LoginOptions,
  url: URL,
  exchange: { request: IncomingMessage; response: ServerResponse },
): Promise<boolean> {
  const { access, store, publicUrl } = options;
  const { mode, cookies } = access;
  const state = url.searchParams.get('state') ?? '';
  const code = url.searchParams.get('code') ?? '';
  const remembered = cookie(exchange.request, cookies.login) ?? '';
  if (mode.kind !== 'github' || mode.github === undefined || state === '' || !same(state, remembered)) return false;
  const pending = await store.take(keyOf('login', state));
  if (pending === null || !/^[A-Za-z0-9_.~-]{1,512}$/.test(code)) return false;
  const { verifier, back } = Pending.parse(JSON.parse(pending));
  const token = await mode.github.exchange({ code, verifier, redirectUrl: publicUrl + CALLBACK_PATH });
  const id = await access.sessions.begin({ token, login: await mode.github.login(token) });
  const { secure } = cookies;
  redirect(exchange.response, back, [
    setCookie({ name: cookies.session, value: id, path: '/', seconds: SESSION_SECONDS, secure }),
    setCookie({ name: cookies.login, value: '', path: '/', seconds: 0, secure }),
  ]);
  return true;
}

/** Ends the session; only for a form of these pages. */
export async function logOut(options: LoginOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { access } = options;
  const id = cookie(request, access.cookies.session);
  if (id !== undefined) await access.sessions.end(id);
  const { session: name, secure } = access.cookies;
  redirect(response, '/runs', [setCookie({ name, value: '', path: '/', seconds: 0, secure })]);
}
