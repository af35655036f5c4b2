/**
 * The only place from which GitHub's API is called.
 *
 * No other host than the configured one is ever spoken to, whatever a library or an answer says, with one exception: a redirect of a
 * GET that GitHub itself names (logs, archives) is followed once, without credentials.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { GitHubError, limitOf } from './failure.ts';

export interface TransportOptions {
  /** `https://api.github.com` or `https://<host>/api/v3`. */
  baseUrl: string;
  fetch?: typeof globalThis.fetch;
  /** Least time between the beginnings of two writes. */
  writeGapMs: number;
  /** First pause before a call is repeated; the next ones are longer. */
  backoffMs: number;
  /** Longest wait that GitHub may ask for before the call fails instead. */
  maxWaitMs: number;
}

const ATTEMPTS = 4;
const TIMEOUT_MS = 30_000;
const REDIRECTS = [301, 302, 303, 307, 308];
/** May be sent twice without doing something twice. */
const IDEMPOTENT = ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE'];

export type Transport = (url: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** A header of ours, never sent: what the request does adds up, so that it is not repeated when its end is not known. */
export const ONCE = 'x-cofferdam-once';

/** A `fetch` for Octokit: guarded, paced, and patient where that is safe. */
export function createTransport(options: TransportOptions): Transport {
  const base = new URL(`${options.baseUrl.replace(/\/+$/, '')}/`);
  const send = options.fetch ?? globalThis.fetch;
  const pace = createPace(options.writeGapMs);

  async function once(url: URL, init: RequestInit): Promise<Response> {
    const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(init.signal instanceof AbortSignal ? [init.signal] : [])];
    return send(url.href, { ...init, redirect: 'manual', signal: AbortSignal.any(signals) });
  }

  async function follow(response: Response, from: URL, init: RequestInit): Promise<Response> {
    const location = response.headers.get('location');
    if (!REDIRECTS.includes(response.status) || location === null) return response;
    await response.body?.cancel();
    const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
    const method = methodOf(init);
    const home = to !== undefined && within(base, to);
    const read = method === 'GET' || method === 'HEAD';
    const sane =
      to !== undefined && (to.protocol === 'https:' || (to.protocol === 'http:' && base.protocol === 'http:'));
    if (!home && !(read && sane)) throw foreign(to);
    const next = await once(to, home ? init : withoutCredentials(init));
    if (REDIRECTS.includes(next.status)) throw foreign(to);
    return next;
  }

  return async (input, given = {}) => {
    const { init, adds } = withoutMark(given);
    const url = new URL(input instanceof Request ? input.url : input);
    if (!within(base, url)) throw foreign(url);
    const method = methodOf(init);
    const mint = /\/app\/installations\/\d+\/access_tokens$/.test(url.pathname);
    for (let attempt = 1; ; attempt += 1) {
      if (method !== 'GET' && method !== 'HEAD' && !mint) await pace();
      const outcome = await once(url, init).then(
        (response) => response,
        (error: unknown) => ({ error }),
      );
      const wait = await pause({
        outcome,
        attempt,
        repeatable: (IDEMPOTENT.includes(method) && !adds) || mint,
        options,
      });
      if (wait === undefined || init.signal?.aborted === true) {
        if ('error' in outcome) throw outcome.error;
        return follow(outcome, url, init);
      }
      if (!('error' in outcome)) await outcome.body?.cancel();
      await sleep(wait, undefined, init.signal instanceof AbortSignal ? { signal: init.signal } : {});
    }
  };
}

function withoutMark(given: RequestInit): { init: RequestInit; adds: boolean } {
  const headers = new Headers(given.headers);
  if (!headers.has(ONCE)) return { init: given, adds: false };
  headers.delete(ONCE);
  return { init: { ...given, headers }, adds: true };
}

function within(base: URL, url: URL): boolean {
  return url.origin === base.origin && url.pathname.startsWith(base.pathname) && url.username === '';
}

function foreign(url: URL | undefined): GitHubError {
  return new GitHubError({ kind: 'foreign_host', op: 'github.transport', detail: url?.host ?? 'no URL' });
}

function methodOf(init: RequestInit): string {
  return (init.method ?? 'GET').toUpperCase();
}

function withoutCredentials(init: RequestInit): RequestInit {
  const headers = new Headers(init.headers);
  for (const name of [...headers.keys()]) if (name !== 'accept' && name !== 'user-agent') headers.delete(name);
  return { ...init, headers };
}

/** How long to wait before the call is repeated; undefined: it is not. A limit says that nothing was done, so any call may be repeated. */
async function pause(call: {
  outcome: Response | { error: unknown };
  attempt: number;
  repeatable: boolean;
  options: TransportOptions;
}): Promise<number | undefined> {
  const { outcome, attempt, options } = call;
  if (attempt >= ATTEMPTS) return undefined;
  const backoff = options.backoffMs * attempt * attempt;
  if ('error' in outcome) return call.repeatable ? backoff : undefined;
  if (outcome.status >= 500) return call.repeatable ? backoff : undefined;
  if (outcome.status !== 403 && outcome.status !== 429) return undefined;
  const body: unknown = await outcome
    .clone()
    .json()
    .catch(() => undefined);
  const wait = limitOf({ status: outcome.status, header: (name) => outcome.headers.get(name) ?? undefined, body });
  return wait === undefined || wait > options.maxWaitMs ? undefined : Math.max(wait, backoff);
}

/** Resolves when the next write may begin. */
function createPace(gapMs: number): () => Promise<void> {
  let tail = Promise.resolve();
  let last = -Infinity;
  return () => {
    tail = tail.then(async () => {
      const wait = last + gapMs - performance.now();
      if (wait > 0) await sleep(wait);
      last = performance.now();
    });
    return tail;
  };
}
