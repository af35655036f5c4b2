/*
 * Requests to providers through the gateway's own dialer: the address that was checked is the address that is dialled.
 * A provider's host is the operator's word and may be private. Certificates are always verified.
 */
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { AgentOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dialer } from '../dialer.ts';
import { openHandshake } from '../tls/handshake.ts';
import type { Trust } from '../tls/trust.ts';
import type { UpstreamRequest } from './upstream.ts';

/** A connection that waits longer than this for its next call is closed before the provider closes it under a call. */
const IDLE_MS = 4_000;

export interface Dialled {
  request: UpstreamRequest;
  close(): void;
}

/** `trust`: what providers are verified with. `timeoutMs`: of a TLS handshake. */
export function dialledRequests(options: { dialer: Dialer; trust: Trust; timeoutMs: number }): Dialled {
  const { dialer, trust, timeoutMs } = options;
  const pool: AgentOptions = { keepAlive: true, timeout: IDLE_MS, maxFreeSockets: 8 };
  const plain = new HttpAgent(pool);
  const secure = new HttpsAgent(pool);
  plain.createConnection = connecting(({ host, port }) => dial(dialer, host, port));
  secure.createConnection = connecting(async ({ host, port }) => {
    const socket = await dial(dialer, host, port);
    return await openHandshake({ socket, host, trust, timeoutMs });
  });
  return {
    request: (url, { method, headers, signal }) => {
      const options = { method, headers, signal, agent: url.protocol === 'https:' ? secure : plain };
      // The pool's timeout is for idle connections; how long an answer may take is decided by the caller.
      const request = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options);
      request.once('socket', (socket) => socket.setTimeout(0));
      return request;
    },
    close: () => {
      plain.destroy();
      secure.destroy();
    },
  };
}

interface Where {
  host: string;
  port: number;
}

type Made = (error: Error | null, stream: Duplex) => void;

/** An agent may be given its connection later, through a callback. */
function connecting(open: (where: Where) => Promise<Duplex>): HttpAgent['createConnection'] {
  return (options, callback) => {
    const made: Made = callback ?? ((): void => undefined);
    const host = (options.host ?? '').replace(/^\[|\]$/g, '');
    open({ host, port: Number(options.port) }).then(
      (socket) => made(null, socket),
      (error: unknown) => made(error instanceof Error ? error : new Error('could not connect'), undefined as never),
    );
    return undefined;
  };
}

async function dial(dialer: Dialer, host: string, port: number): Promise<Socket> {
  const target = { host, port, allowPrivate: true };
  const { decision, addresses } = await dialer.check(target);
  if (!decision.allow) throw new Error(`the provider's host ${host} is refused: ${decision.reason}`);
  const opened = await dialer.open(target, addresses);
  if (opened === undefined) throw new Error(`the provider's host ${host} does not answer on port ${port}`);
  const { socket } = opened;
  // The dialer's sockets may stay half open; one that the provider has closed must not wait for another call.
  socket.once('end', () => socket.end());
  return socket;
}
