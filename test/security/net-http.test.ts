/**
 * NET and TLS rows about requests to hosts that are allowed in part: redirects, an API with the attacker's own token, object
 * storage, revocation look-ups, compressed answers. The real gateway over a real Unix socket, TLS terminated, hermetic hosts
 * behind a real TLS stack. Judged at the sink; each denial has an allowed twin in the same run.
 */
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import type { RequestListener } from 'node:http';
import type { EgressRule } from '../../src/domain/policy.ts';
import { connectTo, denials, hermetic, PUBLIC, tlsTo, type Hermetic } from '../gateway/hermetic.ts';

const API = 'api.forge.test';
const AT = `${PUBLIC}:443`;
const RULE: EgressRule = { host: API, methods: ['GET'], paths: ['/repos/owner/name/**'] };

let h: Hermetic;
afterEach(async () => {
  await h.close();
});

async function host(rules: EgressRule[], handler: RequestListener): Promise<void> {
  h = await hermetic({ rules });
  const [first] = rules;
  h.internet.names.set(first?.host ?? '', [PUBLIC]);
  await h.internet.serveHttps(AT, first?.host ?? '', handler);
}

/** One request on a connection of its own: status, and everything that came back. */
async function ask(
  head: string,
  options: { body?: string; to?: string } = {},
): Promise<{ status: number; text: string }> {
  const to = options.to ?? API;
  const raw = await tlsTo(h, to);
  raw.send(`${head}\r\nHost: ${to}\r\nConnection: close\r\n\r\n${options.body ?? ''}`);
  const text = await raw.finish();
  raw.close();
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
}

function sink(): string {
  return h.internet.sink(AT).toString('latin1');
}

const ok: RequestListener = (_request, response) => response.end('fine');

async function twin(): Promise<void> {
  const { status, text } = await ask('GET /repos/owner/name/releases HTTP/1.1');
  expect(status).toBe(200);
  expect(text).toContain('fine');
}

describe('NET-014 an answer that leads elsewhere', () => {
  const PLACES: [string, number, Record<string, string>, string][] = [
    ...[301, 302, 303, 307, 308].map((status): [string, number, Record<string, string>, string] => [
      `${status}`,
      status,
      { location: 'https://evil.test/collect' },
      '',
    ]),
    ['Refresh', 200, { refresh: '0; url=https://evil.test/collect' }, ''],
    ['Content-Location', 200, { 'content-location': 'https://evil.test/collect' }, ''],
    ['Link preload', 200, { link: '<https://evil.test/collect>; rel=preload' }, ''],
    ['Alt-Svc', 200, { 'alt-svc': 'h3="evil.test:443"' }, ''],
    ['HTML', 200, {}, '<meta http-equiv=refresh content="0;url=https://evil.test/collect">'],
  ];
  test.each(PLACES)('%s is handed on and never followed', async (name, status, headers, body) => {
    await host([RULE], (request, response) => {
      if (request.url?.endsWith('/away') === true) response.writeHead(status, headers).end(body);
      else response.end('fine');
    });
    const answer = await ask('GET /repos/owner/name/away HTTP/1.1');
    expect(answer.status).toBe(status);
    // Another protocol's way to the same host would be one that nobody judges.
    expect(/alt-svc/i.test(answer.text)).toBe(false);
    expect(h.internet.queries).toEqual([API]);
    expect(h.internet.dials).toEqual([AT]);
    if (name !== 'Alt-Svc') expect(answer.text).toContain('evil.test');
    // What the client does next is judged like anything else.
    const next = await connectTo(h.socketPath, 'evil.test:443');
    expect(next.status).toBe(403);
    next.raw.close();
    expect(denials(h.events, 'not_allowed')).toHaveLength(1);
    expect(h.internet.queries).toEqual([API]);
    await twin();
  });
});

