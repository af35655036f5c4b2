/**
 * Hostile bytes for the readers of the way out, each beside a second reader: what ours takes, the other one has to
 * understand in the same way. `COFFERDAM_FUZZ=<factor>` multiplies the inputs; 100 is a million in all.
 */
import { createServer } from 'node:http';
import { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { decode, encode, RECURSION_DESIRED } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseClientHello } from '../../src/policy/egress/client-hello.ts';
import { canonicalAuthority, canonicalHost } from '../../src/policy/egress/host.ts';
import { canonicalPath } from '../../src/policy/egress/path.ts';
import { RequestFramer } from '../../src/policy/egress/http-frame.ts';
import { answer, parseQuery } from '../../src/sandbox/portal/dns-message.ts';
import { clientHello } from '../gateway/hermetic.ts';

const FACTOR = Number(process.env['COFFERDAM_FUZZ'] ?? '1');
const runs = (count: number): { numRuns: number } => ({ numRuns: Math.ceil(count * FACTOR) });
const LIMIT_MS = 60_000 + 30_000 * FACTOR;

/** Bytes that come in, and what is written is thrown away. */
class Wire extends Duplex {
  override _read(): void {
    // Bytes are pushed from outside.
  }
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }
}

/** Some bytes of a whole message are changed, left out, or doubled. */
function mangled(whole: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const edit = fc.record({
    at: fc.nat(),
    kind: fc.constantFrom('set', 'cut', 'insert', 'copy'),
    byte: fc.nat(255),
    length: fc.nat(8),
  });
  return fc.tuple(whole, fc.array(edit, { maxLength: 4 })).map(([bytes, edits]) => {
    let out = bytes;
    for (const { at, kind, byte, length } of edits) {
      const place = at % (out.length + 1);
      const [before, after] = [out.subarray(0, place), out.subarray(place)];
      if (kind === 'set') out = Buffer.concat([before, Buffer.from([byte]), after.subarray(1)]);
      else if (kind === 'cut') out = Buffer.concat([before, after.subarray(length)]);
      else if (kind === 'insert') out = Buffer.concat([before, Buffer.from([byte]), after]);
      else out = Buffer.concat([before, after.subarray(0, length), after]);
    }
    return out;
  });
}

describe('authorities, beside the URL parser of the platform', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      ...['allowed', 'test', 'evil', '.', '..', ':', '443', '0443', '@', '#', '?', '/', '\\', '%2e', '%00', '[', ']'],
      ...['127', '0x7f', '0177', '1', '::', 'ffff', 'xn--', 'xn--strae-oqa', 'ß', 'ı', '。', '．', '-', '_', '*', ' '],
      ...['\t', '\r\n', '\0', 'A', 'LOCALHOST', '169.254.169.254', '2130706433', '＠', '․', '\u200d', '\u00ad', '+'],
    ),
    fc.string({ maxLength: 3, unit: 'binary' }),
  );
  const valid = fc.tuple(
    fc.constantFrom('allowed.test', 'A.B-c.Test', 'xn--strae-oqa.test', 'allowed.test.'),
    fc.constantFrom('', ':443', ':1', ':65535'),
  );
  const raw = fc.oneof(
    fc.array(piece, { minLength: 1, maxLength: 8 }).map((parts) => parts.join('')),
    fc
      .tuple(valid, fc.option(piece), fc.option(piece))
      .map(([[host, port], before, after]) => `${before ?? ''}${host}${after ?? ''}${port}`),
  );

  test(
    'what is taken is the same host and port to both, and is its own canonical form',
    () => {
      let taken = 0;
      fc.assert(
        fc.property(raw, (text) => {
          const ours = canonicalAuthority(text, 80);
          if (!ours.ok) return;
          taken += 1;
          const url = URL.parse(`http://${text}/`);
          expect(url).not.toBeNull();
          expect([url?.username, url?.password, url?.pathname, url?.search, url?.hash]).toEqual(['', '', '/', '', '']);
          // The final dot is the one difference that is meant.
          expect(url?.hostname.replace(/\.$/, '')).toBe(ours.host);
          expect(url?.port === '' ? 80 : Number(url?.port)).toBe(ours.port);
          expect(canonicalAuthority(`${ours.host}:${ours.port}`)).toEqual(ours);
          expect(canonicalHost(`${ours.host.toUpperCase()}.`)).toEqual({ ok: true, host: ours.host });
        }),
        runs(4000),
      );
      expect(taken).toBeGreaterThan(100);
    },
    LIMIT_MS,
  );
});

