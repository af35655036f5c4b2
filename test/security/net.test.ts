/**
 * NET: ways out of the network, tried on the real gateway over a real Unix socket with a hermetic internet. Judged at the
 * sink and by the events; each denial has an allowed twin in the same run.
 */
import { afterEach, describe, expect, test } from 'vitest';
import type { Answers } from '../gateway/hermetic.ts';
import { ALLOWED, clientHello, connectTo, denials, hermetic, PUBLIC, Raw, type Hermetic } from '../gateway/hermetic.ts';

let h: Hermetic;
afterEach(async () => {
  await h.close();
});

/** The twin: an allowed connection carries bytes in this very run. */
async function twin(): Promise<void> {
  const { status, raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
  expect(status).toBe(200);
  const before = h.internet.sink(`${PUBLIC}:443`).length;
  raw.send(clientHello());
  await raw.until((bytes) => bytes.includes('echo:'));
  expect(h.internet.sink(`${PUBLIC}:443`).length).toBeGreaterThan(before);
  raw.close();
}

/** Nothing reached the outside but what the twin sent. */
function nothingOut(): void {
  expect(h.internet.sinkTotal()).toBe(0);
  expect(h.internet.dials).toEqual([]);
}

function reasons(): string[] {
  return denials(h.events).map((event) => (event.decision?.allow === false ? event.decision.reason : ''));
}

async function send(bytes: string): Promise<{ status: number; text: string }> {
  const raw = new Raw(h.socketPath).send(bytes);
  const text = await raw.finish();
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
}

test('NET-001 CONNECT to an unlisted host', async () => {
  h = await hermetic();
  expect((await connectTo(h.socketPath, 'evil.test:443')).status).toBe(403);
  nothingOut();
  expect(h.internet.queries).toEqual([]);
  expect(denials(h.events)[0]).toMatchObject({
    type: 'egress.connect',
    decision: { reason: 'not_allowed', rule: 'default' },
    data: { host: 'evil.test', port: 443 },
  });
  await twin();
});

describe('NET-002 raw addresses, as the portal hands them on', () => {
  const addresses = [
    '1.1.1.1',
    '8.8.8.8',
    '9.9.9.9',
    '93.184.216.34',
    '169.254.169.254',
    '10.0.0.1',
    '172.17.0.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.18.0.2',
    '127.0.0.1',
    '0.0.0.0',
    '255.255.255.255',
  ];
  test.each(addresses)('%s', async (address) => {
    h = await hermetic();
    expect((await connectTo(h.socketPath, `${address}:443`)).status).toBe(403);
    nothingOut();
    expect(denials(h.events, 'ip_literal')[0]?.data).toMatchObject({ host: address, port: 443 });
    await twin();
  });
});

describe('NET-003 odd ports of an allowed host', () => {
  test.each([
    ['22', 403, 'port_not_allowed'],
    ['25', 403, 'port_not_allowed'],
    ['6379', 403, 'port_not_allowed'],
    ['8443', 403, 'port_not_allowed'],
    ['0', 400, 'malformed'],
    ['65536', 400, 'malformed'],
    ['0443', 400, 'malformed'],
    ['+443', 400, 'malformed'],
    ['443a', 400, 'malformed'],
    ['0x1bb', 400, 'malformed'],
    ['', 400, 'malformed'],
  ])('port %j', async (port, status, reason) => {
    h = await hermetic();
    expect((await send(`CONNECT ${ALLOWED}:${port} HTTP/1.1\r\n\r\n`)).status).toBe(status);
    nothingOut();
    expect(reasons()).toEqual([reason]);
    await twin();
  });
  test('a space behind the port is a malformed request line', async () => {
    h = await hermetic();
    expect((await send(`CONNECT ${ALLOWED}:443  HTTP/1.1\r\n\r\n`)).status).toBe(400);
    nothingOut();
    expect(reasons()).toEqual(['malformed']);
    await twin();
  });
});

describe('NET-004 IP literals in every notation', () => {
  const literals = [
    '127.0.0.1',
    '2130706433',
    '0177.0.0.1',
    '0x7f.1',
    '0x7f000001',
    '127.1',
    '127.0.1',
    '0x7f.0.0.0x1',
    '017700000001',
    '0',
    '0.0.0.0',
    '1.1.1.1.',
    '16843009',
    '[::1]',
    '[::]',
    '[::ffff:7f00:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:0a00:0001]',
    '[64:ff9b::a00:1]',
    '[fe80::1%25eth0]',
    '[fe80::1%eth0]',
    '999.999.999.999',
    '256.1',
    '1.2.3.4.5',
  ];
  test.each(literals)('%s through CONNECT, absolute form, Host and SNI', async (literal) => {
    h = await hermetic({ rules: [{ host: ALLOWED }] });
    const viaConnect = (await send(`CONNECT ${literal}:443 HTTP/1.1\r\n\r\n`)).status;
    const viaAbsolute = (await send(`GET http://${literal}/ HTTP/1.1\r\nHost: ${literal}\r\n\r\n`)).status;
    const viaHost = (await send(`GET /v1/name/x HTTP/1.1\r\nHost: ${literal}\r\n\r\n`)).status;
    for (const status of [viaConnect, viaAbsolute, viaHost]) expect([400, 403]).toContain(status);
    nothingOut();
    expect(h.internet.queries).toEqual([]);
    expect(denials(h.events).length).toBeGreaterThanOrEqual(2);
    expect(new Set(reasons())).toEqual(new Set(['ip_literal']));
    await h.close();

    h = await hermetic();
    const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    raw.send(clientHello({ names: [literal] }));
    await raw.finish();
    expect(h.internet.sinkTotal()).toBe(0);
    expect(reasons()).toEqual(['sni_mismatch']);
    await twin();
  });
});

describe('NET-006 special ranges as answers of the resolver', () => {
  test.each([
    '10.1.2.3',
    '172.20.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '0.1.2.3',
    '169.254.1.1',
    '192.0.0.8',
    '198.18.0.5',
    '224.0.0.251',
    '240.0.0.1',
    '255.255.255.255',
    '127.0.0.1',
    '203.0.113.9',
    '::1',
    '::ffff:10.0.0.1',
    'fe80::1',
    'fd12::1',
    '64:ff9b::a00:1',
    '2002:a00:1::',
    '2001::1',
    'ff02::1',
    'garbage',
  ])('%s', async (address) => {
    h = await hermetic({
      rules: [
        { host: ALLOWED, passThrough: true },
        { host: 'odd.test', passThrough: true },
      ],
    });
    h.internet.names.set('odd.test', [address]);
    expect((await connectTo(h.socketPath, 'odd.test:443')).status).toBe(403);
    nothingOut();
    expect(reasons()).toEqual(['address_forbidden']);
    await twin();
  });
  test('allowPrivate opens one host and no other', async () => {
    h = await hermetic({
      rules: [
        { host: ALLOWED, passThrough: true },
        { host: 'mirror.test', passThrough: true, allowPrivate: true },
        { host: 'odd.test', passThrough: true },
      ],
    });
    await h.internet.echo('10.0.0.5:443');
    h.internet.names.set('mirror.test', ['10.0.0.5']);
    h.internet.names.set('odd.test', ['10.0.0.5']);
    expect((await connectTo(h.socketPath, 'mirror.test:443')).status).toBe(200);
    expect((await connectTo(h.socketPath, 'odd.test:443')).status).toBe(403);
    await twin();
  });
});

describe('NET-007 cloud metadata', () => {
  test.each(['metadata.google.internal', 'instance-data', 'metadata.azure.test'])('by name: %s', async (name) => {
    h = await hermetic();
    h.internet.names.set(name, ['169.254.169.254']);
    expect((await connectTo(h.socketPath, `${name}:80`)).status).toBe(403);
    expect(h.internet.queries).toEqual([]);
    nothingOut();
    await twin();
  });
  test.each([false, true])('by an allowed name that resolves to it, allowPrivate %s', async (allowPrivate) => {
    h = await hermetic({
      rules: [
        { host: ALLOWED, passThrough: true },
        { host: 'cdn.test', allowPrivate },
      ],
    });
    for (const address of ['169.254.169.254', '169.254.170.2', 'fd00:ec2::254', '100.100.100.200']) {
      h.internet.names.set('cdn.test', [address]);
      expect((await connectTo(h.socketPath, 'cdn.test:80')).status).toBe(403);
    }
    nothingOut();
    await twin();
  });
});

describe('NET-008 rebinding', () => {
  test('the checked address is the dialled one; a later private answer is denied', async () => {
    h = await hermetic();
    const answers = [[PUBLIC], ['127.0.0.1'], [PUBLIC, '10.0.0.1'], ['10.0.0.1', PUBLIC], [], [PUBLIC]];
    const next: Answers = () => answers.shift() ?? [];
    h.internet.names.set(ALLOWED, next);
    const statuses: number[] = [];
    for (let turn = 0; turn < 5; turn += 1) statuses.push((await connectTo(h.socketPath, `${ALLOWED}:443`)).status);
    expect(statuses).toEqual([200, 403, 403, 403, 502]);
    // One look-up for each connection: nothing else could have seen another answer.
    expect(h.internet.queries).toHaveLength(5);
    expect(h.internet.dials).toEqual([`${PUBLIC}:443`]);
    await twin();
  });
});

describe('NET-010 spellings of names', () => {
  test.each([
    [`${ALLOWED}.`, 200],
    ['ALLOWED.TEST', 200],
    ['Allowed.Test.', 200],
    [`${ALLOWED}..`, 400],
    [`.${ALLOWED}`, 400],
    ['allowed..test', 400],
    [`${'a'.repeat(250)}.test`, 400],
    ['*', 400],
    ['*.test', 400],
    ['allowed_.test', 400],
    ['-allowed.test', 400],
    ['allowed-.test', 400],
  ])('%s → %d', async (name, status) => {
    h = await hermetic();
    const { raw, status: seen } = await connectTo(h.socketPath, `${name}:443`);
    expect(seen).toBe(status);
    if (status === 200) {
      raw.send(clientHello({ names: [name] }));
      await raw.until((bytes) => bytes.includes('echo:'));
      expect(h.internet.queries).toEqual([ALLOWED]);
    } else {
      nothingOut();
      expect(reasons()).toEqual(['malformed']);
    }
    await twin();
  });
});

test('NET-011 ten thousand hostile authorities: never a byte outside, never a crash, each one recorded', async () => {
  h = await hermetic({ limits: { distinctDenials: 100_000 } });
  const alphabet = [
    '\0',
    '\r',
    '\n',
    ' ',
    '\t',
    '@',
    '#',
    '?',
    '\\',
    '%00',
    '%2e',
    ':',
    '/',
    '[',
    ']',
    '.',
    'a',
    ALLOWED,
    ':443',
    'evil.test',
    '\x7f',
    '\xe9',
    ';',
    '|',
    '"',
  ];
  let seed = 20_261_124;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
    return seed % below;
  };
  const attempts = 10_000;
  let answered = 0;
  const one = async (): Promise<void> => {
    const noise = Array.from({ length: 1 + random(6) }, () => alphabet[random(alphabet.length)] ?? '').join('');
    const authority = random(2) === 0 ? `${noise}${ALLOWED}:443` : `${ALLOWED}${noise}:443`;
    if (authority.replaceAll(/\.?:443$/g, '') === ALLOWED || /^\s*$/.test(noise)) return void (answered += 1);
    const raw = new Raw(h.socketPath).send(`CONNECT ${authority} HTTP/1.1\r\n\r\n`);
    raw.socket.end();
    const text = await raw.finish();
    if (/^HTTP\/1\.1 (?:4\d\d|5\d\d) /.test(text)) answered += 1;
    else if (!text.startsWith('HTTP/1.1 200')) answered += 1;
  };
  for (let batch = 0; batch < attempts / 100; batch += 1) await Promise.all(Array.from({ length: 100 }, one));
  expect(answered).toBe(attempts);
  nothingOut();
  expect(denials(h.events).length).toBeGreaterThan(1000);
  await twin();
});

