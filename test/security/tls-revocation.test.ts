/**
 * NET-027: the gateway's own checks of revocation. Certificates, stapled answers and lists are made by OpenSSL; the hosts have
 * Node's TLS stack. Judged at the host: a refused one never sees a request. Each denial has an allowed twin.
 */
import { createServer, type SecureContextOptions } from 'node:tls';
import fc from 'fast-check';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { createDialer } from '../../src/gateway/dialer.ts';
import { dialledRequests } from '../../src/gateway/llm/dialled.ts';
import { send } from '../../src/gateway/llm/opened.ts';
import { judgeStaple } from '../../src/gateway/tls/staple.ts';
import { createTrust, type Revocation } from '../../src/gateway/tls/trust.ts';
import { denials, hermetic, PUBLIC, tlsTo, type Hermetic } from '../gateway/hermetic.ts';
import { Pki, type Certified } from './pki.ts';

const HOST = 'secure.test';
const AT = `${PUBLIC}:443`;
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
const DAY_MS = 24 * 3_600_000;

const pki = new Pki();
afterAll(() => {
  pki.close();
});
const plain = pki.host(HOST);
const demanding = pki.host(HOST, 'tlsfeature=status_request');

let h: Hermetic | undefined;
afterEach(async () => {
  await h?.close();
  h = undefined;
});

interface Scene {
  certified?: Certified;
  staple?: Buffer | null;
  revocation?: Revocation;
  version?: 'TLSv1.2' | 'TLSv1.3';
  intermediates?: string;
}

/** One request to the host through a gateway: what the client read, and how many requests the host did. */
async function ask(scene: Scene): Promise<{ answer: string; arrived: number; denied: unknown[] }> {
  const { certified = plain, staple = null, revocation, version } = scene;
  h = await hermetic({ rules: [{ host: HOST }], trust: createTrust({ ca: pki.root.cert, revocation }) });
  const { internet } = h;
  internet.names.set(HOST, [PUBLIC]);
  let arrived = 0;
  const options: SecureContextOptions = { key: certified.key, cert: scene.intermediates ?? certified.chain };
  const server = createServer({ ...options, ...(version ? { minVersion: version, maxVersion: version } : {}) });
  server.on('OCSPRequest', (_certificate, _issuer, respond) => respond(null, staple));
  server.on('tlsClientError', () => undefined);
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => {
      arrived += 1;
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine');
    });
  });
  await internet.serve(AT, (socket) => server.emit('connection', socket));
  const raw = await tlsTo(h, HOST);
  raw.send(REQUEST);
  const answer = await raw.finish();
  raw.close();
  const denied = denials(h.events).map(({ decision, data }) => ({
    reason: decision?.allow === false ? decision.reason : undefined,
    what: data?.['what'],
  }));
  return { answer, arrived, denied };
}

async function allowed(scene: Scene): Promise<void> {
  const { answer, arrived, denied } = await ask(scene);
  expect(answer).toMatch(/^HTTP\/1\.1 200[^]*fine$/);
  expect({ arrived, denied }).toEqual({ arrived: 1, denied: [] });
}

async function refused(scene: Scene, reason: string, what: RegExp): Promise<void> {
  const { answer, arrived, denied } = await ask(scene);
  expect(answer).toMatch(/^HTTP\/1\.1 502/);
  expect(answer).toContain(reason);
  expect(arrived).toBe(0);
  expect(denied).toEqual([{ reason, what: expect.stringMatching(what) as string }]);
}

describe('a stapled answer', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)('that says revoked ends the connection, %s', (version) =>
    refused({ staple: pki.staple(plain, 'revoked'), version }, 'certificate_revoked', /revoked/),
  );
  test('that says revoked does so also where the issuer is the trusted authority itself, which the host does not send', async () => {
    const certified = pki.host(HOST, '', pki.root);
    const staple = (status: 'good' | 'revoked'): Buffer => pki.staple(certified, status, { issuer: pki.root });
    await refused({ certified, staple: staple('revoked') }, 'certificate_revoked', /revoked/);
    await h?.close();
    await allowed({ certified, staple: staple('good') });
  });
  test.each([
    ['good', pki.staple(plain, 'good')],
    ['absent', null],
    ['of another certificate', pki.staple(pki.host('other.test'), 'revoked')],
    ['garbage', Buffer.from('garbage')],
    ['long', Buffer.alloc(10_000, 0x30)],
    ['signed by who cannot', pki.staple(plain, 'revoked', { signer: pki.authority('stranger') })],
  ] as const)('that is %s takes nothing from a certificate that demands none', (_name, staple) => allowed({ staple }));

  const responder = pki.responder('responder');
  test.each([
    ['the issuer', pki.staple(demanding, 'good')],
    ['whom the issuer lets sign', pki.staple(demanding, 'good', { signer: responder })],
  ] as const)('satisfies a certificate that demands one when signed by %s', (_name, staple) =>
    allowed({ certified: demanding, staple }),
  );
  test.each([
    ['absent', null],
    ['garbage', Buffer.from('garbage')],
    ['undecided', pki.staple(demanding, 'unknown')],
    ['of another certificate', pki.staple(pki.host('other.test'), 'good')],
    ['of the same name but another certificate', pki.staple(plain, 'good')],
    ['signed by the host itself', pki.staple(demanding, 'good', { signer: demanding })],
    [
      'signed for another use',
      pki.staple(demanding, 'good', { signer: pki.responder('web', 'extendedKeyUsage=serverAuth') }),
    ],
    [
      'signed for another issuer',
      pki.staple(demanding, 'good', { signer: pki.responder('above', undefined, pki.root) }),
    ],
  ] as const)('that is %s does not', (_name, staple) =>
    refused({ certified: demanding, staple }, 'certificate_invalid', /stapled/),
  );
});

