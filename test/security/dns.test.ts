/**
 * DNS: names as a way out, at the gateway. What counts is what reaches the host's resolver. The portal's side (messages,
 * floods, AAAA) is in `test/sandbox/dns.test.ts`.
 */
import { randomBytes } from 'node:crypto';
import { get } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { ALLOWED, clientHello, connectTo, denials, hermetic, PUBLIC, Raw, type Hermetic } from '../gateway/hermetic.ts';

let h: Hermetic;
afterEach(async () => {
  await h.close();
});

/** Asks as the portal does. */
async function name(host: string, type?: number): Promise<{ status: number; address?: string }> {
  const query = type === undefined ? '' : `?type=${type}`;
  const raw = new Raw(h.socketPath).send(
    `GET /v1/name/${encodeURIComponent(host)}${query} HTTP/1.1\r\nHost: gateway.cofferdam.internal\r\nConnection: close\r\n\r\n`,
  );
  const text = await raw.finish();
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
  const address = /"address":"([\d.]+)"/.exec(text)?.[1];
  return { status, ...(address === undefined ? {} : { address }) };
}

async function twin(): Promise<void> {
  const { status, raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  expect(status).toBe(200);
  raw.send(clientHello());
  await raw.until((bytes) => bytes.includes('echo:'));
  raw.close();
}

function repeated(): number {
  return h.events
    .filter((event) => event.type === 'egress.repeated')
    .reduce((sum, event) => sum + Number(event.data?.['more'] ?? 0), 0);
}

test('DNS-001 a tunnel of names: the host’s resolver is asked nothing, and every name is counted', async () => {
  h = await hermetic({ limits: { distinctDenials: 50 } });
  const asked = 1000;
  for (let round = 0; round < asked; round += 50) {
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        expect((await name(`${randomBytes(20).toString('hex')}.evil.test`)).status).toBe(404);
      }),
    );
  }
  expect(h.internet.queries).toEqual([]);
  await twin();
  await h.gateway.close();
  const written = denials(h.events).filter((event) => event.type === 'egress.name').length;
  expect(written + repeated()).toBe(asked);
  expect(written).toBeLessThanOrEqual(51);
});

test('DNS-001 records of other types: no name has any, each question is told once with what was asked, its repeats are counted', async () => {
  h = await hermetic();
  const asked: [string, number][] = [
    ['payload.evil.test', 16],
    ['payload.evil.test', 16],
    [ALLOWED, 16],
    [`_https._tcp.${ALLOWED}`, 33],
    ['1.0.18.198.in-addr.arpa', 12],
    ['mail.evil.test', 65_280],
    ['a b', 10],
  ];
  for (const [host, type] of asked) expect((await name(host, type)).status).toBe(404);
  await h.gateway.close();
  expect(
    denials(h.events)
      .filter((event) => event.type === 'egress.name')
      .map(({ decision, data }) => [data?.['host'], data?.['record'], decision?.allow === false && decision.reason]),
  ).toEqual([
    ['payload.evil.test', 'TXT', 'not_allowed'],
    [ALLOWED, 'TXT', 'record_type'],
    ['1.0.18.198.in-addr.arpa', 'PTR', 'not_allowed'],
    ['mail.evil.test', '65280', 'not_allowed'],
    ['a b', 'NULL', 'malformed'],
  ]);
  // The service of the allowed name is the same denial, counted.
  expect(repeated()).toBe(2);
  expect(denials(h.events).map(({ data }) => data?.['class'])).toEqual(
    expect.arrayContaining(['needed', 'telemetry', 'telemetry', 'needed', 'suspicious']),
  );
  expect(h.internet.queries).toEqual([]);
});

test('DNS-002 a tunnel below an allowed suffix ends at its limits, before the resolver hears of it', async () => {
  const limits = { wildcardNames: 8, wildcardLabel: 16 };
  h = await hermetic({ rules: [{ host: ALLOWED, passThrough: true }, { host: '*.wide.test' }], limits });
  for (let at = 0; at < 40; at += 1) {
    const { raw } = await connectTo(h.socketPath, `n${at}.wide.test:443`);
    raw.close();
  }
  const long = `${'a'.repeat(17)}.wide.test`;
  const deep = 'a.b.wide.test';
  for (const host of [long, deep]) {
    const { status, raw } = await connectTo(h.socketPath, `${host}:443`);
    expect(status).toBeGreaterThanOrEqual(400);
    raw.close();
  }
  expect(h.internet.queries).toEqual(Array.from({ length: limits.wildcardNames }, (_unused, at) => `n${at}.wide.test`));
  expect(denials(h.events, 'name_limit').length).toBeGreaterThan(0);
  expect(denials(h.events, 'not_allowed').map((event) => event.data?.['host'])).toEqual([deep]);
  await twin();
});

test('DNS-006 names never share an address, and run out instead', async () => {
  const names = 60;
  h = await hermetic({
    rules: [{ host: ALLOWED, passThrough: true }, { host: '*.wide.test' }],
    limits: { names, wildcardNames: 1000 },
  });
  const first = await name(ALLOWED);
  const answers = await Promise.all(Array.from({ length: 200 }, (_unused, at) => name(`n${at}.wide.test`)));
  const addresses = [first, ...answers].flatMap(({ address }) => address ?? []);
  expect(addresses).toHaveLength(names);
  expect(new Set(addresses).size).toBe(names);
  expect(denials(h.events, 'name_limit')[0]?.decision).toMatchObject({ rule: 'limit: names' });
  // What has an address keeps it.
  expect(await name(ALLOWED)).toEqual(first);
  expect(h.internet.queries).toEqual([]);
  await twin();
});

test('DNS-012 a name is in the audit only: neither in what the gateway answers nor in what it writes', async () => {
  const written: string[] = [];
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = (chunk: string | Uint8Array) => {
    written.push(String(chunk));
    return true;
  };
  const canary = `c${randomBytes(16).toString('hex')}`;
  try {
    h = await hermetic();
    const raw = new Raw(h.socketPath).send(`CONNECT ${canary}.test:443 HTTP/1.1\r\n\r\n`);
    const text = await raw.finish();
    expect(text).toContain('not_allowed');
    const plain = await new Promise<string>((resolve, reject) => {
      get({ socketPath: h.socketPath, path: `http://${canary}.test/` }, (response) => {
        let body = JSON.stringify(response.headers);
        response.on('data', (chunk: Buffer) => (body += chunk.toString()));
        response.once('end', () => resolve(body));
      }).once('error', reject);
    });
    expect(plain).not.toContain(canary);
    expect(JSON.stringify(h.events)).toContain(canary);
    expect(h.internet.queries).toEqual([]);
    await twin();
  } finally {
    process.stderr.write = write;
  }
  expect(written.join('')).not.toContain(canary);
  expect(h.internet.sink(`${PUBLIC}:443`).toString('latin1')).not.toContain(canary);
});