describe('NET-012 international names', () => {
  test.each([
    '\u0430llowed.test',
    'all\u00f6wed.test',
    'allowed\u3002test',
    'allowed\uff0etest',
    'allowe\u0131.test',
    'stra\u00dfe.test',
    '\u202eallowed.test',
  ])('%j as raw bytes', async (name) => {
    h = await hermetic({ rules: [{ host: ALLOWED, passThrough: true }, { host: 'strasse.test' }] });
    const raw = new Raw(h.socketPath).send(Buffer.from(`CONNECT ${name}:443 HTTP/1.1\r\n\r\n`, 'utf8'));
    expect((await raw.head()).status).toBe(400);
    nothingOut();
    expect(reasons()).toEqual(['malformed']);
    await twin();
  });
  test('punycode is compared as it is', async () => {
    h = await hermetic();
    expect((await connectTo(h.socketPath, 'xn--llowed-7ve.test:443')).status).toBe(403);
    nothingOut();
    await twin();
  });
});

describe('NET-013 wildcards', () => {
  test.each([
    ['api.corp.test', 200],
    ['corp.test', 403],
    ['evilcorp.test', 403],
    ['corp.test.evil.test', 403],
    ['a.b.corp.test', 403],
  ])('*.corp.test and %s → %d', async (name, status) => {
    h = await hermetic({
      rules: [
        { host: ALLOWED, passThrough: true },
        { host: '*.corp.test', passThrough: true },
      ],
    });
    h.internet.names.set('api.corp.test', [PUBLIC]);
    expect((await connectTo(h.socketPath, `${name}:443`)).status).toBe(status);
    await twin();
  });
});

