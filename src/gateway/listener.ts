/**
 * The run's Unix socket. The first head of each connection is read here, strictly: CONNECT becomes a tunnel, anything else
 * a guarded HTTP connection.
 */
import { chmod } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { deny, type DenyReason } from '../domain/decision.ts';
import { CofferdamError } from '../domain/errors.ts';
import { endOfHead, MAX_HEAD, parseHead } from '../policy/egress/http-frame.ts';
import { endSocket } from './answers.ts';
import type { GatewayLimits } from './limits.ts';
import { printable, type Recorder } from './recorder.ts';
import type { ConnectCall } from './tunnel.ts';

/** Longest path of a Unix socket on Linux, without the final NUL. */
export const MAX_SOCKET_PATH = 107;

export interface ListenerOptions {
  limits: Pick<GatewayLimits, 'connections' | 'headMs'>;
  recorder: Recorder;
  onConnect: (call: ConnectCall) => void;
  onRequest: (socket: Socket, opening: Buffer) => void;
}

export function createListener(options: ListenerOptions): { listen(socketPath: string): Promise<void>; close(): void } {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    readHead(options, socket);
  });
  // The portal's own connections (lifeline, names) have to get through when all tunnels are taken.
  server.maxConnections = options.limits.connections + 64;
  server.on('drop', () => {
    record(options.recorder, '(socket)', 'too_many_connections');
  });
  return {
    listen: (socketPath) => listen(server, socketPath),
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function readHead(options: ListenerOptions, socket: Socket): void {
  let bytes: Buffer = Buffer.alloc(0);
  const done = (): void => {
    clearTimeout(timer);
    socket.off('data', more).off('end', gone);
  };
  const refuse = (reason: DenyReason, what: string): void => {
    done();
    record(options.recorder, printable(bytes.toString('latin1').split('\n')[0] ?? ''), reason, what);
    socket.resume();
    endSocket(socket, deny('http', reason), what);
  };
  const gone = (): void => {
    // A client that half-closes in the middle of a head has said something, if wrong; one that says nothing has not.
    if (bytes.length > 0) refuse('malformed', 'an unfinished head');
    else {
      done();
      socket.destroy();
    }
  };
  const more = (chunk: Buffer): void => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const end = endOfHead(bytes);
    if (end === 'bare') {
      refuse('malformed', 'bare line feed');
      return;
    }
    if (end > MAX_HEAD || (end === -1 && bytes.length > MAX_HEAD)) {
      refuse('too_large', 'head');
      return;
    }
    if (end === -1) return;
    const parsed = parseHead(bytes.subarray(0, end));
    if (!parsed.ok) {
      refuse('malformed', parsed.what);
      return;
    }
    done();
    socket.pause();
    if (parsed.head.method === 'CONNECT')
      options.onConnect({ head: parsed.head, client: socket, rest: bytes.subarray(end) });
    else options.onRequest(socket, bytes);
  };
  const timer = setTimeout(() => refuse('timeout', 'head'), options.limits.headMs);
  socket.on('data', more).once('end', gone).once('close', done);
}

function record(recorder: Recorder, host: string, reason: DenyReason, what?: string): void {
  const data = what === undefined ? {} : { what };
  // It was refused already; when this cannot be written there is nothing left to hold back.
  recorder
    .judged({ type: 'egress.request', host, port: 0, decision: deny('http', reason), data })
    .catch(() => undefined);
}

function listen(server: Server, socketPath: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH) {
    const message = `the socket path ${socketPath} is longer than ${MAX_SOCKET_PATH} bytes: choose a shorter COFFERDAM_DATA_DIR`;
    return Promise.reject(new CofferdamError('config', 'gateway.listen', message));
  }
  server.once('error', (cause) =>
    reject(new CofferdamError('gateway', 'gateway.listen', `cannot listen on ${socketPath}`, cause)),
  );
  server.listen(socketPath, () => {
    // Of one connection that could not be accepted (no file descriptor left); the next one may be.
    server.on('error', () => undefined);
    chmod(socketPath, 0o666).then(() => resolve(undefined), reject);
  });
  return promise;
}
