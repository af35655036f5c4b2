/**
 * HTTP/1 requests that the gateway reads: inside tunnels, plain or with TLS terminated. Each request is judged alone,
 * however the one before it on the same connection ended; redirects are handed to the client, never followed.
 *
 * Trust: requests come from the hostile sandbox, answers from an upstream that may be hostile too.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { deny, UPSTREAM, type Decision } from '../domain/decision.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import { DNS_OVER_HTTPS, judgeRequest, type PolicyRule } from '../policy/egress/decide.ts';
import { GITHUB_API, isGithubHost } from '../policy/egress/github.ts';
import { checkHead, isDnsOverHttps } from '../policy/egress/http-head.ts';
import { canonicalPath } from '../policy/egress/path.ts';
import { untrustedHint } from '../policy/egress/untrusted.ts';
import { endSocket, sendDenial } from './answers.ts';
import type { Dialer } from './dialer.ts';
import {
  count,
  createOrigin,
  exchange,
  exchangeUpgrade,
  noteEnd,
  resourceOf,
  type ExchangeContext,
  type Origin,
} from './exchange.ts';
import { createHttpFront } from './front.ts';
import type { GuardedStream } from './guard.ts';
import { printable, type Destination } from './recorder.ts';
import { relay } from './relay.ts';
import type { RunAuthority } from './tls/authority.ts';
import { answerHandshake } from './tls/handshake.ts';
import type { Trust } from './tls/trust.ts';
import type { HttpTunnel } from './tunnel.ts';
import { createUpstream, Refused } from './upstream.ts';

type Denial = Decision & { allow: false };

export interface ForwardContext extends ExchangeContext {
  policy: EgressPolicy;
  dialer: Dialer;
  authority: RunAuthority;
  /** What upstreams are verified with. */
  trust: Trust;
}

export interface Forward {
  /** The HTTP connection inside an accepted tunnel; takes over both sockets, resolves when they are closed. */
  tunnel: (tunnel: HttpTunnel) => Promise<void>;
  /** One request whose destination was accepted. Never rejects. */
  request: (exchange: Exchange) => Promise<void>;
  close: () => void;
}

export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  origin: Origin;
  /** In origin form. */
  target: string;
}

export function createForward(context: ForwardContext): Forward {
  const origins = new WeakMap<Duplex, Origin>();
  const open = new Set<Origin>();
  const front = createHttpFront({
    limits: context.limits,
    recorder: context.recorder,
    handlers: {
      request: (request, response) => {
        const origin = origins.get(request.socket);
        if (origin) void forwardRequest(context, { request, response, origin, target: request.url ?? '' });
        else response.destroy();
      },
      upgrade: (request, stream, head) => {
        const origin = origins.get(stream);
        if (origin && head.length === 0) void forwardUpgrade(context, { request, stream, origin });
        else stream.destroy();
      },
    },
  });

  async function tunnel(opened: HttpTunnel): Promise<void> {
    const { client, host, port } = opened;
    const upstream = createUpstream({
      target: { host, port, allowPrivate: opened.allowPrivate },
      dialer: context.dialer,
      first: opened.upstream,
      tls: opened.tls ? { trust: context.trust, timeoutMs: context.limits.dialMs } : undefined,
    });
    const closed = new Promise<void>((resolve) => {
      if (client.destroyed) resolve();
      else client.once('close', resolve);
    });
    const origin = createOrigin({ scheme: opened.tls ? 'https' : 'http', host, port, upstream });
    open.add(origin);
    void closed.then(() => {
      upstream.close();
      if (open.delete(origin)) noteEnd(context.recorder, origin);
    });
    const inner = opened.tls ? await terminate(context, opened) : client;
    if (inner) {
      const stream = front.take(inner, opened.tls ? Buffer.alloc(0) : opened.opening, { host, port });
      origins.set(stream, origin);
      // Some clients finish the handshake before they look at the certificate.
      void closed.then(() => {
        if (opened.tls && origin.requests === 0) noteHandshake(context, opened, 'closed without a request');
      });
    }
    await closed;
  }

  function close(): void {
    front.close();
    // Their sockets close only after the run's last record.
    for (const origin of open) noteEnd(context.recorder, origin);
    open.clear();
  }

  return { tunnel, request: (one) => forwardRequest(context, one), close };
}

async function terminate(context: ForwardContext, opened: HttpTunnel): Promise<Duplex | undefined> {
  const { client, opening, host } = opened;
  try {
    const secureContext = await context.authority.contextFor(host);
    return await answerHandshake({ client, opening, context: secureContext, timeoutMs: context.limits.helloMs });
  } catch (error) {
    noteHandshake(context, opened, error instanceof Error && 'code' in error ? String(error.code) : 'not finished');
    client.destroy();
    return undefined;
  }
}

/** A tool that pins certificates, or reads another list of authorities, fails here: the record says what helps. */
function noteHandshake(context: ForwardContext, at: Destination, problem: string): void {
  const { host, port } = at;
  const hint = untrustedHint(context.policy, { host, port });
  context.recorder.note('egress.handshake', { host, port, problem, hint });
}

