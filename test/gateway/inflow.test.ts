import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { connectTo, hermetic, type Hermetic } from './hermetic.ts';

/** Tunnels that are passed through on the dialer's own sockets, whose bytes come through one buffer. */
describe('bytes of a tunnel that nobody reads', () => {
  const closing: (() => Promise<unknown>)[] = [];
  let greeted: Buffer;
  let h: Hermetic;
  beforeAll(async () => {
    greeted = await hello();
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  async function tunnelTo(answer: (socket: Socket) => void): Promise<Socket> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => undefined);
      answer(socket);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    closing.push(() => new Promise((resolve) => server.close(resolve)));
    const { port } = server.address() as AddressInfo;
    h = await hermetic({
      rules: [{ host: 'localhost', ports: [port], passThrough: true, allowPrivate: true }],
      resolve: () => Promise.resolve(['127.0.0.1']),
      ownDial: true,
    });
    closing.push(() => h.close());
    const { raw, status } = await connectTo(h.socketPath, `localhost:${port}`);
    expect(status).toBe(200);
    raw.socket.removeAllListeners('data');
    raw.socket.pause();
    raw.socket.write(greeted);
    return raw.socket;
  }

  async function hello(): Promise<Buffer> {
    const [near, far] = duplexPair();
    const client = tlsConnect({ socket: near, servername: 'localhost' }).on('error', () => undefined);
    const [bytes] = (await once(far, 'data')) as [Buffer];
    client.destroy();
    return bytes;
  }

  async function hashOf(socket: Socket, each: (at: number) => Promise<unknown> | undefined): Promise<string> {
    const hash = createHash('sha256');
    let at = 0;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      hash.update(chunk);
      at += 1;
      await each(at);
    }
    return hash.digest('hex');
  }

  const sent = randomBytes(24 * 2 ** 20);
  const wanted = createHash('sha256').update(sent).digest('hex');

  test('arrive as they were sent, at a client that reads them at once', async () => {
    const socket = await tunnelTo((upstream) => upstream.once('data', () => upstream.end(sent)));
    expect(await hashOf(socket, () => undefined)).toBe(wanted);
    socket.destroy();
    await expect.poll(() => h.events.map((event) => event.type)).toContain('egress.end');
    const { data } = h.events.find((event) => event.type === 'egress.end') ?? {};
    expect(data).toMatchObject({ bytesIn: sent.length, bytesOut: greeted.length, end: 'ended' });
  });

  test('arrive as they were sent, at a client that stops again and again', async () => {
    const socket = await tunnelTo((upstream) => upstream.once('data', () => upstream.end(sent)));
    expect(await hashOf(socket, (at) => (at % 40 === 0 ? delay(5) : undefined))).toBe(wanted);
  });

  test('arrive in order from a host that speaks before it is spoken to', async () => {
    const socket = await tunnelTo((upstream) => {
      upstream.write(sent.subarray(0, 300_000));
      upstream.once('data', () => upstream.end(sent.subarray(300_000)));
    });
    expect(await hashOf(socket, () => undefined)).toBe(wanted);
  });

  test('and those to the host arrive while its own are on their way', async () => {
    const upward = createHash('sha256');
    const arrived = Promise.withResolvers<string>();
    const socket = await tunnelTo((upstream) => {
      let greeting = true;
      upstream.on('data', (chunk: Buffer) => {
        upward.update(greeting ? chunk.subarray(greeted.length) : chunk);
        if (greeting) upstream.write(sent);
        greeting = false;
      });
      upstream.once('end', () => {
        arrived.resolve(upward.digest('hex'));
        upstream.end();
      });
    });
    socket.end(sent);
    expect(await hashOf(socket, () => undefined)).toBe(wanted);
    expect(await arrived.promise).toBe(wanted);
  });
});
