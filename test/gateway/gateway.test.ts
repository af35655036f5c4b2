import { afterEach, expect, test } from 'vitest';
import { ALLOWED, clientHello, connectTo, denials, hermetic, PUBLIC, Raw, type Hermetic } from './hermetic.ts';

let h: Hermetic;
afterEach(async () => {
  await h.close();
});

async function get(socketPath: string, url: string, host?: string): Promise<{ status: number; body: string }> {
  const authority = host ?? new URL(url).host;
  const raw = new Raw(socketPath).send(`GET ${url} HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n\r\n`);
  const text = await raw.finish();
  return { status: Number(text.slice(9, 12)), body: text.slice(text.indexOf('\r\n\r\n') + 4) };
}

const nameUrl = (name: string): string => `http://gateway.cofferdam.internal/v1/name/${name}`;

test('an allowed name gets an address of its own, recorded before the answer, and keeps it', async () => {
  h = await hermetic({
    rules: [
      { host: ALLOWED, passThrough: true },
      { host: 'other.test', passThrough: true },
    ],
  });
  expect(JSON.parse((await get(h.socketPath, nameUrl(ALLOWED))).body)).toEqual({ address: '198.18.0.2', ttl: 300 });
  expect(JSON.parse((await get(h.socketPath, nameUrl('OTHER.test.'))).body)).toEqual({
    address: '198.18.0.3',
    ttl: 300,
  });
  expect(JSON.parse((await get(h.socketPath, nameUrl(ALLOWED))).body)).toEqual({ address: '198.18.0.2', ttl: 300 });
  expect(h.events.map((event) => [event.type, event.data?.['host']])).toEqual([
    ['egress.name', ALLOWED],
    ['egress.name', 'other.test'],
  ]);
  expect(h.internet.queries).toEqual([]);
});

test('a name that policy does not hold is a 404, an event and an entry with port 0', async () => {
  h = await hermetic();
  expect((await get(h.socketPath, nameUrl('evil.test'))).status).toBe(404);
  expect(denials(h.events, 'not_allowed')).toHaveLength(1);
  expect(h.gateway.egress()).toEqual([
    { host: 'evil.test', port: 0, allow: false, reason: 'not_allowed', count: 1, bytesIn: 0, bytesOut: 0 },
  ]);
});

test('hold stays open until the gateway closes', async () => {
  h = await hermetic();
  const raw = new Raw(h.socketPath).send(
    'GET http://gateway.cofferdam.internal/v1/hold HTTP/1.1\r\nHost: gateway.cofferdam.internal\r\n\r\n',
  );
  expect((await raw.head()).status).toBe(200);
  expect(raw.ended).toBe(false);
  await h.gateway.close();
  await raw.finish();
  expect(raw.ended).toBe(true);
});