test('NET-015 forged headers change nothing: the socket is the identity', async () => {
  h = await hermetic();
  const headers =
    'X-Forwarded-For: 127.0.0.1\r\nProxy-Authorization: Basic YWRtaW46YWRtaW4=\r\nForwarded: for=10.0.0.1;host=allowed.test\r\nX-Cofferdam-Run: r000000000000\r\nVia: 1.1 gateway\r\n';
  const plain = await send('CONNECT evil.test:443 HTTP/1.1\r\n\r\n');
  const forged = await send(`CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n${headers}\r\n`);
  expect(forged.text).toBe(plain.text);
  expect((await send(`CONNECT evil.test:443 HTTP/1.1\r\nHost: ${ALLOWED}:443\r\n\r\n`)).status).toBe(400);
  expect((await send(`CONNECT ${ALLOWED}:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n`)).status).toBe(400);
  nothingOut();
  await twin();
});

describe('NET-018 other protocols inside an allowed CONNECT', () => {
  test.each([
    ['SSH', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['git', '0032git-upload-pack /x\0host=allowed.test\0'],
    ['SMTP', 'EHLO evil\r\n'],
    ['DNS over TCP', '\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00'],
    ['Redis', '*1\r\n$4\r\nPING\r\n'],
    ['plain HTTP on 443', `GET / HTTP/1.1\r\nHost: ${ALLOWED}\r\n\r\n`],
    ['SSLv2', '\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10'],
    ['a TLS alert', '\x15\x03\x01\x00\x02\x02\x00'],
  ])('%s', async (_name, bytes) => {
    h = await hermetic();
    const { raw, status } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    expect(status).toBe(200);
    raw.send(bytes);
    await raw.finish();
    expect(h.internet.sinkTotal()).toBe(0);
    expect(reasons()).toEqual(['not_tls']);
    await twin();
  });
  test.each<[string, boolean, string, string]>([
    ['absolute form to port 443', false, `http://${ALLOWED}:443/`, `${ALLOWED}:443`],
    ['absolute form to a host that is passed through', true, `http://${ALLOWED}/`, ALLOWED],
    ['a request in a tunnel that is passed through', true, '/', ALLOWED],
  ])('plain HTTP where TLS belongs: %s', async (_name, passThrough, target, authority) => {
    h = await hermetic({ rules: [{ host: ALLOWED, ...(passThrough ? { passThrough } : {}) }] });
    await h.internet.echo(`${PUBLIC}:80`);
    const raw = target === '/' ? (await connectTo(h.socketPath, `${ALLOWED}:80`)).raw : new Raw(h.socketPath);
    raw.send(`GET ${target} HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n\r\n`);
    await raw.finish();
    expect(h.internet.sinkTotal()).toBe(0);
    expect(reasons()).toEqual(['not_tls']);
    const allowed = passThrough ? 443 : 80;
    const tunnel = (await connectTo(h.socketPath, `${ALLOWED}:${allowed}`)).raw;
    tunnel.send(passThrough ? clientHello() : `GET / HTTP/1.1\r\nHost: ${ALLOWED}\r\n\r\n`);
    await expect.poll(() => h.internet.sink(`${PUBLIC}:${allowed}`).length).toBeGreaterThan(0);
    tunnel.close();
  });
  test.each(['Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n'])('CONNECT with a body: %j', async (framing) => {
    h = await hermetic();
    const { status } = await send(`CONNECT ${ALLOWED}:443 HTTP/1.1\r\n${framing}\r\nabcde`);
    expect(status).toBe(400);
    nothingOut();
    expect(reasons()).toEqual(['malformed']);
    expect((await send(`CONNECT ${ALLOWED}:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\nabcde`)).status).toBe(200);
    expect(reasons()).toEqual(['malformed', 'not_tls']);
    await twin();
  });
  test('a ClientHello of Tor names a host that nobody allowed', async () => {
    h = await hermetic();
    const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    raw.send(clientHello({ names: ['www.q4xz2mkq.com'] }));
    await raw.finish();
    expect(h.internet.sinkTotal()).toBe(0);
    expect(reasons()).toEqual(['sni_mismatch']);
    await twin();
  });
});

describe('NET-028 floods of connections', () => {
  test('half-open ones are refused above the limit with one event and a count; the rest goes on', async () => {
    h = await hermetic({ limits: { halfOpen: 20, helloMs: 60_000 } });
    const opened = await Promise.all(Array.from({ length: 120 }, () => connectTo(h.socketPath, `${ALLOWED}:443`)));
    expect(opened.filter(({ status }) => status === 200)).toHaveLength(20);
    expect(opened.filter(({ status }) => status === 429)).toHaveLength(100);
    for (const { raw } of opened) raw.close();
    await expect.poll(async () => (await connectTo(h.socketPath, `${ALLOWED}:443`)).status).toBe(200);
    await h.gateway.close();
    const total = h.gateway.egress().find((entry) => entry.reason === 'too_many_connections');
    expect(total?.count).toBeGreaterThanOrEqual(100);
    expect(reasons().filter((reason) => reason === 'too_many_connections').length).toBeLessThan(5);
  });
  test('established ones, too', async () => {
    h = await hermetic({ limits: { connections: 30 } });
    const held: Raw[] = [];
    for (let turn = 0; turn < 30; turn += 1) {
      const { raw } = await connectTo(h.socketPath, `${ALLOWED}:443`);
      raw.send(clientHello());
      await raw.until((bytes) => bytes.includes('echo:'));
      held.push(raw);
    }
    expect((await connectTo(h.socketPath, `${ALLOWED}:443`)).status).toBe(429);
    held[0]?.close();
    await expect.poll(async () => (await connectTo(h.socketPath, `${ALLOWED}:443`)).status).toBe(200);
    for (const raw of held) raw.close();
  });
  test('over a whole run', async () => {
    h = await hermetic({ limits: { connectionsTotal: 5 } });
    for (let turn = 0; turn < 5; turn += 1) (await connectTo(h.socketPath, `${ALLOWED}:443`)).raw.close();
    expect((await connectTo(h.socketPath, `${ALLOWED}:443`)).status).toBe(429);
    expect(reasons()).toEqual(['too_many_connections']);
  });
});

describe('NET-029 slow clients', () => {
  test('a request line that never ends, headers that never end, a hello that never comes: each has its own timer', async () => {
    h = await hermetic({ limits: { headMs: 2_000, helloMs: 500 } });
    const line = new Raw(h.socketPath).send('CONN');
    const headers = new Raw(h.socketPath).send(`CONNECT ${ALLOWED}:443 HTTP/1.1\r\nX: `);
    const silent = new Raw(h.socketPath);
    const { raw: noHello } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    const { raw: halfHello } = await connectTo(h.socketPath, `${ALLOWED}:443`);
    halfHello.send(clientHello().subarray(0, 20));
    expect(await line.finish()).toMatch(/^HTTP\/1\.1 (?:408|504)/);
    expect(await headers.finish()).toMatch(/^HTTP\/1\.1 (?:408|504)/);
    await silent.finish();
    expect(await noHello.finish()).toBe('');
    expect(await halfHello.finish()).toBe('');
    expect(h.internet.sinkTotal()).toBe(0);
    expect(reasons().filter((reason) => reason === 'timeout').length).toBeGreaterThanOrEqual(2);
    const ends = (): unknown[] =>
      h.events.filter((event) => event.type === 'egress.end').map((event) => event.data?.['end']);
    await expect.poll(ends).toEqual(['timeout', 'timeout']);
    await h.close();

    // Apart: here the hello has to come in time.
    h = await hermetic({ limits: { idleMs: 2_000 } });
    const idle = await connectTo(h.socketPath, `${ALLOWED}:443`);
    idle.raw.send(clientHello());
    await idle.raw.finish();
    await expect.poll(ends).toEqual(['idle']);
    await twin();
  });
});

test('NET-030 a large upload ends at the byte limit of the host, and of the run', async () => {
  h = await hermetic({
    rules: [
      { host: ALLOWED, passThrough: true },
      { host: 'two.test', passThrough: true },
    ],
    limits: { bytesOutPerHost: 200_000, bytesOutTotal: 300_000 },
  });
  h.internet.names.set('two.test', ['93.184.216.35']);
  await h.internet.echo('93.184.216.35:443');
  for (const host of [ALLOWED, 'two.test']) {
    const { raw } = await connectTo(h.socketPath, `${host}:443`);
    raw.send(clientHello({ names: [host] }));
    for (let turn = 0; turn < 20; turn += 1) raw.send(Buffer.alloc(20_000));
    await raw.finish();
  }
  expect(h.internet.sink(`${PUBLIC}:443`).length).toBeLessThanOrEqual(200_000);
  expect(h.internet.sinkTotal()).toBeLessThanOrEqual(300_000);
  expect(reasons()).toEqual(['bytes_limit', 'bytes_limit']);
});

test('NET-030 hosts that are each below their limit share the limit of the run', async () => {
  h = await hermetic({
    rules: [
      { host: ALLOWED, passThrough: true },
      { host: 'two.test', passThrough: true },
    ],
    limits: { bytesOutPerHost: 100_000, bytesOutTotal: 110_000 },
  });
  h.internet.names.set('two.test', ['93.184.216.35']);
  await h.internet.echo('93.184.216.35:443');
  const one = (await connectTo(h.socketPath, `${ALLOWED}:443`)).raw;
  one.send(clientHello()).send(Buffer.alloc(90_000));
  await expect.poll(() => h.internet.sinkTotal()).toBeGreaterThan(90_000);
  expect(reasons()).toEqual([]);
  const two = (await connectTo(h.socketPath, 'two.test:443')).raw;
  two.send(clientHello({ names: ['two.test'] }));
  for (let turn = 0; turn < 9; turn += 1) two.send(Buffer.alloc(10_000));
  await two.finish();
  expect(h.internet.sinkTotal()).toBeLessThanOrEqual(110_000);
  expect(reasons()).toEqual(['bytes_limit']);
  one.close();
});

test('a head without an end is refused by its size, long before its time', async () => {
  h = await hermetic({ limits: { headMs: 60_000 } });
  const raw = new Raw(h.socketPath).send(`CONNECT ${ALLOWED}:443 HTTP/1.1\r\nX: ${'y'.repeat(20_000)}`);
  expect(await raw.finish()).toMatch(/^HTTP\/1\.1 413 /);
  expect(reasons()).toEqual(['too_large']);
  nothingOut();
  await twin();
});

describe('NET-032 fail closed', () => {
  test('an empty allow list', async () => {
    h = await hermetic({ rules: [] });
    expect((await connectTo(h.socketPath, `${ALLOWED}:443`)).status).toBe(403);
    expect((await send(`GET http://${ALLOWED}/ HTTP/1.1\r\nHost: ${ALLOWED}\r\n\r\n`)).status).toBe(403);
    nothingOut();
  });
  test('a resolver that fails, hangs or lies, and an upstream that is not there: bounded and recorded, the next is unharmed', async () => {
    h = await hermetic({
      rules: [
        { host: ALLOWED, passThrough: true },
        ...['fails', 'hangs', 'absent', 'dead'].map((name) => ({ host: `${name}.test`, passThrough: true })),
      ],
      limits: { resolveMs: 300 },
    });
    h.internet.names.set('fails.test', () => Promise.reject(Object.assign(new Error('x'), { code: 'EAI_AGAIN' })));
    h.internet.names.set('hangs.test', () => new Promise(() => undefined));
    h.internet.names.set('dead.test', ['93.184.216.99']);
    const statuses = await Promise.all(
      ['fails', 'hangs', 'absent', 'dead'].map(
        async (name) => (await connectTo(h.socketPath, `${name}.test:443`)).status,
      ),
    );
    expect(statuses).toEqual([502, 504, 502, 502]);
    expect(new Set(reasons())).toEqual(new Set(['resolver_failed', 'timeout', 'name_not_found', 'dial_failed']));
    await twin();
  });
  test('a record that cannot be written', async () => {
    let full = true;
    h = await hermetic({ audit: () => (full ? Promise.reject(new Error('disk full')) : Promise.resolve()) });
    expect((await connectTo(h.socketPath, `${ALLOWED}:443`)).status).toBe(503);
    nothingOut();
    full = false;
    await twin();
  });
});
