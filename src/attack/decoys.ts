/** What must not be reachable from a sandbox: listeners on the host's own loopback and in its abstract namespace. */
import { createSocket } from 'node:dgram';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { CofferdamError } from '../domain/errors.ts';

export interface Decoys extends AsyncDisposable {
  port: number;
  name: string;
  /** Connections and datagrams so far. */
  met: () => number;
}

/** They are asked from the host once, so that a zero afterwards means something. */
export async function setDecoys(): Promise<Decoys> {
  let met = 0;
  const server = createServer((socket) => {
    met += 1;
    socket.on('error', () => undefined).end('decoy');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const datagrams = createSocket('udp4');
  datagrams.on('message', () => (met += 1));
  datagrams.bind(port, '127.0.0.1');
  await once(datagrams, 'listening');
  const name = `cofferdam-decoy-${randomBytes(6).toString('hex')}`;
  const abstract = createServer((socket) => {
    met += 1;
    socket.on('error', () => undefined).end('decoy');
  });
  abstract.listen(`\0${name}`);
  await once(abstract, 'listening');
  const close = (): Promise<void> => {
    server.close();
    datagrams.close();
    abstract.close();
    return Promise.resolve();
  };
  const tries = [connect(port, '127.0.0.1'), connect(`\0${name}`)];
  await Promise.all(tries.map((socket) => once(socket.resume(), 'close')));
  if (met !== 2) {
    await close();
    throw new CofferdamError('sandbox', 'attack.setDecoys', 'the decoys on this host cannot be reached from it');
  }
  return { port, name, met: () => met - 2, [Symbol.asyncDispose]: close };
}
