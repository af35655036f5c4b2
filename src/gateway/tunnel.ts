/**
 * CONNECT: one connection from the sandbox to one host. Order: authority, limits, policy, addresses, record, dial, first
 * bytes, server name; only then is a byte of the client sent on.
 *
 * Trust: the client is hostile; its Host header, credentials and forwarding headers decide nothing.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BUILT_IN, deny, type Decision } from '../domain/decision.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import { judgeConnect, type ConnectVerdict } from '../policy/egress/decide.ts';
import { canonicalAuthority, canonicalHost, canonicalPort } from '../policy/egress/host.ts';
import { hasNoBody, type ParsedHead } from '../policy/egress/http-frame.ts';
import { wouldAllow } from '../policy/egress/report.ts';
import { endSocket } from './answers.ts';
import type { Budget } from './budget.ts';
import type { Dialer } from './dialer.ts';
import type { Inflow } from './inflow.ts';
import type { GatewayLimits } from './limits.ts';
import type { Names } from './names.ts';
import { readOpening, type Opening } from './opening.ts';
import { printable, type Destination, type Recorder } from './recorder.ts';
import { relay } from './relay.ts';

export interface TunnelContext {
  policy: EgressPolicy;
  limits: GatewayLimits;
  recorder: Recorder;
  names: Names;
  dialer: Dialer;
  budget: Budget;
  /** Hosts that the gateway answers itself, on port 80. */
  internal: { hosts: ReadonlySet<string>; serve: (socket: Duplex, rest: Buffer, at: Destination) => void };
  /** Serves a connection whose requests are read; takes over both sockets and resolves when they are closed. */
  http: (tunnel: HttpTunnel) => Promise<void>;
}

export interface HttpTunnel extends Destination {
  client: Socket;
  upstream: Socket;
  opening: Buffer;
  allowPrivate: boolean;
  /** The opening is a ClientHello, to be answered by the run's authority. */
  tls: boolean;
}

type Denial = Decision & { allow: false };

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

/** One CONNECT as it arrived. */
export interface ConnectCall {
  head: ParsedHead;
  client: Socket;
  /** Bytes behind the head. */
  rest: Buffer;
}

/** Never rejects: every failure is an answer, a record, and a closed socket. */
export async function handleConnect(context: TunnelContext, call: ConnectCall): Promise<void> {
  const { head, client } = call;
  client.on('error', () => undefined);
  const authority = canonicalAuthority(head.target);
  if (!authority.ok) return refuse(context, client, asked(head.target), deny('connect', authority.reason));
  const to: Destination = { host: authority.host, port: authority.port };
  const problem = headProblem(head, to);
  if (problem) return refuse(context, client, to, deny('connect', problem));
  if (context.internal.hosts.has(to.host)) return internal(context, call, to);
  const slot = context.budget.connection();
  if (!slot.decision.allow) return refuse(context, client, to, slot.decision);
  try {
    await outward(context, call, to, slot.established);
  } catch {
    // The record could not be written, so nothing goes on.
    endSocket(client, deny('audit', 'audit_unavailable'));
  } finally {
    slot.release();
  }
}

/** What a refused authority named, for the record: its port when it has a plain one. */
export function asked(raw: string): Destination {
  const [, host = raw, digits = ''] = /^(.*):(\d{1,5})$/s.exec(raw) ?? [];
  const port = canonicalPort(digits);
  return port === undefined ? { host: printable(raw), port: 0 } : { host: printable(host), port };
}

/** A Host header is not needed, but one that names another host is how two readers are made to disagree; so is a body. */
function headProblem(head: ParsedHead, to: Destination): 'malformed' | 'host_mismatch' | undefined {
  if (!hasNoBody(head)) return 'malformed';
  const hosts = head.rawHeaders.filter(
    (_value, index) => index % 2 === 1 && head.rawHeaders[index - 1]?.toLowerCase() === 'host',
  );
  if (hosts.length === 0) return undefined;
  const named = canonicalAuthority(hosts[0] ?? '', to.port);
  const same = hosts.length === 1 && named.ok && named.host === to.host && named.port === to.port;
  return same ? undefined : 'host_mismatch';
}

async function refuse(context: TunnelContext, client: Duplex, to: Destination, decision: Denial): Promise<void> {
  try {
    await context.recorder.judged({ type: 'egress.connect', ...to, decision });
    endSocket(client, decision, hintFor(to, decision));
  } catch {
    endSocket(client, deny('audit', 'audit_unavailable'));
  }
}

/** The line of policy that would allow it, for what an operator can allow. */
function hintFor(to: Destination, decision: Denial): string | undefined {
  const line = wouldAllow(to, decision);
  return line === undefined ? undefined : `an operator can add to egress.allow: ${line}`;
}

async function internal(context: TunnelContext, call: ConnectCall, to: Destination): Promise<void> {
  const { client, rest } = call;
  if (to.port !== 80) return refuse(context, client, to, deny(BUILT_IN, 'port_not_allowed'));
  client.write(ESTABLISHED);
  context.internal.serve(client, rest, to);
}

