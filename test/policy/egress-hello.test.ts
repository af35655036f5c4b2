import { connect as tlsConnect } from 'node:tls';
import { Duplex } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseClientHello } from '../../src/policy/egress/client-hello.ts';
import { clientHello, helloMessage } from '../gateway/hermetic.ts';

/** What a real TLS stack sends first. */
function realHello(servername: string, alpn: string[] = []): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        resolve(chunk);
        done();
      },
    });
    tlsConnect({ socket: wire, servername, ALPNProtocols: alpn }).on('error', () => undefined);
  });
}

/** Feeds byte by byte, as the gateway does, and asks only when it was told to. */
function feed(bytes: Buffer, step: number): ReturnType<typeof parseClientHello> {
  let found = parseClientHello(Buffer.alloc(0));
  for (let end = step; ; end += step) {
    const part = bytes.subarray(0, end);
    if (found.kind === 'needMore' && part.length >= found.atLeast) found = parseClientHello(part);
    if (found.kind !== 'needMore' || end >= bytes.length) return found;
  }
}

test('the hello of a real TLS stack', async () => {
  expect(parseClientHello(await realHello('allowed.test', ['h2', 'http/1.1']))).toMatchObject({
    kind: 'hello',
    sni: 'allowed.test',
    ech: false,
    alpn: ['h2', 'http/1.1'],
  });
});

describe('TLS-004 fragments', () => {
  test.each([1, 2, 3, 7, 100, 16_384])('records of %d bytes', (size) => {
    expect(feed(clientHello({}, size), 1)).toMatchObject({ kind: 'hello', sni: 'allowed.test' });
  });
  test('a hello above 16 KiB (large key shares) over two records', () => {
    expect(feed(clientHello({ padding: 40_000 }), 1000)).toMatchObject({ kind: 'hello', sni: 'allowed.test' });
  });
  test('a hello above 64 KiB, an endless row of records, and a length that lies', () => {
    const long = Buffer.concat([Buffer.from([22, 3, 1, 0, 4, 1, 2, 0, 0])]);
    expect(parseClientHello(long)).toMatchObject({ kind: 'malformed' });
    const drip = Buffer.concat([
      Buffer.from([22, 3, 1, 0, 4, 1, 0, 255, 0]),
      ...Array.from({ length: 5000 }, () => Buffer.from([22, 3, 1, 0, 1, 0])),
    ]);
    expect(parseClientHello(drip)).toMatchObject({ kind: 'malformed' });
    expect(parseClientHello(Buffer.from([22, 3, 1, 0xff, 0xff, 1]))).toMatchObject({ kind: 'malformed' });
    expect(parseClientHello(Buffer.from([22, 3, 1, 0, 0]))).toMatchObject({ kind: 'malformed' });
  });
  test('another record type between the fragments', () => {
    const whole = clientHello({}, 50);
    const split = Buffer.concat([whole.subarray(0, 55), Buffer.from([21, 3, 1, 0, 2, 1, 0]), whole.subarray(55)]);
    expect(parseClientHello(split)).toMatchObject({ kind: 'malformed' });
  });
  test('bytes behind the hello in its record are refused, a record behind it is left alone', () => {
    const message = Buffer.concat([helloMessage(), Buffer.from('x')]);
    const record = Buffer.concat([Buffer.from([22, 3, 1, message.length >> 8, message.length & 255]), message]);
    expect(parseClientHello(record)).toMatchObject({ kind: 'malformed' });
    expect(parseClientHello(Buffer.concat([clientHello(), Buffer.from([20, 3, 3, 0, 1, 1])]))).toMatchObject({
      kind: 'hello',
    });
  });
});

describe('TLS-002 server names', () => {
  test('none, two, an empty list, a second list', () => {
    expect(parseClientHello(clientHello({ names: undefined }))).toMatchObject({ kind: 'hello', sni: undefined });
    expect(parseClientHello(clientHello({ names: ['a.test', 'b.test'] }))).toMatchObject({ kind: 'malformed' });
    expect(parseClientHello(clientHello({ names: [] }))).toMatchObject({ kind: 'malformed' });
    expect(parseClientHello(clientHello({ names: [''] }))).toMatchObject({ kind: 'hello', sni: '' });
  });
  test('bytes are given as they came', () => {
    expect(parseClientHello(clientHello({ names: [Buffer.from('a.test\0b')] }))).toMatchObject({ sni: 'a.test\0b' });
    expect(parseClientHello(clientHello({ names: [Buffer.from('bücher.test')] }))).toMatchObject({ kind: 'hello' });
  });
  test('encrypted hellos are seen', () => {
    expect(parseClientHello(clientHello({ ech: true }))).toMatchObject({ kind: 'hello', ech: true });
  });
});

test.each([
  ['SSH-2.0-OpenSSH_9.2\r\n'],
  ['GET / HTTP/1.1\r\n\r\n'],
  ['*1\r\n$4\r\nPING\r\n'],
  ['EHLO x\r\n'],
  ['\x80\x2e\x01\x00\x02'],
  ['\x16\x02\x00'],
  ['\x15\x03\x01\x00\x02\x01\x00'],
])('not TLS: %j', (bytes) => {
  expect(parseClientHello(Buffer.from(bytes, 'latin1')).kind).toBe('notTls');
});

test('any bytes are answered, and a hello that is cut anywhere is never complete', () => {
  const whole = clientHello({}, 60);
  fc.assert(
    fc.property(fc.nat({ max: whole.length - 1 }), (end) => {
      expect(parseClientHello(whole.subarray(0, end)).kind).toBe('needMore');
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      parseClientHello(bytes);
      parseClientHello(Buffer.concat([Buffer.from([22, 3, 1]), bytes]));
    }),
    { numRuns: 20_000 },
  );
});

test('a changed byte changes the name, or the hello is refused: it is never another allowed-looking one by accident', () => {
  const whole = clientHello();
  fc.assert(
    fc.property(fc.nat({ max: whole.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ flip;
      const found = parseClientHello(changed);
      if (found.kind === 'hello' && found.sni === 'allowed.test') {
        expect(changed.includes('allowed.test')).toBe(true);
      }
    }),
    { numRuns: 20_000 },
  );
});
