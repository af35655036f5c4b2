import http from 'node:http';
import { mkdtemp, rm, chmod } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import path from 'node:path';

/** The gateway's side of the socket, as far as the portal can tell: names from a table, everything else is refused. */
export interface StubGateway {
  socketDir: string;
  /** Names that were asked for, in order. */
  asked: string[];
  /** Authorities that connections were asked for, in order. */
  connects: string[];
  /** Absolute-form requests, as clients of a proxy make them. */
  proxied: string[];
  /** Ends what is held: the portal then loses its gateway. */
  dropHold(): void;
  close(): Promise<void>;
}

/**
 * `names` maps a name to its address; a connection to an allowed name echoes what it is sent after the line `hello`.
 * The directory is short: socket paths end at 107 bytes.
 */
export async function stubGateway(
  options: { names?: Record<string, string>; refuseHold?: boolean } = {},
): Promise<StubGateway> {
  const names = options.names ?? { 'allowed.test': '198.18.0.7' };
  const socketDir = await mkdtemp('/tmp/cfd-gw-');
  await chmod(socketDir, 0o755);
  const asked: string[] = [];
  const connects: string[] = [];
  const proxied: string[] = [];
  const held = new Set<http.ServerResponse>();
  const open = new Set<Duplex>();
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://gateway.cofferdam.internal');
    if (url.host !== 'gateway.cofferdam.internal') {
      proxied.push(url.href);
      response.end('proxied\n');
      return;
    }
    if (url.pathname === '/v1/hold' && options.refuseHold === true) {
      response.writeHead(503).end();
      return;
    }
    if (url.pathname === '/v1/hold') {
      held.add(response);
      response.writeHead(200).flushHeaders();
      return;
    }
    const name = decodeURIComponent(url.pathname.replace('/v1/name/', ''));
    asked.push(name);
    const address = names[name];
    if (address === undefined) response.writeHead(404).end('{}');
    else response.end(JSON.stringify({ address, ttl: 60 }));
  });
  server.on('connect', (request, socket, head) => {
    const authority = request.url ?? '';
    connects.push(authority);
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => undefined);
    if (names[authority.split(':')[0] ?? ''] === undefined) {
      socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}');
      return;
    }
    socket.write('HTTP/1.1 200 OK\r\n\r\nhello\n');
    if (head.length > 0) socket.write(head);
    socket.pipe(socket);
  });
  const socketPath = path.join(socketDir, 'gateway.sock');
  await new Promise<void>((resolve) =>
    server.listen({ path: socketPath, writableAll: true, readableAll: true }, resolve),
  );
  const dropHold = (): void => held.forEach((response) => response.destroy());
  return {
    socketDir,
    asked,
    connects,
    proxied,
    dropHold,
    async close() {
      dropHold();
      server.closeAllConnections();
      open.forEach((socket) => socket.destroy());
      await new Promise((resolve) => server.close(resolve));
      await rm(socketDir, { recursive: true, force: true });
    },
  };
}
