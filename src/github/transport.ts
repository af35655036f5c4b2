/**
 * The only place from which GitHub's API is called.
 *
 * No other host than the configured one is ever spoken to, whatever a library or an answer says, with one exception: a redirect of a
 * GET that GitHub itself names (logs, archives) is followed once, without credentials.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { GitHubError, limitOf } from './failure.ts';
import type { WriteGate } from './writes.ts';

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
  /** Default: the machine's. */
  clock?: Clock | undefined;
}

export interface Clock {
  /** Milliseconds, from anywhere. */
  now(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

const machineClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
};

const ATTEMPTS = 4;
const TIMEOUT_MS = 30_000;
const REDIRECTS = [301, 302, 303, 307, 308];
/** May be sent twice without doing something twice. */
const IDEMPOTENT = ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE'];

/** A write in a repository passes the gate of its installation, when there is one. */
export type Transport = (url: string | URL | Request, init?: RequestInit, gate?: WriteGate) => Promise<Response>;

/** A header of ours, never sent: what the request does adds up, so that it is not repeated when its end is not known. */
export const ONCE = 'x-cofferdam-once';

/** A `fetch` for Octokit: guarded, paced, and patient where that is safe. */
export function createTransport(options: TransportOptions): Transport {
  const base = new URL(`${options.baseUrl.replace(/\/+$/, '')}/`);
  const send = options.fetch ?? globalThis.fetch;
  const clock = options.clock ?? machineClock;
  const pace = createPace(options.writeGapMs, clock);

  /** Counted writes are spaced by the count, over all workers; the others by this process. */
  async function turn(gate: WriteGate | undefined, signal: AbortSignal | undefined): Promise<void> {
    const wait = await gate?.turn(options.writeGapMs);
    if (wait === undefined) await pace();
    else if (wait > 0) await clock.sleep(wait, signal);
  }

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

  return async (input, given = {}, gate) => {
    const { init, adds } = withoutMark(given);
    const signal = init.signal instanceof AbortSignal ? init.signal : undefined;
    const url = new URL(input instanceof Request ? input.url : input);
    if (!within(base, url)) throw foreign(url);
    const method = methodOf(init);
    const mint = /\/app\/installations\/\d+\/access_tokens$/.test(url.pathname);
    const write = method !== 'GET' && method !== 'HEAD' && !mint;
    for (let attempt = 1; ; attempt += 1) {
      if (write) await turn(gate, signal);
      const outcome = await once(url, init).then(
        (response) => response,
        (error: unknown) => ({ error }),
      );
      const limit = 'error' in outcome ? undefined : await limitIn(outcome);
      if (limit !== undefined && write) await gate?.limited(limit);
      const wait = pause({
        outcome,
        limit,
        attempt,
        repeatable: (IDEMPOTENT.includes(method) && !adds) || mint,
        backoffMs: options.backoffMs,
        maxWaitMs: write ? (gate?.patienceMs ?? options.maxWaitMs) : options.maxWaitMs,
      });
      if (wait === undefined || init.signal?.aborted === true) {
        if ('error' in outcome) throw outcome.error;
        return follow(outcome, url, init);
      }
      if (!('error' in outcome)) await outcome.body?.cancel();
      await clock.sleep(wait, signal);
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

/** How long GitHub wants to be left alone; undefined: this answer is no limit. */
async function limitIn(answer: Response): Promise<number | undefined> {
  if (answer.status !== 403 && answer.status !== 429) return undefined;
  const body: unknown = await answer
    .clone()
    .json()
    .catch(() => undefined);
  return limitOf({ status: answer.status, header: (name) => answer.headers.get(name) ?? undefined, body });
}

/** How long to wait before the call is repeated; undefined: it is not. A limit says that nothing was done, so any call may be repeated. */
function pause(call: {
  outcome: Response | { error: unknown };
  limit: number | undefined;
  attempt: number;
  repeatable: boolean;
  backoffMs: number;
  maxWaitMs: number;
}): number | undefined {
  const { outcome, limit, attempt } = call;
  if (attempt >= ATTEMPTS) return undefined;
  const backoff = call.backoffMs * attempt * attempt;
  if ('error' in outcome || outcome.status >= 500) return call.repeatable ? backoff : undefined;
  return limit === undefined || limit > call.maxWaitMs ? undefined : Math.max(limit, backoff);
}

/** Resolves when the next write may begin. */
function createPace(gapMs: number, clock: Clock): () => Promise<void> {
  let tail = Promise.resolve();
  let last = -Infinity;
  return () => {
    tail = tail.then(async () => {
      const wait = last + gapMs - clock.now();
      if (wait > 0) await clock.sleep(wait);
      last = clock.now();
    });
    return tail;
  };
}