/** Judges one request, records it, sends it on, and hands the answer back. */
async function forwardRequest(context: ForwardContext, one: Exchange): Promise<void> {
  const { request, response, origin } = one;
  origin.requests += 1;
  const at = { host: origin.host, port: origin.port };
  const data = described(request, one.target);
  try {
    const judged = judge(context, { request, origin, target: one.target, upgrade: false });
    if (!judged.ok) {
      await refuse(context, response, { at, decision: judged.decision, what: judged.what, data });
      return;
    }
    const limit =
      judged.rule.registry === undefined ? undefined : context.budget.mayAskRegistry(resourceOf(at, judged.path));
    if (limit?.allow === false) {
      await refuse(context, response, { at, decision: limit, data });
      return;
    }
    await context.recorder.judged({ type: 'egress.request', ...at, decision: judged.decision, data });
    await exchange(context, { request, origin, path: judged.path, rule: judged.rule }, response);
  } catch (error) {
    // The client went away in the middle: nobody was denied anything.
    if (response.destroyed && !(error instanceof Refused)) {
      context.recorder.note('egress.aborted', { ...at, ...data });
      return;
    }
    const { decision, what } = error instanceof Refused ? error : new Refused(deny(UPSTREAM, 'dial_failed'));
    await refuse(context, response, { at, decision, what, data });
  }
}

async function forwardUpgrade(
  context: ForwardContext,
  one: { request: IncomingMessage; stream: GuardedStream; origin: Origin },
): Promise<void> {
  const { request, stream, origin } = one;
  origin.requests += 1;
  const at = { host: origin.host, port: origin.port };
  const data = described(request, request.url ?? '');
  try {
    const judged = judge(context, { request, origin, target: request.url ?? '', upgrade: true });
    if (!judged.ok) throw new Refused(judged.decision, judged.what);
    await context.recorder.judged({ type: 'egress.upgrade', ...at, decision: judged.decision, data });
    const agreed = await exchangeUpgrade(context, { request, origin, path: judged.path, rule: judged.rule });
    stream.becomeRaw();
    stream.write(agreed.head);
    if (agreed.rest.length > 0) stream.write(agreed.rest);
    const spend = (bytes: number): boolean => context.budget.spend(origin.host, bytes);
    const end = await relay({
      client: stream,
      upstream: agreed.socket,
      opening: Buffer.alloc(0),
      idleMs: context.limits.idleMs,
      spend,
    });
    count(context.recorder, origin, { in: end.bytesIn, out: end.bytesOut });
    if (end.reason === 'bytes_limit')
      await context.recorder.judged({ type: 'egress.limit', ...at, decision: deny('limit: bytesOut', 'bytes_limit') });
  } catch (error) {
    const { decision, what } = error instanceof Refused ? error : new Refused(deny(UPSTREAM, 'dial_failed'));
    const told = { ...data, ...(what === undefined ? {} : { what }) };
    await context.recorder.judged({ type: 'egress.upgrade', ...at, decision, data: told }).catch(() => undefined);
    endSocket(stream, decision, what);
  }
}

type Judged =
  | { ok: false; decision: Denial; what?: string }
  | { ok: true; decision: Decision & { allow: true }; path: string; rule: PolicyRule };

function judge(
  context: ForwardContext,
  one: { request: IncomingMessage; origin: Origin; target: string; upgrade: boolean },
): Judged {
  const { request, origin, target, upgrade } = one;
  const refused = (decision: Denial, what?: string): Judged => ({
    ok: false,
    decision,
    ...(what === undefined ? {} : { what }),
  });
  const { host, port, scheme } = origin;
  const head = checkHead(headOf(request), { host, port, defaultPort: scheme === 'https' ? 443 : 80 });
  if (!head.ok) return refused(deny('http', head.reason), head.what);
  const path = canonicalPath(target);
  if (!path.ok) return refused(deny('http', 'malformed'), 'path');
  if (isDnsOverHttps(request.rawHeaders)) return refused(deny(DNS_OVER_HTTPS, 'not_allowed'));
  const { decision, rule } = judgeRequest(context.policy, {
    host,
    port,
    method: request.method ?? '',
    path: path.path,
    upgrade,
    redirected: context.redirects.has(host, path.path + path.query),
  });
  if (!decision.allow) return refused(decision);
  if (!rule) return refused(deny('default', 'not_allowed'));
  if (rule.redirected === true) context.redirects.use(host, path.path + path.query);
  // No ecosystem's client needs a query to read, so a registry never sees one; nor does GitHub, but for its API's pages.
  const bare = rule.registry !== undefined || (isGithubHost(host) && host !== GITHUB_API && rule.redirected !== true);
  return { ok: true, decision, path: bare ? path.path : path.path + path.query, rule };
}

export function headOf(request: IncomingMessage): { method: string; version: string; rawHeaders: string[] } {
  return { method: request.method ?? '', version: request.httpVersion, rawHeaders: request.rawHeaders };
}

function described(request: IncomingMessage, target: string): Record<string, unknown> {
  return { method: printable(request.method ?? '', 20), path: printable(target.split('?')[0] ?? '', 512) };
}

interface Refusal {
  at: Destination;
  decision: Denial;
  what?: string | undefined;
  data?: Record<string, unknown>;
}

/** Records and answers; when it cannot be recorded the answer says that. */
export async function refuse(
  context: Pick<ExchangeContext, 'recorder'>,
  response: ServerResponse,
  refusal: Refusal,
): Promise<void> {
  const { at, decision, what, data } = refusal;
  try {
    await context.recorder.judged({
      type: 'egress.request',
      ...at,
      decision,
      data: { ...data, ...(what === undefined ? {} : { what }) },
    });
    sendDenial(response, decision, what);
  } catch {
    sendDenial(response, deny('audit', 'audit_unavailable'));
  }
}
