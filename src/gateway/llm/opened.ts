import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { LlmCall } from '../../policy/llm/judge.ts';
import { CertificateInvalid } from '../tls/handshake.ts';
import type { LlmProvider } from './port.ts';
import { upstreamHeaders, upstreamUrl } from './upstream.ts';
import type { UpstreamRequest } from './upstream.ts';

/** A request whose connection is looked for or opened: not a byte of it is out. */
export interface Opened {
  upstream: ClientRequest;
  abort: AbortController;
  /** As `now` said. */
  at: number;
  /** Before it was sent. */
  failed(): boolean;
}

/** Makes the request; `now` gives monotonic milliseconds. */
export function open(options: {
  call: LlmCall;
  provider: LlmProvider;
  request: UpstreamRequest;
  now: () => number;
  signal: AbortSignal;
}): Opened {
  const { call, provider, request, now, signal } = options;
  const abort = new AbortController();
  const upstream = request(upstreamUrl(provider, call.wire, call.path), {
    method: 'POST',
    headers: upstreamHeaders(provider, call),
    signal: AbortSignal.any([signal, abort.signal]),
  });
  let failed = false;
  // Stays on: whoever waits for the answer is told by listeners of its own.
  upstream.on('error', () => (failed = true));
  return { upstream, abort, at: now(), failed: () => failed };
}

/** `sent`: whether any byte may have reached the provider; `distrust`: what is wrong with its certificate. */
type Reply = { ok: true; response: IncomingMessage } | { ok: false; sent: boolean; distrust?: string };

/** Sends the request. */
export function send(upstream: ClientRequest, body: Buffer): Promise<Reply> {
  return new Promise((resolve) => {
    let sent = false;
    const connected = (socket: Socket): void => {
      const secure = 'secureConnecting' in socket && socket.secureConnecting === true;
      if (!socket.connecting && !secure) sent = true;
      else socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => (sent = true));
    };
    if (upstream.socket) connected(upstream.socket);
    else upstream.once('socket', connected);
    upstream.once('response', (response) => resolve({ ok: true, response }));
    // Stays on: errors after the answer are seen on the answer.
    upstream.on('error', (error) =>
      resolve({ ok: false, sent, ...(error instanceof CertificateInvalid ? { distrust: error.message } : {}) }),
    );
    upstream.once('close', () => resolve({ ok: false, sent }));
    upstream.setHeader('content-length', body.length);
    upstream.end(body);
  });
}
