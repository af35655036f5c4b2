/**
 * HTTP/1 requests that the gateway reads: on plain connections and absolute-form ones. Each request is judged alone, however
 * the one before it on the same connection ended; redirects are handed to the client, never followed.
 *
 * Trust: requests come from the hostile sandbox, answers from an upstream that may be hostile too.
 */
import {
  Agent,
  createServer,
  request as startRequest,
  type ClientRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import { Transform, type Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { deny, type Decision } from '../domain/decision.ts';
import { judgeConnect, judgeRequest, type PolicyRule } from '../policy/egress/decide.ts';
import { canonicalAuthority } from '../policy/egress/host.ts';
import { checkHead, incomingHeaders, isDnsOverHttps, outgoingHeaders } from '../policy/egress/http-head.ts';
import { canonicalPath } from '../policy/egress/path.ts';
import { sendDenial } from './answers.ts';
import { printable } from './recorder.ts';
import { SELF, type Services } from './services.ts';
import { asked, type HttpTunnel, type TunnelContext } from './tunnel.ts';

type Shared = Omit<TunnelContext, 'internal' | 'http'> & {
  services: Services;
  onClientError: (error: Error, socket: Duplex) => void;
};
type Denial = Decision & { allow: false };

export interface Forward {
  /** A request on the run's socket itself. */
  request: (request: IncomingMessage, response: ServerResponse) => void;
  /** A plain HTTP connection after CONNECT. */
  tunnel: (tunnel: HttpTunnel) => Promise<void>;
  close: () => void;
}

/** Where the requests of one connection go, and how to get there. */
interface Origin {
  host: string;
  port: number;
  agent: Agent;
}

export function createForward(shared: Shared): Forward {
  const origins = new WeakMap<Duplex, Origin>();
  const server = createServer(
    {
      headersTimeout: shared.limits.headMs,
      requestTimeout: 0,
      keepAliveTimeout: shared.limits.idleMs,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      const origin = origins.get(request.socket);
      if (origin) void forward(shared, { request, response, origin, target: request.url ?? '' });
      else response.destroy();
    },
  );
  server.on('clientError', shared.onClientError);
  server.on('connect', (_request, socket: Duplex) => {
    socket.destroy();
  });

  function tunnel(opened: HttpTunnel): Promise<void> {
    const { client, upstream, opening, host, port } = opened;
    const agent = tunnelAgent(upstream, () => reopen(shared, opened));
    origins.set(client, { host, port, agent });
    client.unshift(opening);
    server.emit('connection', client);
    client.resume();
    return new Promise((resolve) => {
      const over = (): void => {
        agent.destroy();
        upstream.destroy();
        resolve();
      };
      if (client.destroyed) over();
      else client.once('close', over);
    });
  }

  return {
    tunnel,
    request: (request, response) => void direct(shared, request, response),
    close: () => {
      server.closeAllConnections();
    },
  };
}

/** One upstream connection at a time; the one that was dialled for CONNECT first. */
function tunnelAgent(first: Socket | undefined, open: () => Promise<Socket>): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let unused = first;
  agent.createConnection = (_options, callback) => {
    const socket = unused;
    unused = undefined;
    if (socket && !socket.destroyed && socket.readable) return socket;
    open().then(
      (fresh) => callback?.(null, fresh),
      (error: unknown) => callback?.(error as Error, undefined as never),
    );
    return undefined;
  };
  return agent;
}

/** The upstream closed an idle connection: the name is resolved and judged anew. */
async function reopen(shared: Shared, tunnel: { host: string; port: number; allowPrivate: boolean }): Promise<Socket> {
  const target = { host: tunnel.host, port: tunnel.port, allowPrivate: tunnel.allowPrivate };
  const checked = await shared.dialer.check(target);
  if (!checked.decision.allow) throw new Refused(checked.decision);
  const opened = await shared.dialer.open(target, checked.addresses);
  if (!opened) throw new Refused(deny('dialer', 'dial_failed'));
  return opened.socket;
}

class Refused extends Error {
  readonly decision: Denial;
  constructor(decision: Denial) {
    super(decision.reason);
    this.decision = decision;
  }
}

/** Absolute form, or a request to the gateway itself. */
async function direct(shared: Shared, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = request.url ?? '';
  const parts = /^http:\/\/([^/?#]*)(.*)$/is.exec(url);
  const authority = canonicalAuthority(parts?.[1] ?? request.headers.host ?? '', 80);
  if (!authority.ok) return refuse(shared, response, asked(parts?.[1] ?? url), deny('http', authority.reason));
  const { host, port } = authority;
  if (shared.services.hosts.has(host) && port === 80) {
    const head = checkHead(headOf(request), { host, port, defaultPort: 80 });
    if (!head.ok) return refuse(shared, response, { host, port }, deny('http', head.reason));
    if (parts) request.url = parts[2] === '' ? '/' : (parts[2] ?? '/');
    shared.services.answer(host, request, response);
    return;
  }
  if (!parts)
    return refuse(
      shared,
      response,
      { host, port },
      deny('http', 'malformed'),
      `use CONNECT or absolute form; ${SELF} answers for itself`,
    );
  const slot = shared.budget.connection();
  if (!slot.decision.allow) return refuse(shared, response, { host, port }, slot.decision);
  slot.established();
  response.once('close', slot.release);
  const verdict = judgeConnect(shared.policy, host, port);
  if (!verdict.decision.allow) return refuse(shared, response, { host, port }, verdict.decision);
  if (port === 443 || verdict.passThrough)
    return refuse(shared, response, { host, port }, deny(verdict.decision.rule, 'not_tls'));
  const named = await shared.names.answer(host);
  if (!named.decision.allow) return refuse(shared, response, { host, port }, named.decision);
  const agent = tunnelAgent(undefined, () => reopen(shared, { host, port, allowPrivate: verdict.allowPrivate }));
  response.once('close', () => {
    agent.destroy();
  });
  await forward(shared, {
    request,
    response,
    origin: { host, port, agent },
    target: parts[2] === '' ? '/' : (parts[2] ?? '/'),
  });
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  origin: Origin;
  /** In origin form. */
  target: string;
}

/** Judges one request, records it, sends it on, and hands the answer back. Never rejects. */
async function forward(shared: Shared, exchange: Exchange): Promise<void> {
  const { request, response, origin } = exchange;
  const at = { host: origin.host, port: origin.port };
  try {
    const judged = judge(shared, exchange);
    const data = {
      method: printable(request.method ?? '', 20),
      path: printable(exchange.target.split('?')[0] ?? '', 512),
    };
    if (!judged.ok) {
      await refuse(shared, response, at, judged.decision, judged.what, data);
      return;
    }
    await shared.recorder.judged({ type: 'egress.request', ...at, decision: judged.decision, data });
    await exchangeWith(shared, { ...exchange, path: judged.path, rule: judged.rule });
  } catch (error) {
    const decision = error instanceof Refused ? error.decision : deny('upstream', 'dial_failed');
    await refuse(shared, response, at, decision);
  }
}

type Judged =
  | { ok: false; decision: Denial; what?: string }
  | { ok: true; decision: Decision & { allow: true }; path: string; rule: PolicyRule };

function judge(shared: Shared, exchange: Exchange): Judged {
  const { request, origin, target } = exchange;
  const refused = (decision: Denial, what?: string): Judged => ({
    ok: false,
    decision,
    ...(what === undefined ? {} : { what }),
  });
  const head = checkHead(headOf(request), { ...origin, defaultPort: 80 });
  if (!head.ok) return refused(deny('http', head.reason), head.what);
  const path = canonicalPath(target);
  if (!path.ok) return refused(deny('http', 'malformed'), 'path');
  if (isDnsOverHttps(request.rawHeaders, path.path)) return refused(deny('built-in: dns over https', 'not_allowed'));
  const question = { host: origin.host, port: origin.port, method: request.method ?? '', path: path.path };
  const { decision, rule } = judgeRequest(shared.policy, question);
  if (!decision.allow) return refused(decision);
  if (!rule) return refused(deny('default', 'not_allowed'));
  return { ok: true, decision, path: path.path + path.query, rule };
}

async function exchangeWith(shared: Shared, exchange: Exchange & { path: string; rule: PolicyRule }): Promise<void> {
  const { request, response, origin, path, rule } = exchange;
  const at = { host: origin.host, port: origin.port };
  const readOnly = rule.methods?.every((method) => method === 'GET' || method === 'HEAD') ?? false;
  const headers = outgoingHeaders({ rawHeaders: request.rawHeaders, authority: authorityOf(at, 80), readOnly });
  const outgoing = startRequest({
    agent: origin.agent,
    host: origin.host,
    port: origin.port,
    method: request.method,
    path,
    headers,
    setHost: false,
  });
  outgoing.setTimeout(shared.limits.idleMs, () => outgoing.destroy(new Error('idle')));
  response.once('close', () => outgoing.destroy());
  const head = path.length + headers.join('').length;
  const incoming = sendBody(shared, { request, outgoing, host: origin.host, head });
  const answer = await incoming;
  const counted = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      shared.recorder.traffic(at, { in: chunk.length, out: 0 });
      done(null, chunk);
    },
  });
  shared.recorder.traffic(at, { in: 0, out: head });
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage, incomingHeaders(answer.rawHeaders));
  await pipeline(answer, counted, response).catch(() => {
    // The status is out: a cut answer is shown as a cut connection.
    response.destroy();
  });
}

