/**
 * TLS: server names, hellos and requests inside terminated connections, against the real gateway with a hermetic internet
 * whose hosts have real TLS stacks and HTTP parsers. Judged at the sink; each denial has an allowed twin.
 */
import { X509Certificate } from 'node:crypto';
import { connect as tlsConnect, TLSSocket } from 'node:tls';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { createRunAuthority } from '../../src/gateway/tls/authority.ts';
import {
  ALLOWED,
  clientHello,
  connectTo,
  denials,
  hermetic,
  policyOf,
  PUBLIC,
  Raw,
  tlsTo,
  type HelloOptions,
  type Hermetic,
} from '../gateway/hermetic.ts';

let h: Hermetic;
afterEach(async () => {
  await h.close();
});

const AT = `${PUBLIC}:443`;
const OTHER = '93.184.216.35';

function reasons(): string[] {
  return denials(h.events).map((event) => (event.decision?.allow === false ? event.decision.reason : ''));
}

async function twin(): Promise<void> {
  const { status, raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  expect(status).toBe(200);
  raw.send(clientHello());
  await raw.until((bytes) => bytes.includes('echo:'));
  raw.close();
}

test('TLS-001 pass-through: the hello of another name is not forwarded, not one byte', async () => {
  h = await hermetic();
  const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  raw.send(clientHello({ names: ['evil.test'] }));
  await raw.finish();
  expect(h.internet.sinkTotal()).toBe(0);
  expect(denials(h.events)[0]).toMatchObject({
    type: 'egress.tls',
    decision: { reason: 'sni_mismatch' },
    data: { host: ALLOWED, port: 443, sni: 'evil.test' },
  });
  await twin();
});

describe('TLS-002 server names', () => {
  test.each([
    ['none', { names: undefined }, 'sni_missing'],
    ['empty', { names: [''] }, 'sni_mismatch'],
    ['an empty list', { names: [] }, 'not_tls'],
    ['two', { names: [ALLOWED, 'evil.test'] }, 'not_tls'],
    ['two, the allowed one last', { names: ['evil.test', ALLOWED] }, 'not_tls'],
    ['an address', { names: ['93.184.216.34'] }, 'sni_mismatch'],
    ['NUL', { names: [`${ALLOWED}\0.evil.test`] }, 'sni_mismatch'],
    ['a port', { names: [`${ALLOWED}:443`] }, 'sni_mismatch'],
    ['a space', { names: [`${ALLOWED} `] }, 'sni_mismatch'],
    ['two dots', { names: [`${ALLOWED}..`] }, 'sni_mismatch'],
    ['UTF-8', { names: ['\u0430llowed.test'] }, 'sni_mismatch'],
    ['a subdomain', { names: [`x.${ALLOWED}`] }, 'sni_mismatch'],
    ['encrypted', { ech: true }, 'ech_refused'],
  ] as [string, HelloOptions, string][])('%s', async (_name, options, reason) => {
    for (const passThrough of [true, false]) {
      // Where TLS is terminated an encrypted hello is answered for its outer name only.
      if (!passThrough && reason === 'ech_refused') continue;
      h = await hermetic({ rules: [{ host: ALLOWED, passThrough }] });
      const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
      raw.send(clientHello(options));
      await raw.finish();
      expect(h.internet.sinkTotal()).toBe(0);
      expect(reasons()).toEqual([reason]);
      if (passThrough) await twin();
      await h.close();
    }
  });
  test.each([`${ALLOWED}.`, 'ALLOWED.TEST', 'aLLowed.test.'])('%s is the same name', async (name) => {
    h = await hermetic();
    const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    raw.send(clientHello({ names: [name] }));
    await raw.until((bytes) => bytes.includes('echo:'));
    expect(reasons()).toEqual([]);
  });
});

describe('TLS-004 fragments', () => {
  test.each([1, 5, 100])('records of %d bytes, one byte a segment', async (size) => {
    h = await hermetic();
    for (const [name, reason] of [
      [ALLOWED, undefined],
      ['evil.test', 'sni_mismatch'],
    ] as const) {
      const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
      for (const byte of clientHello({ names: [name] }, size)) {
        raw.send(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      if (reason === undefined) await raw.until((bytes) => bytes.includes('echo:'));
      else await raw.finish();
    }
    expect(reasons()).toEqual(['sni_mismatch']);
    expect(h.internet.sink(AT).includes('evil.test')).toBe(false);
  });
  test('a hello above 16 KiB, with the name behind the padding', async () => {
    h = await hermetic();
    const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    raw.send(clientHello({ padding: 30_000 }));
    await raw.until((bytes) => bytes.includes('echo:'));
    const { raw: bad } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    bad.send(clientHello({ names: ['evil.test'], padding: 30_000 }));
    await bad.finish();
    expect(reasons()).toEqual(['sni_mismatch']);
  });
  test('half a hello is not a hello without a name: it waits, and then it is denied', async () => {
    h = await hermetic({ limits: { helloMs: 300 } });
    const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    raw.send(clientHello().subarray(0, 60));
    await raw.finish();
    expect(h.internet.sinkTotal()).toBe(0);
    expect(reasons()).toEqual(['timeout']);
  });
});

/** Two terminated hosts; every request that arrives is kept. */
async function terminated(
  rules: Parameters<typeof policyOf>[0] = [{ host: ALLOWED }],
  extra: Partial<Parameters<typeof hermetic>[0]> = {},
): Promise<string[]> {
  h = await hermetic({ rules, ...extra });
  h.internet.names.set('secure.test', [OTHER]);
  const seen: string[] = [];
  const listen = async (at: string, host: string): Promise<void> =>
    h.internet.serveHttps(at, host, (request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
      request.on('end', () => {
        seen.push(`${request.method ?? ''} ${request.headers.host ?? ''}${request.url ?? ''} ${body}`.trim());
        if (request.url === '/redirect') response.writeHead(302, { location: 'https://evil.test/' });
        if (request.url === '/echo') response.setHeader('X-Echo', String(request.headers['authorization']));
        response.end(request.url === '/echo' ? JSON.stringify(request.headers) : 'hello');
      });
    });
  await listen(`${OTHER}:443`, 'secure.test');
  return seen;
}

const REQUEST = 'GET /a HTTP/1.1\r\nHost: secure.test\r\n\r\n';

test('a terminated host: the certificate is the run’s, the request is judged, recorded and answered', async () => {
  const seen = await terminated([{ host: 'secure.test', methods: ['GET'], paths: ['/a', '/b/**'] }]);
  const raw = await tlsTo(h, 'secure.test');
  const answer = async (text: string): Promise<string> => {
    raw.received = Buffer.alloc(0);
    raw.send(text);
    return (await raw.until((bytes) => /\r\n\r\n[^]*(?:hello|\})/.test(bytes.toString('latin1')))).toString('latin1');
  };
  expect(await answer(REQUEST)).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*hello$/);
  expect(await answer('GET /b/c?q=1 HTTP/1.1\r\nHost: secure.test\r\n\r\n')).toContain('200 OK');
  expect(seen).toEqual(['GET secure.test/a', 'GET secure.test/b/c?q=1']);
  expect(h.events.map((event) => event.type)).toEqual([
    'egress.name',
    'egress.connect',
    'egress.request',
    'egress.request',
  ]);
  expect(h.internet.dials).toHaveLength(1);
  raw.close();
});

test('TLS-005 fronting: another Host inside', async () => {
  const seen = await terminated([{ host: 'secure.test' }, { host: 'other.test' }]);
  for (const host of ['evil.test', 'other.test', 'secure.test:8443', 'secure.test, evil.test', '93.184.216.35']) {
    const raw = await tlsTo(h, 'secure.test');
    raw.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 400/);
  }
  expect(seen).toEqual([]);
  expect(new Set(reasons())).toEqual(new Set(['host_mismatch']));
  const raw = await tlsTo(h, 'secure.test');
  raw.send('GET / HTTP/1.1\r\nHost: SECURE.test.:443\r\n\r\n');
  await raw.until((bytes) => bytes.includes('hello'));
  expect(seen).toEqual(['GET secure.test/']);
});

