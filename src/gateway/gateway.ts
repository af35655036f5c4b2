/**
 * The only way out of a sandbox: an HTTP proxy on the run's Unix socket. Default deny, every decision recorded before it
 * takes effect.
 *
 * Trust: everything that arrives on the socket is hostile. The socket's path is the run's identity; nothing that a client
 * says about itself counts.
 */
import { chmod } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { AuditEntry } from '../domain/audit.ts';
import { deny, type DenyReason } from '../domain/decision.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import type { EgressEntryFact } from '../domain/run.ts';
import { endSocket } from './answers.ts';
import { createBudget } from './budget.ts';
import { createDialer, type Dial, type Resolve } from './dialer.ts';
import { createForward } from './forward.ts';
import { GATEWAY_LIMITS, type GatewayLimits } from './limits.ts';
import { createNames } from './names.ts';
import { createRecorder, printable, type Recorder } from './recorder.ts';
import { createServices, type Service } from './services.ts';
import { handleConnect, type TunnelContext } from './tunnel.ts';

export interface GatewaySettings {
  policy: EgressPolicy;
  /** Writes one audit event; the gateway waits for it before anything goes on. */
  audit: (entry: AuditEntry) => Promise<void>;
  /** First label below cofferdam.internal → handler: `git`, `llm`. */
  services?: Readonly<Record<string, Service>>;
  limits?: Partial<GatewayLimits>;
  resolve?: Resolve;
  dial?: Dial;
  /** Told, not more often than every few decisions, that `egress()` has changed. */
  onEgress?: () => void;
}

export interface RunningGateway {
  /** Binds the socket, with mode 0666: the directory decides who reaches it. Errors: `gateway`. */
  listen(socketPath: string): Promise<void>;
  egress(): EgressEntryFact[];
  /** For services that are made before it. */
  readonly recorder: Recorder;
  /** Ends every connection and writes the last counts. */
  close(): Promise<void>;
}

/** Longest path of a Unix socket on Linux, without the final NUL. */
export const MAX_SOCKET_PATH = 107;

/** Preconditions: the policy has passed `lintPolicy`. */
export function createGateway(settings: GatewaySettings): RunningGateway {
  const limits: GatewayLimits = { ...GATEWAY_LIMITS, ...settings.limits };
  const stop = new AbortController();
  const recorder = createRecorder({
    append: settings.audit,
    limits,
    ...(settings.onEgress ? { onChange: settings.onEgress } : {}),
  });
  const onClientError = clientErrors(recorder);
  const services = createServices({ names: () => names, limits, services: settings.services ?? {}, onClientError });
  const names = createNames({ policy: settings.policy, limits, recorder, internal: services.hosts });
  const dialer = createDialer({ resolve: settings.resolve, dial: settings.dial, limits, signal: stop.signal });
  const budget = createBudget(limits);
  const shared = { policy: settings.policy, limits, recorder, names, dialer, budget };
  const forward = createForward({ ...shared, services, onClientError });
  const context: TunnelContext = { ...shared, internal: services, http: forward.tunnel };
  const server = createSocketServer({ limits, recorder, onClientError, context, onRequest: forward.request });
  const flusher = setInterval(() => {
    recorder.flush().catch(() => undefined);
  }, limits.flushMs);
  flusher.unref();

  return {
    listen: (socketPath) => listen(server.http, socketPath),
    egress: () => recorder.egress(),
    recorder,
    close: async () => {
      clearInterval(flusher);
      stop.abort();
      server.close();
      forward.close();
      services.close();
      await recorder.flush();
    },
  };
}

function createSocketServer(options: {
  limits: GatewayLimits;
  recorder: Recorder;
  onClientError: (error: Error, socket: Duplex) => void;
  context: TunnelContext;
  onRequest: (request: IncomingMessage, response: ServerResponse) => void;
}): { http: Server; close: () => void } {
  const { limits, recorder, context } = options;
  const sockets = new Set<Socket>();
  const http = createServer(
    { headersTimeout: limits.headMs, requestTimeout: 0, keepAliveTimeout: 60_000, connectionsCheckingInterval: 1000 },
    options.onRequest,
  );
  // The portal's own connections (lifeline, names) have to get through when all tunnels are taken.
  http.maxConnections = limits.connections + 64;
  http.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  http.on('drop', () => {
    void record(recorder, '(socket)', 'too_many_connections');
  });
  http.on('clientError', options.onClientError);
  http.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    void handleConnect(context, request, socket, head);
  });
  http.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
    void record(recorder, printable(request.url ?? ''), 'upgrade_not_allowed');
    endSocket(socket, deny('upgrade', 'upgrade_not_allowed'));
  });
  const close = (): void => {
    http.close();
    for (const socket of sockets) socket.destroy();
  };
  return { http, close };
}

/** A request that the parser refused: answered, recorded, closed. */
function clientErrors(recorder: Recorder): (error: Error, socket: Duplex) => void {
  return (error, socket) => {
    const code = 'code' in error ? String(error.code) : '';
    if (code === 'ECONNRESET' || code === 'EPIPE') {
      socket.destroy();
      return;
    }
    const packet = 'rawPacket' in error && Buffer.isBuffer(error.rawPacket) ? error.rawPacket.toString('latin1') : '';
    const reason = reasonOf(code);
    endSocket(socket, deny('http', reason));
    void record(recorder, printable(packet.split('\n')[0] ?? ''), reason, { code });
  };
}

function reasonOf(code: string): DenyReason {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'timeout';
  return code === 'HPE_HEADER_OVERFLOW' ? 'too_large' : 'malformed';
}

async function record(
  recorder: Recorder,
  host: string,
  reason: DenyReason,
  data: Record<string, unknown> = {},
): Promise<void> {
  try {
    await recorder.judged({ type: 'egress.request', host, port: 0, decision: deny('http', reason), data });
  } catch {
    // The request was refused already; there is nothing left to hold back.
  }
}

function listen(server: Server, socketPath: string): Promise<void> {
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH) {
    const message = `the socket path ${socketPath} is longer than ${MAX_SOCKET_PATH} bytes: choose a shorter COFFERDAM_DATA_DIR`;
    return Promise.reject(new CofferdamError('config', 'gateway.listen', message));
  }
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new CofferdamError('gateway', 'gateway.listen', `cannot listen on ${socketPath}`, cause));
    });
    server.listen(socketPath, () => {
      chmod(socketPath, 0o666).then(resolve, reject);
    });
  });
}
