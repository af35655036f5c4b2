/**
 * NET-020, NET-021, NET-022: a registry as a way out. The real gateway over a real Unix socket, TLS terminated, a
 * hermetic registry behind a real TLS stack. Judged at the sink; each denial has an allowed twin in the same run.
 */
import { afterEach, describe, expect, test } from 'vitest';
import type { GatewayLimits } from '../../src/gateway/limits.ts';
import { registryRules } from '../../src/policy/egress/registry.ts';
import { denials, hermetic, PUBLIC, tlsTo, type Hermetic } from '../gateway/hermetic.ts';

const REGISTRY = 'registry.test';
const AT = `${PUBLIC}:443`;

let h: Hermetic;
afterEach(async () => {
  await h.close();
});

/** A registry that has packages whose name begins with `real`. */
async function registry(limits: Partial<GatewayLimits> = {}): Promise<void> {
  const found = registryRules('npm', [{ part: 'index', address: `https://${REGISTRY}` }], { allowPrivate: false });
  if (!found.ok) throw new Error(found.problem);
  h = await hermetic({ policy: { rules: found.rules, deny: [], gitRepositories: [] }, limits });
  h.internet.names.set(REGISTRY, [PUBLIC]);
  await h.internet.serveHttps(AT, REGISTRY, (request, response) => {
    response.statusCode = (request.url ?? '').startsWith('/real') ? 200 : 404;
    response.end('{}');
  });
}

/** Sends requests on one connection and gives the status of each. */
async function ask(...heads: string[]): Promise<number[]> {
  const raw = await tlsTo(h, REGISTRY);
  const statuses: number[] = [];
  for (const head of heads) {
    raw.received = Buffer.alloc(0);
    raw.send(`${head}\r\nHost: ${REGISTRY}\r\n\r\n`);
    const text = (await raw.until((bytes) => /\r\n\r\n[^]*(?:\}|\n0\r\n\r\n)/.test(bytes.toString('latin1')))).toString(
      'latin1',
    );
    statuses.push(Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0));
    if (raw.ended) break;
  }
  raw.close();
  return statuses;
}

function sink(): string {
  return h.internet.sink(AT).toString('latin1');
}

async function twin(): Promise<void> {
  expect(await ask('GET /real-package HTTP/1.1')).toEqual([200]);
  expect(sink()).toContain('GET /real-package\r\n');
}

describe('NET-020 data in names and queries', () => {
  test.each([
    'GET /a/b/c/d/SECRET HTTP/1.1',
    `GET /${'SECRET'.repeat(90)} HTTP/1.1`,
    'GET /-/v1/search/SECRET HTTP/1.1',
    'GET /..%2fSECRET HTTP/1.1',
    'GET /%0aSECRET HTTP/1.1',
  ])('%s is refused', async (head) => {
    await registry();
    const [status = 0] = await ask(head);
    expect([400, 403]).toContain(status);
    expect(sink()).not.toContain('SECRET');
    expect(denials(h.events).length).toBe(1);
    await twin();
  });

  test('a query is cut off', async () => {
    await registry();
    expect(await ask('GET /real-package?data=SECRET HTTP/1.1')).toEqual([200]);
    expect(sink()).toContain('GET /real-package\r\n');
    expect(sink()).not.toContain('SECRET');
  });

  test('ten thousand invented names end at the budget, and what the registry has goes on', async () => {
    const registryMisses = 40;
    await registry({ registryMisses });
    await twin();
    const before = sink().split('GET /x-').length;
    for (let at = 0; at < 200; at += 50) {
      // A refused request ends its connection.
      await Promise.all(Array.from({ length: 50 }, (_unused, index) => ask(`GET /x-${at + index} HTTP/1.1`)));
    }
    expect(sink().split('GET /x-').length - before).toBe(registryMisses);
    const refused = denials(h.events, 'miss_limit');
    expect(refused[0]).toMatchObject({ decision: { rule: 'limit: registryMisses' }, data: { class: 'suspicious' } });
    expect(h.gateway.egress().find(({ reason }) => reason === 'miss_limit')?.count).toBe(200 - registryMisses);
    await twin();
    expect(await ask('GET /real-but-never-asked-for HTTP/1.1')).toEqual([429]);
  });

  test('asking again for what is missing is no new miss', async () => {
    await registry({ registryMisses: 2 });
    expect(await ask('GET /x HTTP/1.1', 'GET /x HTTP/1.1', 'GET /x HTTP/1.1')).toEqual([404, 404, 404]);
    await twin();
  });
});

describe('NET-021 publishing with the attacker’s own token', () => {
  test.each([
    'PUT /mine HTTP/1.1',
    'POST /legacy/ HTTP/1.1',
    'PUT /-/package/mine/dist-tags/latest HTTP/1.1',
    'DELETE /mine/-/mine-1.0.0.tgz/-rev/1 HTTP/1.1',
    'PATCH /mine HTTP/1.1',
    'MKCOL /mine HTTP/1.1',
    'put /mine HTTP/1.1',
  ])('%s', async (head) => {
    await registry();
    // What is no method at all is cut instead of answered.
    const [status = 0] = await ask(`${head}\r\nAuthorization: Bearer SECRET\r\nContent-Length: 0`);
    expect([0, 400, 403]).toContain(status);
    expect(sink()).toBe('');
    const [event] = denials(h.events);
    expect(event).toMatchObject({ type: 'egress.request', decision: { allow: false } });
    await twin();
  });

  test.each(['X-HTTP-Method-Override: PUT', 'X-HTTP-Method: PUT', 'X-Method-Override: DELETE'])(
    'a method hidden in %s is left behind',
    async (header) => {
      await registry();
      expect(await ask(`GET /real-package HTTP/1.1\r\n${header}`)).toEqual([200]);
      expect(sink()).not.toMatch(/override|x-http-method/i);
    },
  );
});

test('NET-022 the sink sees the usual set of headers only, whatever was sent', async () => {
  await registry();
  const headers = [
    'User-Agent: SECRET',
    'Referer: https://SECRET.test/',
    'Cookie: a=SECRET',
    'Authorization: Bearer SECRET',
    'npm-session: SECRET',
    'X-Anything: SECRET',
    'Accept: application/vnd.npm.install-v1+json; q=1.0, text/SECRET',
    'Accept-Language: SECRET',
    'If-None-Match: SECRET',
  ];
  expect(await ask(`GET /real-package HTTP/1.1\r\n${headers.join('\r\n')}`)).toEqual([200]);
  expect(sink()).not.toContain('SECRET');
  const names = sink()
    .split('\r\n')
    .flatMap((line) => /^([\w-]+):/.exec(line)?.[1]?.toLowerCase() ?? []);
  expect(names.toSorted()).toEqual(['accept', 'connection', 'host', 'user-agent']);
});
