import net from 'node:net';
import type { Socket } from 'node:net';
import type { GatewayClient } from './gateway.ts';
import type { Names } from './names.ts';

// Trust: connections come from the sandbox and are passed on unread. What they may reach is decided by the gateway, by the
// name (or the bare address) that is given here; a portal that lied would only name something else to be judged.

const MAX_CONNECTIONS = 1000;

export interface Relay {
  /** Ports that are listened on. */
  ports: number[];
  close(): void;
}

export interface RelayOptions {
  gateway: GatewayClient;
  names: Names;
  /** Listened on at every address. */
  ports: readonly number[];
  /** Listened on at 127.0.0.1, for clients that speak to a proxy. 0 takes any free port. */
  proxyPort: number;
  maxConnections?: number;
}

/** Listens and relays. At most 1000 connections at a time; more are closed at once. */
export async function serveRelay(options: RelayOptions): Promise<Relay> {
  const open = new Set<Socket>();
  const limit = options.maxConnections ?? MAX_CONNECTIONS;
  const accept = (socket: Socket, serve: (socket: Socket) => Promise<void> | void) => {
    socket.on('error', () => undefined);
    if (open.size >= limit) {
      socket.destroy();
      return;
    }
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    void serve(socket);
  };
  const isProxy = (socket: Socket) => socket.localPort === options.proxyPort && socket.localAddress === '127.0.0.1';
  const serve = (socket: Socket) => (isProxy(socket) ? relayProxy(socket, options) : relayTunnel(socket, options));
  // A policy that names the proxy's port takes it on every address; the local address then tells the two apart.
  const listeners = [
    ...options.ports.map((port) => listen({ port, host: '0.0.0.0', onConnection: (s) => accept(s, serve) })),
    ...(options.ports.includes(options.proxyPort)
      ? []
      : [
          listen({
            port: options.proxyPort,
            host: '127.0.0.1',
            onConnection: (s) => accept(s, (socket) => relayProxy(socket, options)),
          }),
        ]),
  ];
  const servers = await Promise.all(listeners);
  return {
    ports: servers.map((server) => (server.address() as net.AddressInfo).port),
    close() {
      for (const server of servers) server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

function listen(options: { port: number; host: string; onConnection: (socket: Socket) => void }): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, options.onConnection);
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      // Out of file descriptors for a moment: the next connection may find one.
      server.on('error', () => undefined);
      resolve(server);
    });
  });
}

/** By name when the address was given to one; otherwise by the bare address, which the gateway refuses and records. */
async function relayTunnel(socket: Socket, options: RelayOptions): Promise<void> {
  const address = socket.localAddress ?? '0.0.0.0';
  const host = options.names.nameOf(address) ?? address;
  const upstream = await options.gateway.connect(host, socket.localPort ?? 0);
  if (upstream === undefined) {
    socket.resetAndDestroy();
    return;
  }
  join(socket, upstream);
}

function relayProxy(socket: Socket, options: RelayOptions): void {
  join(socket, options.gateway.open());
}

/** Both directions with back-pressure; the end of one is passed on as the end of one. A failure ends both. */
function join(a: Socket, b: Socket): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on('error', () => undefined);
    from.on('close', () => {
      if (!from.readableEnded || from.errored !== null) to.destroy();
    });
    if (from.destroyed) to.destroy();
    from.pipe(to);
  }
}
