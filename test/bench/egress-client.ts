import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { duplexPair, type Readable } from 'node:stream';
import { connect as tlsConnect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { HOST } from './egress-targets.ts';
import type { Target } from './egress-targets.ts';

/* The sandbox's side of a proxy, as little as it can be. Everything that arrives is checked. */

const END_OF_HEAD = Buffer.from('\r\n\r\n');

/** A connection to a port of the host: through CONNECT, or straight. */
export async function open(target: Target, port: number): Promise<Socket> {
  const socket = target.proxy ? connect(target.proxy) : connect({ host: '127.0.0.1', port });
  socket.setNoDelay(true);
  await once(socket, 'connect');
  if (!target.proxy) return socket;
  socket.write(`CONNECT ${HOST}:${port} HTTP/1.1\r\nHost: ${HOST}:${port}\r\n\r\n`);
  let head: Buffer = Buffer.alloc(0);
  while (!head.includes(END_OF_HEAD)) {
    const chunk = (socket.read() ?? (await readable(socket))) as Buffer | null;
    assert.ok(chunk, `${target.name} closed after CONNECT: ${head.toString('latin1')}`);
    head = Buffer.concat([head, chunk]);
  }
  assert.match(head.toString('latin1'), /^HTTP\/1\.[01] 200 /, `${target.name} refused CONNECT`);
  return socket;
}

/** What a TLS client for the host says first. */
export async function clientHello(): Promise<Buffer> {
  const [near, far] = duplexPair();
  const client = tlsConnect({ socket: near, servername: HOST });
  client.on('error', () => undefined);
  const [hello] = (await once(far as Readable, 'data')) as [Buffer];
  client.destroy();
  return hello;
}

/** Everything that comes after a hello, until the other side ends. */
export function drain(socket: Socket, hello: Buffer): Promise<{ bytes: number; hash: string }> {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256');
    let bytes = 0;
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      hash.update(chunk);
    });
    socket.once('end', () => resolve({ bytes, hash: hash.digest('hex') }));
    socket.once('error', reject);
    socket.write(hello);
  });
}

async function readable(socket: Socket): Promise<unknown> {
  await Promise.race([once(socket, 'readable'), once(socket, 'end')]);
  return socket.read();
}

/** What a client verifies with. Made once for each target: reading a whole bundle takes longer than what is measured. */
export function trusting(ca: string): SecureContext {
  return createSecureContext({ ca });
}

/** TLS on such a connection, verified. */
export async function secure(socket: Socket, secureContext: SecureContext): Promise<TLSSocket> {
  const secured = tlsConnect({ socket, servername: HOST, secureContext, ALPNProtocols: ['http/1.1'] });
  await once(secured, 'secureConnect');
  return secured;
}

export interface Fetched {
  /** From the request to the first byte of the answer. */
  firstMs: number;
  hash: string;
}

/** GET of so many bytes on a connection that is kept. */
export function get(socket: Socket, port: number, bytes: number): Promise<Fetched> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const body = createHash('sha256');
    let firstMs: number | undefined;
    let head: Buffer = Buffer.alloc(0);
    let left: number | undefined;
    const more = (chunk: Buffer): void => {
      firstMs ??= performance.now() - started;
      let rest: Buffer = chunk;
      if (left === undefined) {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf(END_OF_HEAD);
        if (end === -1) return;
        const text = head.toString('latin1', 0, end);
        left = Number(/^content-length: (\d+)/im.exec(text)?.[1] ?? bytes);
        if (!text.startsWith('HTTP/1.1 200') || left !== bytes) {
          failed(new Error(`answered with: ${text}`));
          return;
        }
        rest = head.subarray(end + END_OF_HEAD.length);
      }
      left -= rest.length;
      body.update(rest);
      if (left > 0) return;
      done();
      resolve({ firstMs, hash: body.digest('hex') });
    };
    const done = (): void => {
      socket.off('data', more).off('close', closed).off('error', failed);
    };
    const failed = (error: Error): void => {
      done();
      reject(error);
    };
    const closed = (): void => failed(new Error('closed in the middle of an answer'));
    socket.on('data', more).once('close', closed).once('error', failed);
    socket.write(`GET /${bytes} HTTP/1.1\r\nHost: ${HOST}:${port}\r\n\r\n`);
  });
}