test('CONNECT by name: recorded, resolved once, dialled at the checked address, relayed both ways', async () => {
  h = await hermetic();
  const { status, raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  expect(status).toBe(200);
  const hello = clientHello();
  raw.send(hello);
  const back = await raw.until((bytes) => bytes.length >= hello.length + 5);
  expect(back.subarray(0, 5).toString()).toBe('echo:');
  expect(h.internet.sink(`${PUBLIC}:443`).equals(hello)).toBe(true);
  expect(h.internet.queries).toEqual([ALLOWED]);
  expect(h.internet.dials).toEqual([`${PUBLIC}:443`]);
  raw.socket.end();
  await raw.finish();
  await expect
    .poll(() => h.gateway.egress())
    .toEqual([{ host: ALLOWED, port: 443, allow: true, count: 1, bytesIn: hello.length + 5, bytesOut: hello.length }]);
  expect(h.events.map((event) => event.type)).toEqual(['egress.name', 'egress.connect', 'egress.end']);
});

test('a denied CONNECT says the reason, the rule and the line that would allow it; nothing is resolved or dialled', async () => {
  h = await hermetic({ deny: ['bad.test'] });
  const { raw, status, text } = await connectTo(h.socketPath, 'evil.test:443');
  expect(status).toBe(403);
  const body: unknown = JSON.parse((text + (await raw.finish())).split('\r\n\r\n')[1] ?? '');
  expect(body).toMatchObject({
    reason: 'not_allowed',
    rule: 'default',
    hint: expect.stringContaining('evil.test') as string,
  });
  expect((await connectTo(h.socketPath, 'bad.test:443')).status).toBe(403);
  expect(denials(h.events).map((event) => event.decision)).toEqual([
    { allow: false, rule: 'default', reason: 'not_allowed' },
    { allow: false, rule: 'deny: bad.test', reason: 'denied_by_policy' },
  ]);
  expect(h.internet.queries).toEqual([]);
  expect(h.internet.dials).toEqual([]);
});

test('the name under which what is too much is counted cannot be asked for to get past it', async () => {
  h = await hermetic({ limits: { distinctDenials: 3 } });
  for (let port = 1; port <= 40; port += 1) (await connectTo(h.socketPath, `(other):${port}`)).raw.close();
  await h.gateway.close();
  expect(denials(h.events).filter(({ type }) => type === 'egress.connect')).toHaveLength(4);
  const repeated = h.events.filter((event) => event.type === 'egress.repeated');
  expect(repeated.reduce((sum, event) => sum + Number(event.data?.['more']), 0)).toBe(36);
});

test('a service of the gateway takes no second Host and no other, and records both', async () => {
  h = await hermetic();
  const self = 'gateway.cofferdam.internal';
  for (const head of [
    `Host: ${self}\r\nHost: x.test\r\n`,
    'Host: x.test\r\n',
    `Host: ${self}\r\nHost: ${self}\r\n`,
    '',
  ]) {
    const { raw, status } = await connectTo(h.socketPath, `${self}:80`);
    expect(status).toBe(200);
    raw.send(`GET /v1/name/${ALLOWED} HTTP/1.1\r\n${head}\r\n`);
    expect(await raw.finish()).toMatch(/^HTTP\/1\.1 400 /);
  }
  expect(denials(h.events, 'host_mismatch')[0]).toMatchObject({ type: 'egress.request', data: { host: self } });
  expect(h.gateway.egress()).toMatchObject([{ host: self, reason: 'host_mismatch', count: 4 }]);
  const { raw } = await connectTo(h.socketPath, `${self}:80`);
  raw.send(`GET /v1/name/${ALLOWED} HTTP/1.1\r\nHost: ${self}\r\nConnection: close\r\n\r\n`);
  expect(await raw.finish()).toMatch(/^HTTP\/1\.1 200 /);
});

test('the gateway’s own services have one port', async () => {
  h = await hermetic();
  expect((await connectTo(h.socketPath, 'gateway.cofferdam.internal:443')).status).toBe(403);
  expect(denials(h.events, 'port_not_allowed')).toHaveLength(1);
  expect((await connectTo(h.socketPath, 'gateway.cofferdam.internal:80')).status).toBe(200);
});

test('repeated denials are one event each and exact counts', async () => {
  h = await hermetic({ limits: { distinctDenials: 3 } });
  for (let turn = 0; turn < 5; turn += 1) await get(h.socketPath, nameUrl('evil.test'));
  for (let turn = 0; turn < 6; turn += 1) await get(h.socketPath, nameUrl(`e${turn}.test`));
  await h.gateway.close();
  const repeated = h.events
    .filter((event) => event.type === 'egress.repeated')
    .map((event) => [event.data?.['host'], event.data?.['count']]);
  expect(repeated).toEqual([
    ['evil.test', 5],
    ['(other)', 4],
  ]);
  const single = denials(h.events).filter((event) => event.type === 'egress.name');
  expect(single.map((event) => event.data?.['host'])).toEqual(['evil.test', 'e0.test', 'e1.test', '(other)']);
});

test('an audit that cannot be written stops everything', async () => {
  h = await hermetic({ audit: () => Promise.reject(new Error('disk full')) });
  expect((await connectTo(h.socketPath, `${ALLOWED}:443`)).status).toBe(503);
  expect((await get(h.socketPath, nameUrl(ALLOWED))).status).toBe(500);
  expect(h.internet.dials).toEqual([]);
});

test('plain HTTP: CONNECT to port 80 and absolute form are judged for each request', async () => {
  h = await hermetic({ rules: [{ host: ALLOWED, paths: ['/ok/**'], methods: ['GET'] }] });
  const seen: string[] = [];
  await h.internet.serve(`${PUBLIC}:80`, (socket) => {
    socket.on('data', (chunk: Buffer) => {
      seen.push(chunk.toString('latin1'));
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi');
    });
  });
  const { raw } = await connectTo(h.socketPath, `${ALLOWED}:80`);
  raw.send(`GET /ok/1 HTTP/1.1\r\nHost: ${ALLOWED}\r\nAuthorization: Basic eDp5\r\nX-Secret: s\r\n\r\n`);
  await raw.until((bytes) => bytes.includes('hi'));
  raw.received = Buffer.alloc(0);
  raw.send(`GET /no HTTP/1.1\r\nHost: ${ALLOWED}\r\n\r\n`);
  expect(await raw.finish()).toContain('path_not_allowed');
  expect((await get(h.socketPath, `http://${ALLOWED}/ok/2`)).body).toBe('hi');
  expect((await get(h.socketPath, `http://${ALLOWED}/no`)).status).toBe(403);
  expect(seen).toHaveLength(2);
  expect(seen[0]).toMatch(/^GET \/ok\/1 HTTP\/1\.1\r\nHost: allowed\.test\r\n/);
  expect(seen.join()).not.toMatch(/authorization|x-secret/i);
});
