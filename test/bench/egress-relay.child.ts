import { createServer as createHttpServer } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import { createRunAuthority } from '../../src/gateway/tls/authority.ts';

/*
 * The least that any proxy in Node that reads requests can be: takes CONNECT from whoever comes, ends TLS, and passes each
 * request and its answer on, with nothing judged and nothing recorded. Argument: the certificate of the one host, as PEM.
 */

const [ca = ''] = process.argv.slice(2);
const host = 'localhost';
const authority = await createRunAuthority({
  runName: 'relay',
  policy: { rules: [{ host, source: 'bench' }], deny: [], gitRepositories: [] },
});
const secureContext = await authority.contextFor(host);
const ports = new WeakMap<object, string>();
const agent = new Agent({ keepAlive: true, secureContext: createSecureContext({ ca }), servername: host });

const http = createHttpServer((req, res) => {
  const options = { host, port: ports.get(req.socket), method: req.method, path: req.url, headers: req.headers };
  const onward = httpsRequest({ ...options, agent }, (answer) => {
    res.writeHead(answer.statusCode ?? 0, answer.headers);
    answer.pipe(res);
  });
  onward.once('error', () => res.destroy());
  req.pipe(onward);
});
http.keepAliveTimeout = 600_000;
http.maxRequestsPerSocket = 0;

const server = createServer((socket: Socket) => {
  socket.setNoDelay(true).on('error', () => undefined);
  // The client waits for its answer before it goes on: a CONNECT comes whole and alone.
  socket.once('data', (head) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    const secured = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] });
    secured.on('error', () => undefined);
    ports.set(secured, /^CONNECT \S+:(\d+) /.exec(head.toString('latin1'))?.[1] ?? '');
    http.emit('connection', secured);
  });
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 2048 }, () => {
  process.send?.({ port: (server.address() as AddressInfo).port, ca: authority.certificate });
});
process.on('disconnect', () => process.exit(0));
