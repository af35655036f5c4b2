/**
 * NET-032, TLS-022: an allowed host, or the resolver, that lies, breaks off, sends garbage or says nothing. Each is bounded
 * and recorded, and the next request, to a host that works, is as if nothing had been.
 */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import {
  ALLOWED,
  connectTo,
  denials,
  hermetic,
  PUBLIC,
  tlsTo,
  type Answers,
  type Hermetic,
} from '../gateway/hermetic.ts';

const BROKEN = 'broken.test';
const AT = '93.184.216.40:443';
/** Long enough for those that do answer, on a busy machine, too. */
const LIMITS = { idleMs: 3_000, dialMs: 3_000, resolveMs: 1_000 };

let h: Hermetic;
afterEach(async () => {
  await h.close();
});

async function host(rules = [BROKEN, ALLOWED]): Promise<void> {
  h = await hermetic({ rules: rules.map((name) => ({ host: name })), limits: LIMITS });
  h.internet.names.set(BROKEN, ['93.184.216.40']);
  await h.internet.serveHttps(`${PUBLIC}:443`, ALLOWED, (_request, response) => response.end('fine'));
}

/** A host behind a real TLS stack that answers a request as the handler says. */
async function broken(answer: (secured: TLSSocket) => void): Promise<void> {
  await host();
  const secureContext = await (await h.internet.authority()).contextFor(BROKEN);
  await h.internet.serve(AT, (socket: Socket) => {
    const secured = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] });
    secured.on('error', () => undefined).once('data', () => answer(secured));
  });
}

async function ask(to: string, how: { port?: number; after?: Promise<unknown> } = {}): Promise<string> {
  const raw = await tlsTo(h, to, how);
  raw.send(`GET /a HTTP/1.1\r\nHost: ${to}:${how.port ?? 443}\r\nConnection: close\r\n\r\n`);
  const text = await raw.finish();
  raw.close();
  return text;
}

async function twin(): Promise<void> {
  expect(await ask(ALLOWED)).toMatch(/^HTTP\/1\.1 200 [^]*fine$/);
}

const OK = 'HTTP/1.1 200 OK\r\n';

describe('an answer that is none', () => {
  test.each<[string, string | Buffer, 'ends' | 'stays']>([
    ['garbage', Buffer.alloc(4_096, 0xe5), 'stays'],
    ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n', 'stays'],
    ['nothing, and the end', '', 'ends'],
    ['nothing, for ever', '', 'stays'],
    ['half a status line', 'HTTP/1.1 20', 'ends'],
    ['half a head, for ever', `${OK}X: `, 'stays'],
    ['a head without end', `${OK}X: ${'y'.repeat(200_000)}`, 'stays'],
    ['ten thousand headers', OK + 'X: y\r\n'.repeat(30_000), 'stays'],
    ['two lengths', `${OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 'stays'],
    ['a length and chunks', `${OK}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 'stays'],
    ['a NUL in a header', `${OK}X: a\0b\r\n\r\n`, 'stays'],
    [
      'a protocol change that nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
      'stays',
    ],
    ['a protocol change to nothing', 'HTTP/1.1 101 Switching Protocols\r\n\r\n', 'stays'],
    ['a protocol change with a body', 'HTTP/1.1 101 X\r\nContent-Length: 2\r\n\r\nhi', 'stays'],
    ['a status that is none', 'HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nhi', 'stays'],
    ['only answers before the answer', 'HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n'.repeat(2_000), 'ends'],
  ])('%s', async (_name, bytes, then) => {
    await broken((secured) => {
      secured.write(bytes);
      if (then === 'ends') secured.end();
    });
    const text = await ask(BROKEN);
    expect(text).toMatch(/^HTTP\/1\.1 (?:502|504|403) /);
    expect(text).toMatch(/"reason":"(?:dial_failed|timeout|upgrade_not_allowed)"/);
    expect(denials(h.events).map(({ type, data }) => [type, data?.['host']])).toEqual([['egress.request', BROKEN]]);
    await twin();
  });
});