test('TLS-007 each request of a kept-alive connection is judged', async () => {
  const seen = await terminated([{ host: 'secure.test', methods: ['GET'], paths: ['/a'] }]);
  for (const second of [
    'GET /secret HTTP/1.1\r\nHost: secure.test\r\n\r\n',
    'POST /a HTTP/1.1\r\nHost: secure.test\r\nContent-Length: 1\r\n\r\nx',
    'GET /a HTTP/1.1\r\nHost: evil.test\r\n\r\n',
  ]) {
    const raw = await tlsTo(h, 'secure.test');
    raw.send(REQUEST);
    await raw.until((bytes) => bytes.includes('hello'));
    raw.received = Buffer.alloc(0);
    raw.send(second);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 40[03]/);
  }
  const pipelined = await tlsTo(h, 'secure.test');
  pipelined.send(`${REQUEST}GET /secret HTTP/1.1\r\nHost: secure.test\r\n\r\n`);
  await pipelined.finish();
  expect(new Set(seen)).toEqual(new Set(['GET secure.test/a']));
  expect(reasons()).toEqual(['path_not_allowed', 'method_not_allowed', 'host_mismatch']);
  expect(h.gateway.egress().find((entry) => entry.reason === 'path_not_allowed')?.count).toBe(2);
});

