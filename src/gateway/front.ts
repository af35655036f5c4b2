/** An HTTP server without a socket of its own: connections are given to it, each behind a guard. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { deny, type DenyReason } from '../domain/decision.ts';
import { MAX_HEAD } from '../policy/egress/http-frame.ts';
import { GuardedStream } from './guard.ts';
import type { GatewayLimits } from './limits.ts';
import type { Destination, Recorder } from './recorder.ts';

export interface HttpFront {
  /** Serves a connection whose first bytes were read already. */
  take(inner: Duplex, opening: Buffer, at: Destination): GuardedStream;
  close(): void;
}

export interface FrontHandlers {
  /** Asks for the guarded stream that a request came on by `request.socket`. */
  request: (request: IncomingMessage, response: ServerResponse) => void;
  /** A WebSocket request; without a handler it is answered like any other. */
  upgrade?: (request: IncomingMessage, stream: GuardedStream, head: Buffer) => void;
}

export function createHttpFront(options: {
  limits: Pick<GatewayLimits, 'headMs' | 'idleMs'>;
  recorder: Recorder;
  handlers: FrontHandlers;
}): HttpFront {
  const { limits, recorder, handlers } = options;
  const server = createServer(
    {
      maxHeaderSize: 2 * MAX_HEAD,
      // The guard keeps the time.
      headersTimeout: 0,
      requestTimeout: 0,
      keepAliveTimeout: 0,
      // Judged with a reason of its own.
      requireHostHeader: false,
      shouldUpgradeCallback: (request: IncomingMessage) =>
        handlers.upgrade !== undefined && request.headers.upgrade?.toLowerCase() === 'websocket',
    },
    (request, response) => {
      const stream: Duplex = request.socket;
      if (stream instanceof GuardedStream) response.once('close', () => stream.answered());
      handlers.request(request, response);
    },
  );
  server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    if (stream instanceof GuardedStream && handlers.upgrade) handlers.upgrade(request, stream, head);
    else stream.destroy();
  });
  server.on('connect', (_request, stream: Duplex) => stream.destroy());
  const places = new WeakMap<Duplex, Destination>();
  server.on('clientError', (error: Error, stream: Duplex) => {
    const at = places.get(stream);
    // The guard let it through and the parser did not: two readers disagree, so it is refused.
    if (at && !stream.destroyed && 'rawPacket' in error)
      violated(at, 'malformed', 'code' in error ? String(error.code) : '');
    stream.destroy();
  });

  function violated(at: Destination, reason: DenyReason, what: string): void {
    recorder
      .judged({ type: 'egress.request', ...at, decision: deny('http', reason), data: { what } })
      .catch(() => undefined);
  }

  return {
    take: (inner, opening, at) => {
      const stream = new GuardedStream({
        inner,
        opening,
        headMs: limits.headMs,
        idleMs: limits.idleMs,
        onViolation: (reason, what) => violated(at, reason, what),
      });
      places.set(stream, at);
      server.emit('connection', stream);
      return stream;
    },
    close: () => {
      server.closeAllConnections();
    },
  };
}