describe('an answer that is not what it says', () => {
  test.each<[string, string, 'ends' | 'stays']>([
    ['shorter than its length', `${OK}Content-Length: 100\r\n\r\nabc`, 'ends'],
    ['no end of its chunks', `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`, 'ends'],
    ['a chunk of no size', `${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n`, 'stays'],
    ['a chunk larger than any', `${OK}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nhello`, 'stays'],
    ['stops in the middle, for ever', `${OK}Content-Length: 100\r\n\r\nabc`, 'stays'],
  ])('%s: it is cut, and never ends as a whole one', async (_name, bytes, then) => {
    await broken((secured) => {
      secured.write(bytes);
      if (then === 'ends') secured.end();
    });
    const text = await ask(BROKEN);
    // Cut before a byte of it was handed on, or behind its head.
    expect(text).toMatch(/^(?:HTTP\/1\.1 200 |$)/);
    const [head = '', body = ''] = text.split(/\r\n\r\n([^]*)/);
    // A reader of either framing sees that there was more to come.
    if (/content-length: 100/i.test(head)) expect(body.length).toBeLessThan(100);
    else expect(body.endsWith('0\r\n\r\n')).toBe(false);
    await twin();
  });

  test('a second answer behind the first reaches nobody', async () => {
    await broken(
      (secured) => void secured.write(`${OK}Content-Length: 2\r\n\r\nhi${OK}Content-Length: 5\r\n\r\nstray`),
    );
    const raw = await tlsTo(h, BROKEN);
    for (const turn of [1, 2]) {
      raw.send(`GET /${turn} HTTP/1.1\r\nHost: ${BROKEN}\r\n\r\n`);
      await raw.until((bytes) => bytes.toString('latin1').split('HTTP/1.1 ').length > turn);
    }
    expect(raw.received.toString('latin1')).not.toContain('stray');
    raw.close();
    await twin();
  });
});

describe('a handshake that is none', () => {
  test.each<[string, (socket: Socket) => void]>([
    ['garbage', (socket) => void socket.write(Buffer.alloc(1_000, 0x16))],
    ['an alert', (socket) => void socket.write(Buffer.from([0x15, 3, 3, 0, 2, 2, 40]))],
    ['the end', (socket) => void socket.end()],
    ['silence', () => undefined],
  ])('%s', async (_name, serve) => {
    await host();
    await h.internet.serve(AT, (socket) => {
      socket.on('error', () => undefined).once('data', () => serve(socket));
    });
    expect(await ask(BROKEN)).toMatch(/"reason":"dial_failed"/);
    expect(denials(h.events).map(({ data }) => data?.['host'])).toEqual([BROKEN]);
    await twin();
  });
});

describe('a host that is gone before the client has spoken is told at once, not after the time of a handshake', () => {
  const limits = { dialMs: 60_000 };
  test('at the hermetic internet', async () => {
    h = await hermetic({ rules: [{ host: BROKEN }, { host: ALLOWED }], limits });
    h.internet.names.set(BROKEN, ['93.184.216.40']);
    await h.internet.serveHttps(`${PUBLIC}:443`, ALLOWED, (_request, response) => response.end('fine'));
    const gone = Promise.withResolvers<undefined>();
    await h.internet.serve(AT, (socket) => socket.once('close', () => gone.resolve(undefined)).destroy());
    expect(await ask(BROKEN, { after: gone.promise })).toMatch(/"reason":"dial_failed"/);
    await twin();
  });

  test.each(['end', 'destroy'] as const)('over TCP, as the gateway dials: %s', async (how) => {
    const gone = Promise.withResolvers<undefined>();
    const server = createServer((socket) => {
      socket.on('error', () => undefined)[how]();
      gone.resolve(undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    h = await hermetic({ rules: [{ host: BROKEN, ports: [port], allowPrivate: true }], limits, ownDial: true });
    h.internet.names.set(BROKEN, ['127.0.0.1']);
    expect(await ask(BROKEN, { port, after: gone.promise })).toMatch(/"reason":"dial_failed"/);
    server.close();
  });
});

describe('a resolver that lies', () => {
  test.each<[string, Answers, number]>([
    ['no address', [], 502],
    ['no address at all in it', ['evil.test', '', '1.2.3', '1.2.3.4.5', '0x7f.1', '::gg', '93.184.216.40:443'], 403],
    ['a name among addresses', ['93.184.216.40', 'localhost'], 403],
    ['ten thousand addresses, one of them private', [...Array<string>(10_000).fill('93.184.216.41'), '10.0.0.1'], 403],
    ['ten thousand that nobody answers at', Array<string>(10_000).fill('93.184.216.41'), 502],
    ['nothing, for ever', () => new Promise<string[]>(() => undefined), 504],
  ])('%s', async (_name, answers, status) => {
    await host();
    h.internet.names.set(BROKEN, answers);
    const { status: got, raw } = await connectTo(h.socketPath, `${BROKEN}:443`);
    expect(got).toBe(status);
    raw.close();
    // A few attempts, however many there are to try.
    expect(h.internet.dials.length).toBeLessThanOrEqual(3);
    expect(h.internet.dials.every((dialled) => dialled === '93.184.216.41:443')).toBe(true);
    expect(denials(h.events).map(({ data }) => data?.['host'])).toEqual([BROKEN]);
    await twin();
  });
});