describe('paths, beside the URL parser of the platform', () => {
  const piece = fc.constantFrom(
    ...[
      '/',
      '.',
      '..',
      'a',
      'e',
      'E',
      '2',
      '5',
      'f',
      ';',
      '?',
      '#',
      '\\',
      '%',
      '%25',
      '%2e',
      '%2F',
      '%3b',
      '%5c',
      '%00',
    ],
    ...['%32', '%65', '%35', '%c0%ae', '%C3%A9', '%EF%BC%8F', '%0d%0a', '%7e', '@', '*', '//'],
  );

  test(
    'what is taken is its own canonical form, and has no other reading: decoded, decoded twice, without parameters',
    () => {
      fc.assert(
        fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
          const found = canonicalPath(`/${pieces.join('')}`);
          if (!found.ok) return;
          const { path, query } = found;
          expect(canonicalPath(path + query)).toEqual(found);
          expect(new URL(`http://allowed.test${path}`).pathname).toBe(path);
          const once = decodeURIComponent(path);
          expect(/%[0-9a-f]{2}/i.test(once), path).toBe(false);
          for (const segment of once.split(/[\\/]/)) expect(segment.split(';')[0], path).not.toMatch(/^\.\.?$/);
        }),
        runs(4000),
      );
    },
    LIMIT_MS,
  );
});

describe('ClientHellos, beside OpenSSL', () => {
  /** The name that OpenSSL reads, as soon as it has one. */
  async function nameByOpenSsl(bytes: Buffer): Promise<string | undefined> {
    const wire = new Wire();
    let seen: string | undefined;
    const secured = new TLSSocket(wire, {
      isServer: true,
      SNICallback: (name, done) => {
        seen = name;
        done(new Error('seen'));
      },
    });
    secured.on('error', () => undefined);
    wire.push(bytes);
    for (let turn = 0; turn < 4 && seen === undefined && !secured.destroyed; turn += 1) await new Promise(setImmediate);
    secured.destroy();
    wire.destroy();
    return seen;
  }

  const name = fc.constantFrom('allowed.test', 'evil.test', 'ALLOWED.test', 'a.b.c.allowed.test', 'allowed.test.');
  const hello = fc
    .record({
      name,
      second: fc.option(name, { freq: 5 }),
      padding: fc.constantFrom(0, 0, 40, 600),
      size: fc.constantFrom(1, 7, 100, 16_384),
    })
    .map(({ name: first, second, padding, size }) =>
      clientHello({ names: second === null ? [first] : [first, second], padding }, size),
    );

  test(
    'a name that is taken is the name that OpenSSL takes, and none is overlooked',
    async () => {
      expect(await nameByOpenSsl(clientHello())).toBe('allowed.test');
      let taken = 0;
      await fc.assert(
        fc.asyncProperty(fc.oneof(hello, mangled(hello)), async (bytes) => {
          const ours = parseClientHello(bytes);
          if (ours.kind === 'notTls' || ours.kind === 'malformed') return;
          const theirs = await nameByOpenSsl(bytes);
          if (theirs === undefined) return;
          taken += 1;
          expect(ours.kind === 'hello' ? ours.sni : ours.kind).toBe(theirs);
        }),
        runs(600),
      );
      expect(taken).toBeGreaterThan(50);
    },
    LIMIT_MS,
  );
});