/** Sends the request's body within the byte limits and waits for the head of the answer. */
function sendBody(
  shared: Shared,
  sending: { request: IncomingMessage; outgoing: ClientRequest; host: string; head: number },
): Promise<IncomingMessage> {
  const { request, outgoing, host, head } = sending;
  return new Promise((resolve, reject) => {
    const limited = (): void => {
      const refused = new Refused(deny('limit: bytesOut', 'bytes_limit'));
      outgoing.destroy(refused);
      reject(refused);
    };
    outgoing.once('response', resolve);
    outgoing.once('upgrade', (_answer, socket) => {
      socket.destroy();
      reject(new Refused(deny('http', 'upgrade_not_allowed')));
    });
    outgoing.on('error', reject);
    outgoing.once('close', () => {
      reject(new Error('closed'));
    });
    if (!shared.budget.spend(host, head)) {
      limited();
      return;
    }
    request.on('data', (chunk: Buffer) => {
      if (!shared.budget.spend(host, chunk.length)) limited();
      else if (!outgoing.write(chunk)) request.pause();
    });
    outgoing.on('drain', () => request.resume());
    request.once('end', () => outgoing.end());
    request.once('error', reject);
  });
}

function headOf(request: IncomingMessage): { method: string; version: string; rawHeaders: string[] } {
  return { method: request.method ?? '', version: request.httpVersion, rawHeaders: request.rawHeaders };
}

function authorityOf(at: { host: string; port: number }, defaultPort: number): string {
  return at.port === defaultPort ? at.host : `${at.host}:${at.port}`;
}

async function refuse(
  shared: Shared,
  response: ServerResponse,
  at: { host: string; port: number },
  decision: Denial,
  what?: string,
  data: Record<string, unknown> = {},
): Promise<void> {
  try {
    await shared.recorder.judged({
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
