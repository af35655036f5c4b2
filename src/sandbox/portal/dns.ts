import dgram from 'node:dgram';
import net from 'node:net';
import type { Socket } from 'node:net';
import { answer, parseQuery, RCODE, TYPE } from './dns-message.ts';
import type { Parsed, Query } from './dns-message.ts';
import type { Names } from './names.ts';

// Trust: every byte comes from the sandbox. A flood costs the sandbox its own portal and nothing on the host: the number of
// queries in hand is bounded, and what is over the bound is dropped.

const MAX_IN_HAND = 512;
const MAX_TCP_CLIENTS = 64;
const MAX_TCP_MESSAGE = 4096;
const TCP_IDLE_MS = 10_000;

/** What a client asks for on its way to a connection; a name that policy holds has an address, and no data of the others. */
const ADDRESS_TYPES: ReadonlySet<number> = new Set([TYPE.A, TYPE.AAAA, TYPE.HTTPS, TYPE.SVCB]);

export interface DnsServer {
  port: number;
  close(): void;
}

/** The answer to one message; undefined when there is none to give. */
export async function respond(message: Buffer, names: Names): Promise<Buffer | undefined> {
  const parsed = parseQuery(message);
  if (parsed === undefined) return undefined;
  if ('rcode' in parsed) return answer(parsed, parsed.rcode);
  return await respondTo(parsed, parsed.query, names);
}

async function respondTo(parsed: Parsed, query: Query, names: Names): Promise<Buffer> {
  if (!query.internet) return answer(parsed, RCODE.notImplemented);
  const found = await names.lookup(query.name, ADDRESS_TYPES.has(query.type) ? undefined : query.type);
  if (found === 'failed') return answer(parsed, RCODE.failed);
  if (found === 'refused') return answer(parsed, RCODE.noSuchName);
  // No data, instead of "no such name": that would make a resolver give up on the IPv4 address, too.
  return answer(parsed, RCODE.ok, query.type === TYPE.A ? found : undefined);
}

/**
 * Serves names on UDP and TCP. UDP listens twice: the socket that is bound to 127.0.0.1 answers from the address that
 * resolv.conf names; the one for all other addresses may answer from another one than was asked, which most clients ignore.
 */
export async function serveDns(options: { names: Names; port: number; hosts: readonly string[] }): Promise<DnsServer> {
  const { names, hosts } = options;
  let inHand = 0;
  const handle = async (message: Buffer): Promise<Buffer | undefined> => {
    if (inHand >= MAX_IN_HAND) return undefined;
    inHand += 1;
    try {
      return await respond(message, names);
    } finally {
      inHand -= 1;
    }
  };
  const tcp = await listenTcp({ handle, port: options.port, host: hosts.at(-1) ?? '127.0.0.1' });
  const port = (tcp.address() as net.AddressInfo).port;
  const udp = await Promise.all(hosts.map((host) => bindUdp({ handle, port, host })));
  return {
    port,
    close() {
      tcp.close();
      for (const socket of udp) socket.close();
    },
  };
}

type Handle = (message: Buffer) => Promise<Buffer | undefined>;

function bindUdp(options: { handle: Handle; port: number; host: string }): Promise<dgram.Socket> {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket({ type: 'udp4', reuseAddr: true });
    socket.on('message', (message, from) => {
      void options.handle(message).then((reply) => {
        if (reply !== undefined) socket.send(reply, from.port, from.address, () => undefined);
      });
    });
    socket.once('error', reject);
    socket.bind(options.port, options.host, () => {
      socket.off('error', reject);
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}

function listenTcp(options: { handle: Handle; port: number; host: string }): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => serveTcpClient(socket, options.handle));
    server.maxConnections = MAX_TCP_CLIENTS;
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      // Out of file descriptors for a moment: the next connection may find one.
      server.on('error', () => undefined);
      resolve(server);
    });
  });
}

/** One message at a time: a client that sends more before it reads waits. */
function serveTcpClient(socket: Socket, handle: Handle): void {
  socket.setTimeout(TCP_IDLE_MS, () => socket.destroy());
  socket.on('error', () => undefined);
  void readMessages(socket, handle)
    .catch(() => undefined)
    .finally(() => socket.destroy());
}

async function readMessages(socket: Socket, handle: Handle): Promise<void> {
  let buffer = Buffer.alloc(0);
  for await (const piece of socket) {
    buffer = Buffer.concat([buffer, piece as Buffer]);
    while (buffer.length >= 2) {
      const length = buffer.readUInt16BE(0);
      if (length > MAX_TCP_MESSAGE) return;
      if (buffer.length < 2 + length) break;
      const reply = await handle(buffer.subarray(2, 2 + length));
      buffer = buffer.subarray(2 + length);
      if (reply === undefined) return;
      const prefix = Buffer.alloc(2);
      prefix.writeUInt16BE(reply.length);
      await new Promise<void>((sent) => socket.write(Buffer.concat([prefix, reply]), () => sent()));
    }
  }
}
