/**
 * Sends one judged request on and hands its answer back.
 *
 * Trust: the upstream may be hostile; its answer is re-serialised, never followed, and never tells a credential.
 */
import { request as startRequest, type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { deny, UPSTREAM } from '../domain/decision.ts';
import type { PolicyRule } from '../policy/egress/decide.ts';
import { isGithubHost } from '../policy/egress/github.ts';
import { outgoingHeaders } from '../policy/egress/http-head.ts';
import type { Budget } from './budget.ts';
import type { GatewayLimits } from './limits.ts';
import type { Destination, Recorder } from './recorder.ts';
import type { Redirects } from './redirects.ts';
import { freed, scrubText } from './scrub.ts';
import { Refused, type Upstream } from './upstream.ts';

export interface ExchangeContext {
  limits: GatewayLimits;
  recorder: Recorder;
  budget: Budget;
  redirects: Redirects;
  /** Values of credentials by the name that rules give them. */
  credentials: Readonly<Record<string, string>>;
  /** By host, the forms in which they must not come back. */
  secrets: ReadonlyMap<string, readonly string[]>;
}

export interface Origin extends Destination {
  scheme: 'http' | 'https';
  upstream: Upstream;
  /** That came on this connection so far. */
  requests: number;
  /** Bodies of answers, and requests with their heads, as the gateway read them: without what TLS and framing add. */
  bytesIn: number;
  bytesOut: number;
  /** As `performance.now()` says. */
  startedMs: number;
}

export function createOrigin(at: Destination & Pick<Origin, 'scheme' | 'upstream'>): Origin {
  return { ...at, requests: 0, bytesIn: 0, bytesOut: 0, startedMs: performance.now() };
}

/** The end of a connection whose requests were read, as that of one that was passed through. */
export function noteEnd(recorder: Recorder, origin: Origin): void {
  const { host, port, bytesIn, bytesOut, requests, startedMs } = origin;
  const ms = Math.round(performance.now() - startedMs);
  const end = requests === 0 ? 'no_request' : 'ended';
  recorder.note('egress.end', { host, port, bytesIn, bytesOut, requests, ms, end });
}

/** Into the run's summary at once, into the record when the connection ends. */
export function count(recorder: Recorder, origin: Origin, bytes: { in: number; out: number }): void {
  origin.bytesIn += bytes.in;
  origin.bytesOut += bytes.out;
  recorder.traffic(origin, bytes);
}

/** How what a registry has is counted. */
export function resourceOf(at: Destination, path: string): string {
  return `${at.host}:${at.port}${path}`;
}

export interface Outgoing {
  request: IncomingMessage;
  origin: Origin;
  /** Canonical path with its query. */
  path: string;
  rule: PolicyRule;
  /** A WebSocket handshake. */
  upgrade?: boolean;
}

const MAX_ANSWER_HEAD = 65_536;

/** Errors: `Refused` for limits and certificates, anything else for an upstream that failed before its answer began. */
export async function exchange(context: ExchangeContext, outgoing: Outgoing, response: ServerResponse): Promise<void> {
  const { started, forms, head } = start(context, outgoing);
  response.once('close', () => started.destroy());
  const answer = await sendBody(context, { outgoing, started, head });
  const status = answer.statusCode ?? 502;
  if (outgoing.rule.registry !== undefined && status < 400)
    context.budget.registryFound(resourceOf(outgoing.origin, outgoing.path));
  if (status >= 300 && status < 400) context.redirects.offer(outgoing.origin.host, answer.headers.location);
  const { headers, body } = freed(answer, forms, outgoing.request.method);
  response.writeHead(status, scrubText(answer.statusMessage ?? '', forms), headers);
  await handBack(body, response, (bytes) => count(context.recorder, outgoing.origin, { in: bytes, out: 0 }));
}

/** As `exchange`, for a protocol change that a rule allows; resolves with the upstream's side once it has agreed. */
export async function exchangeUpgrade(
  context: ExchangeContext,
  outgoing: Outgoing,
): Promise<{ head: string; socket: Duplex; rest: Buffer }> {
  const { started, head } = start(context, { ...outgoing, upgrade: true });
  return new Promise((resolve, reject) => {
    if (!context.budget.spend(outgoing.origin.host, head)) {
      started.destroy();
      throw new Refused(deny('limit: bytesOut', 'bytes_limit'));
    }
    started.once('close', () => reject(new Error('closed')));
    started.once('upgrade', (answer, socket, rest) => {
      const lines = [`HTTP/1.1 101 Switching Protocols`, 'Connection: Upgrade', 'Upgrade: websocket'];
      for (let at = 0; at < answer.rawHeaders.length; at += 2) {
        const name = answer.rawHeaders[at] ?? '';
        if (/^sec-websocket-/i.test(name)) lines.push(`${name}: ${answer.rawHeaders[at + 1] ?? ''}`);
      }
      resolve({ head: `${lines.join('\r\n')}\r\n\r\n`, socket, rest });
    });
    started.once('response', (answer) => {
      answer.destroy();
      reject(new Refused(deny(UPSTREAM, 'upgrade_not_allowed')));
    });
    started.on('error', reject);
    started.end();
  });
}

function start(
  context: ExchangeContext,
  outgoing: Outgoing,
): { started: ClientRequest; forms: readonly string[]; head: number } {
  const { request, origin, path, rule } = outgoing;
  const credential =
    origin.scheme === 'https' && rule.credential
      ? { name: rule.credential.header, value: context.credentials[rule.credential.valueEnv] ?? '' }
      : undefined;
  const forms = context.secrets.get(origin.host) ?? [];
  const readOnly =
    isGithubHost(origin.host) || (rule.methods?.every((method) => method === 'GET' || method === 'HEAD') ?? false);
  const headers = outgoingHeaders({
    rawHeaders: request.rawHeaders,
    authority: authorityOf(origin),
    readOnly,
    registry: rule.registry,
    ...(credential ? { credential } : {}),
    whole: forms.length > 0,
  });
  if (outgoing.upgrade === true) headers.push('Connection', 'Upgrade', 'Upgrade', 'websocket');
  const started = startRequest({
    agent: origin.upstream.agent,
    host: origin.host,
    port: origin.port,
    method: request.method,
    path,
    headers,
    setHost: false,
    maxHeaderSize: MAX_ANSWER_HEAD,
  });
  started.setTimeout(context.limits.idleMs, () => started.destroy(new Refused(deny(UPSTREAM, 'timeout'))));
  return {
    started,
    forms,
    head: path.length + headers.join('').length,
  };
}

/** Sends the request's body within the byte limits and waits for the head of the answer. */
function sendBody(
  context: ExchangeContext,
  sending: { outgoing: Outgoing; started: ClientRequest; head: number },
): Promise<IncomingMessage> {
  const { outgoing, started, head } = sending;
  const { request, origin } = outgoing;
  return new Promise((resolve, reject) => {
    const spend = (bytes: number): boolean => {
      if (context.budget.spend(origin.host, bytes)) {
        count(context.recorder, origin, { in: 0, out: bytes });
        return true;
      }
      const refused = new Refused(deny('limit: bytesOut', 'bytes_limit'));
      started.destroy(refused);
      reject(refused);
      return false;
    };
    let answered = false;
    started.once('response', (answer) => {
      answered = true;
      // A change of protocol that names none, which nobody asked for either.
      if (answer.statusCode === 101) reject(new Refused(deny(UPSTREAM, 'upgrade_not_allowed')));
      else resolve(answer);
    });
    // Nobody asked for another protocol here.
    started.once('upgrade', (_answer, socket) => {
      socket.destroy();
      reject(new Refused(deny(UPSTREAM, 'upgrade_not_allowed')));
    });
    started.on('error', reject);
    // Not for every answer: an error looks up where it was made.
    started.once('close', () => !answered && reject(new Error('closed')));
    if (!spend(head)) return;
    // It came whole with its head, and nothing is in it: no body.
    if (request.complete && request.readableLength === 0) {
      request.resume();
      started.end();
      return;
    }
    request.on('data', (chunk: Buffer) => {
      if (spend(chunk.length) && !started.write(chunk)) request.pause();
    });
    started.on('drain', () => request.resume());
    request.once('end', () => started.end());
    request.once('error', reject);
  });
}

/** Bytes of an answer that are handed on together at the most. */
const BATCH = 64 * 1024;

/**
 * Resolves when the answer is out or over. By hand: a pipeline for each answer costs more than a small answer does. What
 * arrives in one turn of the event loop goes out in one write: TLS comes in pieces of 16 KiB.
 */
function handBack(body: Readable, response: ServerResponse, counted: (bytes: number) => void): Promise<void> {
  return new Promise((resolve) => {
    // The status is out: a cut answer is shown as a cut connection.
    const cut = (): void => void response.destroy();
    let pieces: Buffer[] = [];
    let bytes = 0;
    const flush = (): void => {
      if (pieces.length === 0) return;
      counted(bytes);
      response.cork();
      const [more = true] = pieces.map((piece) => response.write(piece)).slice(-1);
      response.uncork();
      pieces = [];
      bytes = 0;
      if (!more) body.pause();
    };
    body.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      const first = pieces.push(chunk) === 1;
      if (bytes >= BATCH) flush();
      else if (first) setImmediate(flush);
    });
    response.on('drain', () => body.resume());
    body.once('end', () => {
      flush();
      response.end();
    });
    body.once('error', cut);
    body.once('close', () => {
      if (!body.readableEnded) cut();
    });
    response.once('close', () => {
      body.destroy();
      resolve();
    });
    if (response.closed) resolve();
  });
}

function authorityOf(origin: Origin): string {
  return origin.port === (origin.scheme === 'https' ? 443 : 80) ? origin.host : `${origin.host}:${origin.port}`;
}