async function outward(
  context: TunnelContext,
  call: ConnectCall,
  to: Destination,
  established: () => void,
): Promise<void> {
  const { client, rest } = call;
  const verdict = judgeConnect(context.policy, to.host, to.port);
  if (!verdict.decision.allow) return refuse(context, client, to, verdict.decision);
  // A name that was never asked for is recorded (and counted) before the host's resolver hears of it.
  const named = await context.names.answer(to.host);
  if (!named.decision.allow) return refuse(context, client, to, named.decision);
  const target = { ...to, allowPrivate: verdict.allowPrivate };
  const checked = await context.dialer.check(target);
  if (!checked.decision.allow) return refuse(context, client, to, checked.decision);
  await context.recorder.judged({
    type: 'egress.connect',
    ...to,
    decision: verdict.decision,
    data: { addresses: checked.addresses, tls: verdict.passThrough ? 'passed' : 'terminated' },
  });
  const startedMs = performance.now();
  const upstream = await context.dialer.open(target, checked.addresses, verdict.passThrough);
  if (!upstream) {
    noteUnused(context, to, startedMs, 'dial_failed');
    return refuse(context, client, to, deny(verdict.decision.rule, 'dial_failed'));
  }
  upstream.socket.on('error', () => undefined);
  client.once('close', () => {
    upstream.socket.destroy();
  });
  if (client.destroyed) {
    upstream.socket.destroy();
    noteUnused(context, to, startedMs, 'closed');
    return;
  }
  client.write(ESTABLISHED);
  const opening = await readOpening(client, rest, context.limits.helloMs);
  established();
  await proceed(context, {
    client,
    upstream: upstream.socket,
    inflow: upstream.inflow,
    opening,
    verdict,
    to,
    startedMs,
  });
}

/** The end of a connection that was allowed and took nothing: each allow has one end. */
function noteUnused(context: TunnelContext, to: Destination, startedMs: number, end: string): void {
  const ms = Math.round(performance.now() - startedMs);
  context.recorder.note('egress.end', { ...to, bytesIn: 0, bytesOut: 0, ms, end });
}

interface Opened {
  client: Socket;
  upstream: Socket;
  inflow: Inflow | undefined;
  opening: Opening;
  verdict: ConnectVerdict;
  to: Destination;
  /** As `performance.now()` says. */
  startedMs: number;
}

async function proceed(context: TunnelContext, opened: Opened): Promise<void> {
  const { client, upstream, opening, verdict, to, startedMs } = opened;
  const denial = judgeOpening(opening, to, verdict);
  if (denial) {
    upstream.destroy();
    client.destroy();
    noteUnused(context, to, startedMs, denial === 'closed' ? denial : denial.reason);
    if (denial === 'closed') return;
    const sni = opening.kind === 'tls' && opening.hello.sni !== undefined ? { sni: printable(opening.hello.sni) } : {};
    const what = opening.kind === 'other' ? { what: opening.what } : {};
    await context.recorder.judged({ type: 'egress.tls', ...to, decision: denial, data: { ...sni, ...what } });
    return;
  }
  if (opening.kind !== 'tls' && opening.kind !== 'http') return;
  if (opening.kind === 'tls' && verdict.passThrough) return passThrough(context, { ...opened, bytes: opening.bytes });
  const tls = opening.kind === 'tls';
  await context.http({ ...to, client, upstream, opening: opening.bytes, allowPrivate: verdict.allowPrivate, tls });
}

function judgeOpening(opening: Opening, to: Destination, verdict: ConnectVerdict): Denial | 'closed' | undefined {
  const { rule } = verdict.decision;
  if (opening.kind === 'closed') return 'closed';
  if (opening.kind === 'timeout') return deny(rule, 'timeout');
  if (opening.kind === 'other') return deny(rule, 'not_tls');
  // Port 443 is TLS; a pass-through rule promised that nobody reads, so plain requests are not what it allows.
  if (opening.kind === 'http') return to.port === 443 || verdict.passThrough ? deny(rule, 'not_tls') : undefined;
  if (opening.hello.sni === undefined) return deny(rule, 'sni_missing');
  const named = canonicalHost(opening.hello.sni);
  if (!named.ok || named.host !== to.host) return deny(rule, 'sni_mismatch');
  // Where TLS is terminated the outer name is the only one that is answered.
  return opening.hello.ech && verdict.passThrough ? deny(rule, 'ech_refused') : undefined;
}

async function passThrough(context: TunnelContext, opened: Opened & { bytes: Buffer }): Promise<void> {
  const { client, upstream, inflow, to, startedMs } = opened;
  const end = await relay({
    client,
    upstream: inflow ? { socket: upstream, inflow } : upstream,
    opening: opened.bytes,
    idleMs: context.limits.idleMs,
    spend: (bytes) => context.budget.spend(to.host, bytes),
  });
  context.recorder.traffic(to, { in: end.bytesIn, out: end.bytesOut });
  const data = {
    ...to,
    bytesIn: end.bytesIn,
    bytesOut: end.bytesOut,
    ms: Math.round(performance.now() - startedMs),
    end: end.reason,
  };
  context.recorder.note('egress.end', data);
  if (end.reason === 'bytes_limit') {
    await context.recorder.judged({ type: 'egress.limit', ...to, decision: deny('limit: bytesOut', 'bytes_limit') });
  }
}