describe('a stapled answer, read alone', () => {
  const chain = { certificate: plain.der, issuer: pki.issuing.der };
  const bare = pki.staple(plain, 'good', { bare: true });

  test('good has an end, revoked has none', () => {
    const later = Date.now() + 3 * DAY_MS;
    expect(judgeStaple(bare, chain, Date.now())).toBe('good');
    expect(judgeStaple(bare, chain, later)).toBe('none');
    expect(judgeStaple(bare, chain, Date.now() - DAY_MS)).toBe('none');
    expect(judgeStaple(pki.staple(plain, 'revoked'), chain, later)).toBe('revoked');
  });

  test('no changed bit of it makes good of revoked, or revoked of good; what is signed cannot change at all', () => {
    const gone = pki.staple(plain, 'revoked', { bare: true });
    fc.assert(
      fc.property(fc.boolean(), fc.nat(), fc.integer({ min: 1, max: 255 }), (isGood, at, mask) => {
        const changed = Buffer.from(isGood ? bare : gone);
        const index = at % changed.length;
        changed[index] = (changed[index] ?? 0) ^ mask;
        expect(judgeStaple(changed, chain, Date.now())).not.toBe(isGood ? 'revoked' : 'good');
      }),
      { numRuns: 500 },
    );
    // The whole of what is signed: its serial, status and times.
    const from = bare.indexOf(Buffer.from(plain.serial, 'hex'));
    for (let index = from; index < from + 40; index += 1) {
      const changed = Buffer.from(bare);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(judgeStaple(changed, chain, Date.now())).toBe('none');
    }
  });

  test('whatever bytes it has, it is read without an error', () => {
    const cut = fc.nat(bare.length).map((length) => bare.subarray(0, length));
    fc.assert(
      fc.property(
        fc.oneof(
          cut,
          fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes)),
        ),
        (bytes) => {
          fc.pre(bytes.length < bare.length);
          expect(judgeStaple(bytes, chain, Date.now())).toBe('none');
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('revocation lists of the operator', () => {
  const other = pki.host('other.test');
  const ofRoot = pki.list(pki.root, []);
  const clean = pki.list(pki.issuing, [other]);
  const hosts = [HOST];

  test('a certificate that is on none passes', () => allowed({ revocation: { lists: [ofRoot, clean], hosts } }));
  test('one that is on a list does not', () =>
    refused(
      { revocation: { lists: [ofRoot, pki.list(pki.issuing, [plain])], hosts } },
      'certificate_revoked',
      /revocation list/,
    ));
  test('nor one below an authority that was revoked', () =>
    refused(
      { revocation: { lists: [pki.list(pki.root, [pki.issuing]), clean], hosts } },
      'certificate_revoked',
      /revocation list/,
    ));
  test('an authority without a list, a list of yesterday and a list of another key prove nothing', async () => {
    const invalid = 'certificate_invalid';
    await refused({ revocation: { lists: [clean], hosts } }, invalid, /has no list/);
    await h?.close();
    await refused({ revocation: { lists: [ofRoot, pki.list(pki.issuing, [], -1)], hosts } }, invalid, /expired/);
    await h?.close();
    // Of the same name, as after a change of keys.
    const successor = pki.list(pki.authority('issuing', pki.root), []);
    await refused({ revocation: { lists: [ofRoot, successor], hosts } }, invalid, /another key/);
  });
  test('a wildcard means any number of labels', () =>
    refused(
      { revocation: { lists: [ofRoot, pki.list(pki.issuing, [plain])], hosts: ['*.test'] } },
      'certificate_revoked',
      /revocation list/,
    ));
  test('other hosts need none', () => allowed({ revocation: { lists: [clean], hosts: ['corp.test'] } }));
});

test('a model server is judged alike', async () => {
  const server = createServer({ key: plain.key, cert: plain.chain });
  let staple = pki.staple(plain, 'revoked');
  let arrived = 0;
  server.on('OCSPRequest', (_certificate, _issuer, respond) => respond(null, staple));
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => {
      arrived += 1;
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  const signal = new AbortController().signal;
  const dialer = createDialer({
    limits: { resolveMs: 5_000, dialMs: 5_000 },
    resolve: () => Promise.resolve(['127.0.0.1']),
    signal,
  });
  const made = dialledRequests({ dialer, trust: createTrust({ ca: pki.root.cert }), timeoutMs: 5_000 });
  const call = (): ReturnType<typeof send> =>
    send(made.request(new URL(`https://${HOST}:${port}/`), { method: 'POST', headers: {}, signal }), Buffer.from('{}'));
  try {
    const says = 'its authority says that the certificate was revoked';
    expect(await call()).toEqual({ ok: false, sent: false, distrust: says });
    expect(arrived).toBe(0);
    staple = pki.staple(plain, 'good');
    expect(await call()).toMatchObject({ ok: true, response: { statusCode: 200 } });
    expect(arrived).toBe(1);
  } finally {
    made.close();
    server.close();
  }
});
