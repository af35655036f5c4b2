import { createHash } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { createRunAuthority } from '../../src/gateway/tls/authority.ts';

/*
 * A host for measurements, in a process of its own, at `localhost`: an HTTPS server on two ports, and one that answers a
 * TLS hello with a flood of known bytes. What it sends is known by its hash, so that whoever measures can tell a real
 * transfer. Arguments: bytes of a flood, sizes of answers that will be asked for.
 */

const [FLOOD = 0, ...SIZES] = process.argv.slice(2).map(Number);
const block = Buffer.alloc(256 * 1024);
for (let at = 0; at < block.length; at += 32) createHash('sha256').update(String(at)).digest().copy(block, at);

function hashOf(bytes: number): string {
  const hash = createHash('sha256');
  for (let left = bytes; left > 0; left -= block.length) hash.update(block.subarray(0, left));
  return hash.digest('hex');
}

/** `/<bytes>` is answered with that many bytes of the block, over and over. */
const http = createHttpServer((request, response) => {
  let left = Number(request.url?.slice(1));
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': left });
  const more = (): void => {
    while (left > 0) {
      const piece = block.subarray(0, left);
      left -= piece.length;
      if (!response.write(piece)) return void response.once('drain', more);
    }
    response.end();
  };
  more();
});
http.keepAliveTimeout = 600_000;
http.maxRequestsPerSocket = 0;

const authority = await createRunAuthority({
  runName: 'bench',
  policy: { rules: [{ host: 'localhost', source: 'bench' }], deny: [], gitRepositories: [] },
});
const context = await authority.contextFor('localhost');

function https(): Server {
  const server = createTlsServer({
    SNICallback: (_name, done) => done(null, context),
    ALPNProtocols: ['http/1.1'],
    // As web servers do: an answer must not wait for the other side to acknowledge the session tickets.
    noDelay: true,
  });
  server.on('secureConnection', (socket) => http.emit('connection', socket));
  server.on('tlsClientError', () => undefined);
  return server;
}

function flood(socket: Socket): void {
  let left = FLOOD;
  const more = (): void => {
    while (left > 0) {
      const piece = block.subarray(0, left);
      left -= piece.length;
      if (!socket.write(piece)) return;
    }
    socket.end();
  };
  socket.on('drain', more).on('error', () => undefined);
  socket.once('data', more);
}

async function listen(server: Server): Promise<number> {
  const listening = Promise.withResolvers<undefined>();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 2048 }, () => listening.resolve(undefined));
  await listening.promise;
  return (server.address() as AddressInfo).port;
}

const ports = {
  passed: await listen(https()),
  read: await listen(https()),
  flood: await listen(createServer(flood)),
};
const hashes = Object.fromEntries([FLOOD, ...SIZES].map((bytes) => [bytes, hashOf(bytes)]));
process.send?.({ ports, ca: authority.certificate, hashes });
process.on('disconnect', () => process.exit(0));
