/** Requests on the run's socket itself: to the gateway's own services, and in absolute form to plain HTTP hosts. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { deny } from '../domain/decision.ts';
import { judgeConnect } from '../policy/egress/decide.ts';
import { canonicalAuthority } from '../policy/egress/host.ts';
import { checkHead } from '../policy/egress/http-head.ts';
import { createOrigin, noteEnd } from './exchange.ts';
import { headOf, refuse, type Forward, type ForwardContext } from './forward.ts';
import type { Names } from './names.ts';
import { SELF, type Services } from './services.ts';
import { asked } from './tunnel.ts';
import { createUpstream } from './upstream.ts';

export interface DirectContext extends ForwardContext {
  names: Names;
  services: Services;
  forward: Forward;
}

/** Never rejects. */
export async function handleDirect(
  context: DirectContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = request.url ?? '';
  const parts = /^http:\/\/([^/?#]*)(.*)$/is.exec(url);
  const authority = canonicalAuthority(parts?.[1] ?? request.headers.host ?? '', 80);
  if (!authority.ok) {
    const at = asked(parts?.[1] ?? request.headers.host ?? url);
    return refuse(context, response, { at, decision: deny('http', authority.reason) });
  }
  const at = { host: authority.host, port: authority.port };
  const target = parts === null ? url : parts[2] === '' ? '/' : (parts[2] ?? '/');
  if (context.services.hosts.has(at.host) && at.port === 80) {
    const head = checkHead(headOf(request), { ...at, defaultPort: 80 });
    if (!head.ok) return refuse(context, response, { at, decision: deny('http', head.reason), what: head.what });
    request.url = target;
    context.services.answer(at.host, request, response);
    return;
  }
  if (!parts) {
    const what = `use CONNECT or the absolute form; only ${SELF} and its kin answer for themselves`;
    return refuse(context, response, { at, decision: deny('http', 'malformed'), what });
  }
  await proxied(context, { request, response, at, target });
}

interface Proxied {
  request: IncomingMessage;
  response: ServerResponse;
  at: { host: string; port: number };
  target: string;
}

async function proxied(context: DirectContext, one: Proxied): Promise<void> {
  const { request, response, at, target } = one;
  const slot = context.budget.connection();
  if (!slot.decision.allow) return refuse(context, response, { at, decision: slot.decision });
  slot.established();
  response.once('close', slot.release);
  const verdict = judgeConnect(context.policy, at.host, at.port);
  if (!verdict.decision.allow) return refuse(context, response, { at, decision: verdict.decision });
  // What a rule passes through unread is TLS; so is port 443.
  if (at.port === 443 || verdict.passThrough)
    return refuse(context, response, { at, decision: deny(verdict.decision.rule, 'not_tls') });
  const named = await context.names.answer(at.host).catch(() => undefined);
  if (!named) return refuse(context, response, { at, decision: deny('audit', 'audit_unavailable') });
  if (!named.decision.allow) return refuse(context, response, { at, decision: named.decision });
  const { dialer } = context;
  const upstream = createUpstream({ target: { ...at, allowPrivate: verdict.allowPrivate }, dialer, tls: undefined });
  const origin = createOrigin({ ...at, scheme: 'http', upstream });
  response.once('close', () => {
    upstream.close();
    // It was judged as a request, not as a connection: a refused one is over with its record.
    if (origin.bytesIn + origin.bytesOut > 0) noteEnd(context.recorder, origin);
  });
  await context.forward.request({ request, response, origin, target });
}