describe('requests, beside Node’s own parser', () => {
  interface Seen {
    line: string;
    body: number;
  }
  // Who a request is for is judged behind the framing, by somebody else.
  const server = createServer({ requireHostHeader: false });
  const seen = new WeakMap<Duplex, Seen[]>();
  server.on('request', (request, response) => {
    const one: Seen = { line: `${request.method ?? ''} ${request.url ?? ''}`, body: 0 };
    const stream: Duplex = request.socket;
    seen.get(stream)?.push(one);
    request.on('data', (chunk: Buffer) => (one.body += chunk.length));
    response.end();
  });
  server.on('clientError', (_error, stream: Duplex) => stream.destroy());

  async function byNode(bytes: Buffer): Promise<{ requests: Seen[]; failed: boolean }> {
    const wire = new Wire();
    wire.on('error', () => undefined);
    const requests: Seen[] = [];
    seen.set(wire, requests);
    server.emit('connection', wire);
    wire.push(bytes);
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
    const failed = wire.destroyed;
    wire.destroy();
    return { requests, failed };
  }

  const header = fc.constantFrom(
    ...[
      'Host: a.test',
      'Content-Length: 0',
      'Content-Length: 5',
      'Content-Length: 5\r\nContent-Length: 5',
      'Content-Length: +5',
    ],
    ...[
      'Content-Length:  5 ',
      'Content-Length: 0x5',
      'Content-Length: 5, 5',
      'Transfer-Encoding: chunked',
      'Transfer-Encoding: Chunked',
    ],
    ...[
      'Transfer-Encoding: xchunked',
      'Transfer-Encoding: chunked, identity',
      'Transfer-Encoding : chunked',
      'Transfer-Encoding:\x0bchunked',
    ],
    ...[
      'X: y',
      'X:',
      'X: a\r\n b',
      'X: \x00',
      'X: \x7f',
      'X: é',
      'Content-Length: 005',
      'Trailer: X',
      'TE: trailers',
      ': y',
      'X y',
    ],
  );
  const body = fc.constantFrom(
    ...[
      '',
      'hello',
      'GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n',
      '0\r\n\r\n',
      '5\r\nhello\r\n0\r\n\r\n',
      '5;x=y\r\nhello\r\n0\r\n\r\n',
    ],
    ...[
      '05\r\nhello\r\n0\r\n\r\n',
      '5\nhello\n0\n\n',
      '5\r\nhello\r\n0\r\nX: y\r\n\r\n',
      'ffffffffffffffff1\r\n',
      '0x5\r\nhello\r\n0\r\n\r\n',
      '5\r\nhelloX\r\n',
    ],
  );
  const request = fc
    .record({
      line: fc.constantFrom(
        'GET / HTTP/1.1',
        'POST /a HTTP/1.1',
        'PUT /b?c HTTP/1.1',
        'GET  / HTTP/1.1',
        'get / HTTP/1.1',
        'POST / HTTP/1.1 ',
        'GET /\t HTTP/1.1',
        'HEAD / HTTP/1.1',
      ),
      headers: fc.array(header, { maxLength: 4 }),
      body,
      end: fc.constantFrom('\r\n', '\r\n', '\r\n', '\n', '\r'),
    })
    .map(({ line, headers, body: payload, end }) =>
      Buffer.from(`${[line, 'Host: a.test', ...headers].join('\r\n')}${end}\r\n${payload}`, 'latin1'),
    );
  const stream = fc.array(request, { minLength: 1, maxLength: 3 }).map((parts) => Buffer.concat(parts));

  test(
    'what is let through is as many requests to Node, with bodies of the same size',
    async () => {
      let taken = 0;
      await fc.assert(
        fc.asyncProperty(fc.oneof(stream, mangled(stream)), async (bytes) => {
          const framed = new RequestFramer().push(bytes);
          expect(framed.accepted).toBeLessThanOrEqual(bytes.length);
          const accepted = bytes.subarray(0, framed.accepted);
          taken += framed.heads;
          // A request that asks for the end of the connection is the last one that Node reads; refused ones come after.
          const ends = /\r\nconnection:|\r\nexpect:|\r\nupgrade:| HTTP\/1\.0\r\n/i.test(accepted.toString('latin1'));
          const { requests, failed } = await byNode(accepted);
          if (ends) {
            expect(requests.length).toBeLessThanOrEqual(framed.heads);
            return;
          }
          // Where Node refuses what ours took, nothing goes on either: both have to agree.
          if (failed) expect(requests.length).toBeLessThanOrEqual(framed.heads);
          else expect(requests.length).toBe(framed.heads);
          const bodies = requests.reduce((sum, { body: size }) => sum + size, 0);
          expect(bodies).toBeLessThanOrEqual(accepted.length);
          // Where Node refuses an earlier one it comes to none after it; what it saw has to be what ours saw, in order.
          expect(requests.map(({ line }) => line)).toEqual(linesOf(accepted).slice(0, requests.length));
        }),
        runs(1500),
      );
      expect(taken).toBeGreaterThan(100);
    },
    LIMIT_MS,
  );

  /** Method and target of the requests that ours found, one piece at a time. */
  function linesOf(bytes: Buffer): string[] {
    const framer = new RequestFramer();
    const lines: string[] = [];
    let from = 0;
    for (let at = 1; at <= bytes.length; at += 1) {
      const { accepted, heads: found } = framer.push(bytes.subarray(from, at));
      if (found > 0)
        lines.push(
          bytes
            .toString('latin1', from, from + accepted)
            .split(' ')
            .slice(0, 2)
            .join(' '),
        );
      from += accepted;
    }
    return lines;
  }
});

describe('DNS messages, beside dns-packet', () => {
  const label = fc.constantFrom('allowed', 'test', 'EVIL', 'a'.repeat(63), 'x-1', '_srv', '1');
  const question = fc
    .record({
      id: fc.nat(65_535),
      name: fc.array(label, { minLength: 1, maxLength: 4 }),
      type: fc.constantFrom('A', 'AAAA', 'TXT', 'MX', 'ANY', 'SRV'),
    })
    .map(({ id, name, type }) =>
      encode({
        id,
        type: 'query',
        flags: RECURSION_DESIRED,
        questions: [{ name: name.join('.'), type: type as 'A', class: 'IN' }],
      }),
    );

  test(
    'a question is the same to both, and every answer can be read',
    () => {
      let taken = 0;
      fc.assert(
        fc.property(
          fc.oneof(
            mangled(question),
            fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
          ),
          (message) => {
            const ours = parseQuery(message);
            if (ours === undefined) return;
            // Only a name that policy holds has an address, and the root is none.
            const named = 'query' in ours && ours.query.name !== '';
            const record = named ? { address: '198.18.0.2', ttl: 300 } : undefined;
            const reply = decode(answer(ours, 'query' in ours ? 0 : ours.rcode, record));
            expect(reply.id).toBe(message.readUInt16BE(0));
            expect(reply.type).toBe('response');
            if (!('query' in ours)) return;
            // A byte that no host name has is escaped by ours, and cannot be an allowed name.
            if (/^[a-z0-9_.-]*$/.test(ours.query.name))
              expect(reply.questions?.[0]?.name.toLowerCase() ?? '').toBe(
                ours.query.name === '' ? '.' : ours.query.name,
              );
            expect(reply.answers).toHaveLength(named ? 1 : 0);
            taken += named ? 1 : 0;
          },
        ),
        runs(3900),
      );
      expect(taken).toBeGreaterThan(100);
    },
    LIMIT_MS,
  );
});