const H = 'Host: secure.test\r\n';
const smuggling: [name: string, bytes: string][] = [
  ['CL and TE', `POST /a HTTP/1.1\r\n${H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['TE and CL', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`],
  ['CL twice, same', `POST /a HTTP/1.1\r\n${H}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`],
  ['CL twice, different', `POST /a HTTP/1.1\r\n${H}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy`],
  ['CL list', `POST /a HTTP/1.1\r\n${H}Content-Length: 1, 1\r\n\r\nx`],
  ['CL +1', `POST /a HTTP/1.1\r\n${H}Content-Length: +1\r\n\r\nx`],
  ['CL -1', `POST /a HTTP/1.1\r\n${H}Content-Length: -1\r\n\r\nx`],
  ['CL 01', `POST /a HTTP/1.1\r\n${H}Content-Length: 01\r\n\r\nx`],
  ['CL 0x1', `POST /a HTTP/1.1\r\n${H}Content-Length: 0x1\r\n\r\nx`],
  ['CL 1e1', `POST /a HTTP/1.1\r\n${H}Content-Length: 1e1\r\n\r\nx`],
  ['CL empty', `POST /a HTTP/1.1\r\n${H}Content-Length:\r\n\r\n`],
  ['CL huge', `POST /a HTTP/1.1\r\n${H}Content-Length: 99999999999999999999\r\n\r\n`],
  ['CL 1 2', `POST /a HTTP/1.1\r\n${H}Content-Length: 1 2\r\n\r\nx`],
  ['TE xchunked', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ['TE chunked, identity', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`],
  ['TE identity, chunked', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n`],
  ['TE gzip, chunked', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ['TE twice', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  [
    'TE twice, second identity',
    `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`,
  ],
  ['TE "chunked"', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`],
  ['TE vertical tab', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n`],
  ['TE form feed', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding:\x0cchunked\r\n\r\n0\r\n\r\n`],
  ['TE name with vertical tab', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n`],
  ['TE space before colon', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`],
  ['TE in HTTP/1.0', `POST /a HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['folded header', `GET /a HTTP/1.1\r\n${H}X: y\r\n z\r\n\r\n`],
  ['folded header, tab', `GET /a HTTP/1.1\r\n${H}X: y\r\n\tz\r\n\r\n`],
  ['folded TE', `POST /a HTTP/1.1\r\n${H}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`],
  ['space before the first header', `GET /a HTTP/1.1\r\n ${H}\r\n`],
  ['bare LF everywhere', 'GET /a HTTP/1.1\nHost: secure.test\n\n'],
  ['bare LF in one line', `GET /a HTTP/1.1\r\nHost: secure.test\nX: y\r\n\r\n`],
  ['bare LF at the end', `GET /a HTTP/1.1\r\n${H}\n`],
  ['bare CR', `GET /a HTTP/1.1\r\nHost: secure.test\rX: y\r\n\r\n`],
  ['NUL in a value', `GET /a HTTP/1.1\r\n${H}X: a\0b\r\n\r\n`],
  ['NUL in a name', `GET /a HTTP/1.1\r\n${H}X\0: b\r\n\r\n`],
  ['empty header name', `GET /a HTTP/1.1\r\n${H}: b\r\n\r\n`],
  ['no colon', `GET /a HTTP/1.1\r\n${H}X\r\n\r\n`],
  ['UTF-8 in a name', `GET /a HTTP/1.1\r\n${H}\xc3\xa9: b\r\n\r\n`],
  ['two Hosts', `GET /a HTTP/1.1\r\n${H}Host: evil.test\r\n\r\n`],
  ['two Hosts, same', `GET /a HTTP/1.1\r\n${H}${H}\r\n`],
  ['no Host', 'GET /a HTTP/1.1\r\n\r\n'],
  ['empty Host', 'GET /a HTTP/1.1\r\nHost:\r\n\r\n'],
  ['two spaces', `GET  /a HTTP/1.1\r\n${H}\r\n`],
  ['a tab as separator', `GET\t/a HTTP/1.1\r\n${H}\r\n`],
  ['space behind the version', `GET /a HTTP/1.1 \r\n${H}\r\n`],
  ['HTTP/1.2', `GET /a HTTP/1.2\r\n${H}\r\n`],
  ['HTTP/2.0', `GET /a HTTP/2.0\r\n${H}\r\n`],
  ['HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['HTTP/0.9', 'GET /a\r\n\r\n'],
  ['lower-case http', `GET /a http/1.1\r\n${H}\r\n`],
  ['empty line first', `\r\nGET /a HTTP/1.1\r\n${H}\r\n`],
  ['absolute form inside', `GET http://evil.test/a HTTP/1.1\r\n${H}\r\n`],
  ['authority form inside', `CONNECT evil.test:443 HTTP/1.1\r\n${H}\r\n`],
  ['asterisk form', `OPTIONS * HTTP/1.1\r\n${H}\r\n`],
  ['a body on GET', `GET /a HTTP/1.1\r\n${H}Content-Length: 30\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n..`],
  ['chunks on GET', `GET /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['dot segments', `GET /b/../secret HTTP/1.1\r\n${H}\r\n`],
  ['escaped dot segments', `GET /b/%2e%2e/secret HTTP/1.1\r\n${H}\r\n`],
  ['fragment', `GET /a#b HTTP/1.1\r\n${H}\r\n`],
  ['an expectation that nobody knows', `GET /a HTTP/1.1\r\n${H}Expect: the unexpected\r\n\r\n`],
  ['two expectations', `POST /a HTTP/1.1\r\n${H}Expect: 100-continue, x\r\nContent-Length: 1\r\n\r\nx`],
  ['path parameters on a dot segment', `GET /b/..;/secret HTTP/1.1\r\n${H}\r\n`],
  ['backslash', `GET /a\\b HTTP/1.1\r\n${H}\r\n`],
];

describe('TLS-009 smuggling', () => {
  test.each(smuggling)('%s', async (_name, bytes) => {
    const seen = await terminated([{ host: 'secure.test' }]);
    const raw = await tlsTo(h, 'secure.test');
    raw.send(bytes);
    const text = await raw.finish();
    expect(text).toMatch(/^HTTP\/1\.1 400/);
    expect(seen).toEqual([]);
    expect(denials(h.events).length).toBeGreaterThanOrEqual(1);
    expect(['malformed', 'host_mismatch']).toContain(reasons()[0]);
    const again = await tlsTo(h, 'secure.test');
    again.send(REQUEST);
    await again.until((received) => received.includes('hello'));
    expect(seen).toEqual(['GET secure.test/a']);
  });
  test('what is framed well goes on as exactly one request', async () => {
    const seen = await terminated([{ host: 'secure.test' }]);
    for (const body of [
      'Content-Length: 5\r\n\r\nabcde',
      'Content-Length: 5  \r\n\r\nabcde',
      'Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n',
    ]) {
      const raw = await tlsTo(h, 'secure.test');
      raw.send(`POST /a HTTP/1.1\r\n${H}${body}`);
      await raw.until((received) => received.includes('hello'));
      raw.close();
    }
    expect(seen).toEqual(Array.from({ length: 3 }, () => 'POST secure.test/a abcde'));
  });
});

test('AUD-015 the bytes of a terminated connection are in the summary and, at its end, in the record', async () => {
  const seen = await terminated([{ host: 'secure.test' }]);
  const raw = await tlsTo(h, 'secure.test');
  const body = 'x'.repeat(30_000);
  raw.send(`POST /a HTTP/1.1\r\n${H}Content-Length: ${body.length}\r\n\r\n${body}`);
  await raw.until((received) => received.includes('hello'));
  raw.received = Buffer.alloc(0);
  raw.send(REQUEST);
  await raw.until((received) => received.includes('hello'));
  raw.close();
  const ends = (): typeof h.events => h.events.filter((event) => event.type === 'egress.end');
  await expect.poll(ends).toHaveLength(1);
  const [told] = h.gateway.egress().filter((entry) => entry.host === 'secure.test');
  expect(ends()[0]?.data).toMatchObject({
    ...{ host: 'secure.test', port: 443, requests: 2, end: 'ended' },
    ...{ bytesIn: told?.bytesIn, bytesOut: told?.bytesOut },
  });
  // Bodies to the byte, and heads beside them.
  expect(told?.bytesOut).toBeGreaterThan(body.length);
  expect(told?.bytesOut).toBeLessThan(body.length + 1000);
  expect(told?.bytesIn).toBe(2 * 'hello'.length);
  expect(seen).toHaveLength(2);
});

test('AUD-015 a terminated connection that is open when the run ends has its bytes in the record, and one that was refused an end without any', async () => {
  await terminated([{ host: 'secure.test', paths: ['/a'] }]);
  const raw = await tlsTo(h, 'secure.test');
  raw.send(REQUEST);
  await raw.until((received) => received.includes('hello'));
  const refused = await tlsTo(h, 'secure.test');
  refused.send(`GET /other HTTP/1.1\r\n${H}\r\n`);
  await refused.finish();
  await h.gateway.close();
  const ends = h.events.filter((event) => event.type === 'egress.end').map(({ data }) => Number(data?.['bytesIn']));
  expect(ends).toHaveLength(2);
  expect(ends.filter((bytes) => bytes > 0)).toHaveLength(1);
});

describe('TLS-010 chunks', () => {
  test.each([
    ['extension', '1;a=b\r\nx\r\n0\r\n\r\n'],
    ['extension without a value', '1;\r\nx\r\n0\r\n\r\n'],
    ['a space behind the size', '1 \r\nx\r\n0\r\n\r\n'],
    ['a size in 0x', '0x1\r\nx\r\n0\r\n\r\n'],
    ['a negative size', '-1\r\nx\r\n0\r\n\r\n'],
    ['an overflowing size', 'fffffffffffffffff\r\nx\r\n0\r\n\r\n'],
    ['an empty size', '\r\nx\r\n0\r\n\r\n'],
    ['LF behind the size', '1\nx\r\n0\r\n\r\n'],
    ['more data than said', '1\r\nxy\r\n0\r\n\r\n'],
    ['a trailer', '1\r\nx\r\n0\r\nAuthorization: x\r\n\r\n'],
    ['a trailer behind nothing', '0\r\nX: y\r\n\r\n'],
  ])('%s', async (_name, chunks) => {
    const seen = await terminated([{ host: 'secure.test' }]);
    const raw = await tlsTo(h, 'secure.test');
    raw.send(`POST /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n${chunks}`);
    await raw.finish();
    expect(seen).toEqual([]);
    expect(reasons()).toContain('malformed');
  });
  test('a flood of one-byte chunks is bounded by the bytes out', async () => {
    await terminated([{ host: 'secure.test' }], { limits: { bytesOutPerHost: 10_000 } });
    const raw = await tlsTo(h, 'secure.test');
    raw.send(`POST /a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n`);
    for (let turn = 0; turn < 200; turn += 1) raw.send('1\r\nx\r\n'.repeat(100));
    await raw.finish();
    expect(reasons()).toContain('bytes_limit');
  });
});

describe('TLS-012 methods', () => {
  test.each(['PROPFIND', 'get', 'Post', 'TRACE', 'FOO'])('%s is not allowed by default', async (method) => {
    const seen = await terminated([{ host: 'secure.test' }]);
    const raw = await tlsTo(h, 'secure.test');
    raw.send(`${method} /a HTTP/1.1\r\n${H}\r\n`);
    expect(await raw.finish()).not.toMatch(/^HTTP\/1\.1 2/);
    expect(seen).toEqual([]);
    expect(denials(h.events)).toHaveLength(1);
  });
  test('an override of the method is not sent on', async () => {
    await terminated([{ host: 'secure.test' }]);
    const raw = await tlsTo(h, 'secure.test');
    raw.send(
      `POST /a HTTP/1.1\r\n${H}X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n`,
    );
    await raw.until((bytes) => bytes.includes('hello'));
    expect(h.internet.sink(`${OTHER}:443`).toString()).not.toMatch(/DELETE/);
  });
});

describe('TLS-015 upstream certificates', () => {
  test.each([
    ['another name', 'wrong.test', undefined],
    ['another authority', 'secure.test', 'evil authority'],
  ])('%s', async (_name, certificateFor, foreign) => {
    h = await hermetic({ rules: [{ host: 'secure.test' }, { host: ALLOWED, passThrough: true }] });
    h.internet.names.set('secure.test', [OTHER]);
    const authority =
      foreign === undefined
        ? await h.internet.authority()
        : await createRunAuthority({ runName: foreign, policy: policyOf([{ host: 'test' }]) });
    const secureContext = await authority.contextFor(certificateFor);
    let requests = 0;
    await h.internet.serve(`${OTHER}:443`, (socket) => {
      new TLSSocket(socket, { isServer: true, secureContext })
        .on('error', () => undefined)
        .on('data', () => (requests += 1));
    });
    const raw = await tlsTo(h, 'secure.test');
    raw.send(REQUEST);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 502[^]*certificate_invalid/);
    expect(requests).toBe(0);
    expect(reasons()).toEqual(['certificate_invalid']);
    await twin();
  });
  test('expired', async () => {
    h = await hermetic({ rules: [{ host: 'secure.test' }] });
    h.internet.names.set('secure.test', [OTHER]);
    const old = await createRunAuthority({
      runName: 'old',
      policy: policyOf([{ host: 'test' }]),
      now: () => Date.now() - 30 * 24 * 3_600_000,
    });
    const secureContext = await old.contextFor('secure.test');
    await h.internet.serve(`${OTHER}:443`, (socket) => {
      new TLSSocket(socket, { isServer: true, secureContext }).on('error', () => undefined);
    });
    const raw = await tlsTo(h, 'secure.test');
    raw.send(REQUEST);
    expect(await raw.finish()).toMatch(/certificate_invalid/);
  });
  test('plain HTTP where TLS belongs', async () => {
    h = await hermetic({ rules: [{ host: 'secure.test' }] });
    h.internet.names.set('secure.test', [OTHER]);
    await h.internet.serve(`${OTHER}:443`, (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'));
    const raw = await tlsTo(h, 'secure.test');
    raw.send(REQUEST);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 502[^]*dial_failed/);
  });
});

describe('TLS-016 the authority of a run', () => {
  test('speaks for the hosts of its policy only, for a day, and not for another run', async () => {
    h = await hermetic({ rules: [{ host: 'secure.test' }] });
    const certificate = new X509Certificate(h.gateway.authority);
    expect(certificate.ca).toBe(true);
    expect(new Date(certificate.validTo).getTime() - Date.now()).toBeLessThan(26 * 3_600_000);
    expect(h.gateway.authority).not.toContain('PRIVATE KEY');
    const one = await createRunAuthority({ runName: 'one', policy: policyOf([{ host: 'secure.test' }]) });
    const two = await createRunAuthority({ runName: 'two', policy: policyOf([{ host: 'secure.test' }]) });
    const verdict = async (host: string, ca: string): Promise<string> => {
      const secureContext = await one.contextFor(host);
      let server: TLSSocket | undefined;
      await h.internet.serve(`10.9.9.9:443`, (socket) => {
        server = new TLSSocket(socket, { isServer: true, secureContext });
        server.on('error', () => undefined);
      });
      const socket = await h.internet.dial({ address: '10.9.9.9', port: 443 }, new AbortController().signal);
      return new Promise((resolve) => {
        const client = tlsConnect({ socket, servername: host, ca });
        client.once('secureConnect', () => resolve('ok'));
        client.once('error', (error: Error) => resolve('code' in error ? String(error.code) : error.message));
      });
    };
    expect(await verdict('secure.test', one.certificate)).toBe('ok');
    expect(await verdict('secure.test', two.certificate)).not.toBe('ok');
    expect(await verdict('evil.test', one.certificate)).toBe('UNSPECIFIED');
    // These were the test's own, past the gateway.
    h.internet.dials.length = 0;
  });
  test('a client that does not trust it is told nothing wrong: the record names the fix', async () => {
    await terminated([{ host: 'secure.test' }]);
    await expect(tlsTo(h, 'secure.test', { ca: (await h.internet.authority()).certificate })).rejects.toThrow();
    await expect
      .poll(() => h.events.find((event) => event.type === 'egress.handshake')?.data?.['hint'])
      .toContain('passThrough');
  });
});

describe('credentials of hosts', () => {
  const rule = {
    host: 'secure.test',
    paths: ['/echo', '/redirect'],
    credential: { header: 'Authorization', valueEnv: 'REGISTRY' },
  };
  const secret = `Basic ${Buffer.from('robot:hunter2-canary').toString('base64')}`;
  test('are added for their host and path only, replace the client’s, and are not told when a host echoes them', async () => {
    await terminated([rule, { host: 'secure.test', paths: ['/open'] }], { credentials: { REGISTRY: secret } });
    const raw = await tlsTo(h, 'secure.test');
    raw.send('GET /echo HTTP/1.1\r\nHost: secure.test\r\nAuthorization: Bearer attacker\r\n\r\n');
    const text = (await raw.until((bytes) => bytes.includes('}'))).toString();
    const sink = h.internet.sink(`${OTHER}:443`).toString();
    expect(sink).toContain(`Authorization: ${secret}`);
    expect(sink).not.toContain('attacker');
    for (const form of [secret, secret.slice(6), 'hunter2-canary', 'robot:hunter2']) expect(text).not.toContain(form);
    raw.received = Buffer.alloc(0);
    raw.send('GET /open HTTP/1.1\r\nHost: secure.test\r\nAuthorization: Bearer attacker\r\n\r\n');
    await raw.until((bytes) => bytes.includes('hello'));
    expect(h.internet.sink(`${OTHER}:443`).toString().split(secret)).toHaveLength(2);
    expect(JSON.stringify(h.events)).not.toContain(secret.slice(6));
  });
  test('are not told in pieces, nor beside the status', async () => {
    await terminated([rule], { credentials: { REGISTRY: secret } });
    await h.internet.serveHttps(`${OTHER}:443`, 'secure.test', (request, response) => {
      const text = String(request.headers['authorization']);
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      response.writeHead(from === undefined ? 200 : 206, `Got ${text}`);
      response.end(from === undefined ? text : text.slice(Number(from), Number(to) + 1));
    });
    const parts: string[] = [];
    for (let at = 0; at < secret.length; at += 4) {
      const raw = await tlsTo(h, 'secure.test');
      raw.send(`GET /echo HTTP/1.1\r\nHost: secure.test\r\nRange: bytes=${at}-${at + 3}\r\nConnection: close\r\n\r\n`);
      const text = await raw.finish();
      expect(text).toMatch(/^HTTP\/1\.1 200 Got \*+\r\n/);
      // The whole of it, however little was asked for.
      parts.push(/\r\n(\*+)\r\n0\r\n\r\n$/.exec(text)?.[1] ?? text);
    }
    expect(new Set(parts)).toEqual(new Set(['*'.repeat(secret.length)]));
  });
  test.each([
    'TRACE /echo HTTP/1.1\r\nHost: secure.test\r\nMax-Forwards: 0\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nHost: secure.test\r\nX-Debug: 1\r\n\r\n',
    'GET /echo HTTP/1.1\r\nHost: other.test\r\nX-Debug: 1\r\n\r\n',
    'GET /nowhere HTTP/1.1\r\nHost: secure.test\r\nX-Debug: 1\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n',
    'GET /echo HTTP/1.1\r\nHost: secure.test\r\nContent-Length: 5x\r\n\r\n',
    'GET /echo HTTP/9.9\r\n\r\n',
    'GET /reset HTTP/1.1\r\nHost: secure.test\r\n\r\n',
  ])('INJ-018 are not told by an error either: %j', async (request) => {
    const paths = [...rule.paths, '/reset'];
    await terminated([{ ...rule, paths }], { credentials: { REGISTRY: secret } });
    h.internet.names.set('secure.test', [OTHER]);
    if (request.includes('/reset')) await h.internet.serve(`${OTHER}:443`, (socket) => socket.destroy());
    const raw = await tlsTo(h, 'secure.test');
    raw.send(request);
    const { text, status } = await raw.head();
    expect(status === 502 || (status >= 400 && status < 500)).toBe(true);
    for (const form of [secret, secret.slice(6), 'hunter2-canary', 'REGISTRY', 'PRIVATE KEY', 'node:', '.ts:'])
      expect(text + raw.received.toString('latin1')).not.toContain(form);
    raw.close();
    const [event] = h.events.filter(({ decision }) => decision?.allow === false);
    expect(event).toBeDefined();
    expect(JSON.stringify(h.events)).not.toContain('hunter2-canary');
  });

  test('are for TLS only: over plain HTTP the same rule adds nothing', async () => {
    await terminated([rule], { credentials: { REGISTRY: secret } });
    h.internet.names.set('secure.test', [OTHER]);
    await h.internet.serve(`${OTHER}:80`, (socket) => {
      socket.once('data', (bytes: Buffer) => {
        h.internet.keep(`${OTHER}:80`, bytes);
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi');
      });
    });
    const { raw } = await connectTo(h.socketPath, 'secure.test:80');
    raw.send(`GET /echo HTTP/1.1\r\n${H}Connection: close\r\n\r\n`);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 200 /);
    const absolute = new Raw(h.socketPath);
    absolute.send(`GET http://secure.test/echo HTTP/1.1\r\n${H}Connection: close\r\n\r\n`);
    expect(await absolute.finish()).toMatch(/^HTTP\/1\.1 200 /);
    const sink = h.internet.sink(`${OTHER}:80`).toString();
    expect(sink.split('GET /echo')).toHaveLength(3);
    expect(sink).not.toMatch(/authorization/i);
    const secured = await tlsTo(h, 'secure.test');
    secured.send(`GET /echo HTTP/1.1\r\n${H}Connection: close\r\n\r\n`);
    await secured.finish();
    expect(h.internet.sink(`${OTHER}:443`).toString()).toContain(`Authorization: ${secret}`);
  });

  test('are not told by the same host on another path either, and not packed', async () => {
    await terminated([rule, { host: 'secure.test', paths: ['/open'] }], { credentials: { REGISTRY: secret } });
    let kept = '';
    const coded: Record<string, (text: string) => Buffer> = {
      gzip: (text) => gzipSync(text),
      br: (text) => brotliCompressSync(text),
      zstd: (text) => zstdCompressSync(text),
      'gzip, br': (text) => brotliCompressSync(gzipSync(text)),
    };
    await h.internet.serveHttps(`${OTHER}:443`, 'secure.test', (request, response) => {
      kept = request.headers.authorization ?? kept;
      const coding = String(request.headers['x-coding']);
      const pack = coded[coding];
      if (pack) response.setHeader('Content-Encoding', coding);
      response.end(pack ? pack(`last: ${kept}.`) : `last: ${kept}.`);
    });
    const ask = async (path: string, coding: string, method = 'GET'): Promise<string> => {
      const raw = await tlsTo(h, 'secure.test');
      raw.send(`${method} ${path} HTTP/1.1\r\n${H}X-Coding: ${coding}\r\nConnection: close\r\n\r\n`);
      const text = await raw.finish();
      raw.close();
      return text;
    };
    for (const path of ['/echo', '/open']) {
      for (const coding of ['none', 'gzip', 'br', 'zstd'])
        expect((await ask(path, coding)).replace(/\r\n[0-9a-f]+\r\n/g, ''), `${path} ${coding}`).toContain(
          `last: ${'*'.repeat(secret.length)}.`,
        );
      // What nobody here can read is not handed on.
      expect(await ask(path, 'gzip, br'), path).toMatch(/^HTTP\/1\.1 502 /);
      expect(await ask(path, 'gzip', 'HEAD'), path).toMatch(/^HTTP\/1\.1 200 /);
    }
  });

  test('do not follow a redirect', async () => {
    const seen = await terminated([rule], { credentials: { REGISTRY: secret } });
    const raw = await tlsTo(h, 'secure.test');
    raw.send('GET /redirect HTTP/1.1\r\nHost: secure.test\r\n\r\n');
    expect((await raw.head()).status).toBe(302);
    expect(seen).toHaveLength(1);
    expect(h.internet.queries).toEqual(['secure.test']);
  });
});

describe('WebSocket', () => {
  const handshake =
    'GET /a HTTP/1.1\r\nHost: secure.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';
  async function origin(): Promise<void> {
    const secureContext = await (await h.internet.authority()).contextFor('secure.test');
    await h.internet.serve('93.184.216.36:443', (socket) => {
      const secured = new TLSSocket(socket, { isServer: true, secureContext });
      secured.on('error', () => undefined);
      let open = false;
      secured.on('data', (chunk: Buffer) => {
        h.internet.keep('ws', chunk);
        if (open) secured.write(chunk);
        else
          secured.write(
            'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n',
          );
        open = true;
      });
    });
    h.internet.names.set('secure.test', ['93.184.216.36']);
  }
  test('only where the rule says so', async () => {
    h = await hermetic({ rules: [{ host: 'secure.test' }] });
    await origin();
    const raw = await tlsTo(h, 'secure.test');
    raw.send(handshake);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 403[^]*upgrade_not_allowed/);
    expect(h.internet.sink('ws')).toHaveLength(0);
  });
  test('TLS-022 then bytes go both ways, whatever they are', async () => {
    h = await hermetic({ rules: [{ host: 'secure.test', upgrade: true }] });
    await origin();
    const raw = await tlsTo(h, 'secure.test');
    raw.send(handshake);
    expect((await raw.head()).status).toBe(101);
    raw.received = Buffer.alloc(0);
    const frame = Buffer.concat([
      Buffer.from([0x82, 0xff]),
      Buffer.alloc(8, 0xff),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    ]);
    raw.send(frame);
    expect((await raw.until((bytes) => bytes.length >= frame.length)).equals(frame)).toBe(true);
    raw.close();
  });
});

test('a kept-alive connection that nobody uses ends after its time, without a denial', async () => {
  await terminated([{ host: 'secure.test' }], { limits: { idleMs: 2_000 } });
  const raw = await tlsTo(h, 'secure.test');
  raw.send(REQUEST);
  await raw.finish();
  expect(raw.received.toString('latin1')).toMatch(/^HTTP\/1\.1 200 [^]*hello/);
  expect(reasons()).toEqual([]);
});

test('WebSocket bytes count, and the limit is an event', async () => {
  h = await hermetic({ rules: [{ host: 'secure.test', upgrade: true }], limits: { bytesOutPerHost: 2_000 } });
  const secureContext = await (await h.internet.authority()).contextFor('secure.test');
  h.internet.names.set('secure.test', [OTHER]);
  await h.internet.serve(`${OTHER}:443`, (socket) => {
    const secured = new TLSSocket(socket, { isServer: true, secureContext });
    const agreed = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
    secured.on('error', () => undefined).once('data', () => secured.write(agreed));
  });
  const raw = await tlsTo(h, 'secure.test');
  raw.send(`GET /a HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  expect((await raw.head()).status).toBe(101);
  raw.send(Buffer.alloc(1_000));
  raw.send(Buffer.alloc(2_000));
  await raw.finish();
  await expect.poll(reasons).toEqual(['bytes_limit']);
  expect(denials(h.events)[0]).toMatchObject({ type: 'egress.limit', data: { host: 'secure.test' } });
});

test('NET-022 what a download sends is the usual set and nothing else', async () => {
  await terminated([{ host: 'secure.test', methods: ['GET', 'HEAD'] }]);
  const raw = await tlsTo(h, 'secure.test');
  raw.send(
    `GET /a HTTP/1.1\r\n${H}Accept: */*\r\nUser-Agent: ${'exfil'.repeat(100)}\r\nReferer: https://exfil\r\nCookie: exfil\r\nX-Exfil: exfil\r\nnpm-session: exfil\r\nAccept-Language: ${'exfil'.repeat(60)}\r\n\r\n`,
  );
  await raw.until((bytes) => bytes.includes('hello'));
  const sink = h.internet.sink(`${OTHER}:443`).toString();
  expect(sink).toContain('Accept: */*');
  expect(sink).not.toContain('exfil');
});

test('NET-018 and DNS-003: DNS over HTTPS is refused on an allowed host', async () => {
  const seen = await terminated([{ host: 'secure.test' }]);
  const attempts = [
    `GET /dns-query?dns=AAAB HTTP/1.1\r\n${H}\r\n`,
    `GET /a HTTP/1.1\r\n${H}Accept: application/dns-message\r\n\r\n`,
    `POST /a HTTP/1.1\r\n${H}Content-Type: application/dns-message\r\nContent-Length: 2\r\n\r\nab`,
  ];
  for (const bytes of attempts) {
    const raw = await tlsTo(h, 'secure.test');
    raw.send(bytes);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 403/);
  }
  expect(seen).toEqual([]);
});