describe('NET-023 TLS-014 an API with the attacker’s own token', () => {
  test.each([
    ['POST /gists', 'method_not_allowed'],
    ['POST /repos/owner/name/issues', 'method_not_allowed'],
    ['POST /repos/owner/name/issues/1/comments', 'method_not_allowed'],
    ['POST /repos/owner/name/releases', 'method_not_allowed'],
    ['POST /repos/owner/name/actions/workflows/1/dispatches', 'method_not_allowed'],
    ['PUT /repos/owner/name/contents/x', 'method_not_allowed'],
    ['POST /graphql', 'method_not_allowed'],
    ['GET /graphql', 'path_not_allowed'],
    ['GET /gists/1', 'path_not_allowed'],
    ['GET /repos/attacker/drop/contents/SECRET', 'path_not_allowed'],
    ['GET /repos/owner/name-other/contents/x', 'path_not_allowed'],
    ['GET /repos/owner/name.git/x', 'path_not_allowed'],
    ['GET /repos/OWNER/NAME/releases', 'path_not_allowed'],
    ['GET /repos/owner%2fname/releases', 'path_not_allowed'],
    ['GET /repositories/4711/releases', 'path_not_allowed'],
    ['GET /user', 'path_not_allowed'],
    ['GET /app', 'path_not_allowed'],
    ['GET /search/code', 'path_not_allowed'],
    ['GET /repos/owner/name/../../attacker/drop', 'malformed'],
    ['GET /repos/owner/name/%2e%2e/%2e%2e/attacker', 'malformed'],
    ['GET /repos/owner/name/..%2f..%2fattacker', 'malformed'],
    ['GET //repos/owner/name/releases', 'path_not_allowed'],
  ])('%s is %s', async (line, reason) => {
    await host([RULE], ok);
    const { status } = await ask(`${line} HTTP/1.1\r\nAuthorization: Bearer SECRET\r\nContent-Length: 0`);
    expect([400, 403]).toContain(status);
    expect(sink()).toBe('');
    expect(denials(h.events)).toHaveLength(1);
    expect(denials(h.events, reason)).toHaveLength(1);
    await twin();
  });

  test.each([
    'Authorization: Bearer SECRET',
    'Cookie: session=SECRET',
    'Private-Token: SECRET',
    'X-Api-Key: SECRET',
    'Proxy-Authorization: Basic SECRET',
  ])('an allowed request goes on without %s', async (header) => {
    await host([RULE], ok);
    expect((await ask(`GET /repos/owner/name/releases HTTP/1.1\r\n${header}`)).status).toBe(200);
    expect(sink()).toContain('GET /repos/owner/name/releases');
    expect(sink()).not.toContain('SECRET');
  });
});

describe('NET-025 object storage', () => {
  const STORE = 'bucket.store.test';
  test.each(['PUT', 'POST', 'DELETE'])('%s with a signature of the attacker', async (method) => {
    await host([{ host: STORE, methods: ['GET', 'HEAD'] }], ok);
    const signed = '/drop/object?X-Sig=SECRET';
    const { status } = await ask(`${method} ${signed} HTTP/1.1\r\nContent-Length: 6`, { body: 'SECRET', to: STORE });
    expect(status).toBe(403);
    expect(sink()).toBe('');
    expect((await ask('GET /drop/object HTTP/1.1', { to: STORE })).status).toBe(200);
  });

  test('a sibling bucket is another host', async () => {
    await host([{ host: STORE, methods: ['GET', 'HEAD'] }], ok);
    const other = await connectTo(h.socketPath, 'attacker.store.test:443');
    expect(other.status).toBe(403);
    other.raw.close();
    expect(h.internet.queries).toEqual([]);
    expect((await ask('GET /drop/object HTTP/1.1', { to: STORE })).status).toBe(200);
  });
});

test('NET-027 certificate, OCSP and CRL hosts are hosts like others, and the gateway asks none of them', async () => {
  await host([RULE], ok);
  for (const name of ['ocsp.ca.test:80', 'crl.ca.test:80', 'ct.log.test:443']) {
    const { status, raw } = await connectTo(h.socketPath, name);
    expect(status).toBe(403);
    raw.close();
  }
  await twin();
  expect(h.internet.queries).toEqual([API]);
});

test('NET-026 denials are told to the sandbox by reason only: neither addresses nor other hosts are in them', async () => {
  await host([RULE, { host: 'private.forge.test' }], ok);
  h.internet.names.set('private.forge.test', ['10.1.2.3']);
  const { text, raw } = await connectTo(h.socketPath, 'private.forge.test:443');
  raw.close();
  expect(text).toContain('address_forbidden');
  expect(text).not.toContain('10.1.2.3');
  expect(text).not.toContain(API);
  await twin();
});

test('TLS-020 a compressed answer is passed on as it is: nothing is inflated on the way', async () => {
  const bomb = gzipSync(Buffer.alloc(64 * 2 ** 20), { level: 9 });
  await host([RULE], (request, response) => {
    if (request.url?.endsWith('/bomb') === true) {
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': bomb.length }).end(bomb);
    } else response.end('fine');
  });
  const { status, text } = await ask('GET /repos/owner/name/bomb HTTP/1.1\r\nAccept-Encoding: gzip');
  expect(status).toBe(200);
  expect(Buffer.from(text.slice(text.indexOf('\r\n\r\n') + 4), 'latin1').equals(bomb)).toBe(true);
  expect(h.gateway.egress().find((entry) => entry.host === API)?.bytesIn).toBe(bomb.length);
  await twin();
});
