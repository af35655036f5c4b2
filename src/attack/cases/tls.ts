/** TLS: handshakes and requests that two readers could understand differently. */
import { createRunAuthority } from '../../gateway/tls/authority.ts';
import type { AttackCase } from '../case.ts';
import { PASSED, REQUEST } from '../twins.ts';

const tls = { class: 'TLS', as: 'both', twin: REQUEST } as const;

export const TLS: readonly AttackCase[] = [
  {
    ...tls,
    id: 'TLS-001',
    title: 'a server name that differs from CONNECT',
    tried: 'CONNECT to an allowed host whose TLS is passed through, and a ClientHello for another one',
    tier: 'T1',
    twin: PASSED,
    probe: async (inside, given) =>
      (await inside.tunnel(`${given.passed}:443`, { send: [inside.clientHello([given.denied])] })).text.length,
    expected: { outcome: 'denied', reasons: ['sni_mismatch'] },
  },
  {
    ...tls,
    id: 'TLS-002',
    title: 'no server name, two of them, an address, a NUL',
    tried: 'ClientHellos without a name and with names that are none',
    tier: 'T0',
    twin: PASSED,
    probe: async (inside, given) => {
      const { passed, denied } = given;
      const lists = [
        undefined,
        [],
        [''],
        [passed, denied],
        [denied, passed],
        ['127.0.0.1'],
        [`${passed}\0`],
        [`${passed}:443`],
      ];
      const heard: number[] = [];
      for (const names of lists)
        heard.push((await inside.tunnel(`${passed}:443`, { send: [inside.clientHello(names)] })).text.length);
      return heard;
    },
    expected: { outcome: 'denied', reasons: ['sni_missing', 'sni_mismatch', 'not_tls'] },
  },
  {
    ...tls,
    id: 'TLS-004',
    title: 'a ClientHello in pieces',
    tried: 'records of one byte, and segments of one byte, with another host’s name in them',
    tier: 'T0',
    twin: PASSED,
    probe: async (inside, given) => {
      const whole = inside.clientHello([given.denied]);
      const tiny = inside.clientHello([given.denied], 1);
      return [
        (await inside.tunnel(`${given.passed}:443`, { send: [tiny] })).text.length,
        (await inside.tunnel(`${given.passed}:443`, { send: whole.match(/[^]/g) ?? [] })).text.length,
      ];
    },
    expected: { outcome: 'denied', reasons: ['sni_mismatch'] },
  },
  {
    ...tls,
    id: 'TLS-005',
    title: 'domain fronting',
    tried: 'an allowed server name, and requests inside whose Host is another one, or two',
    tier: 'T1',
    probe: async (inside, given) => {
      const { allowed, denied } = given;
      const heads: string[] = [];
      for (const hosts of [
        `Host: ${denied}`,
        `Host: ${allowed}\r\nHost: ${denied}`,
        `Host: ${denied}:443`,
        `Host: ${allowed}@${denied}`,
      ]) {
        const { text } = await inside.https(allowed, `GET / HTTP/1.1\r\n${hosts}\r\n\r\n`);
        heads.push(text.slice(0, 12));
      }
      return heads;
    },
    expected: { outcome: 'denied', reasons: ['host_mismatch'] },
  },
  {
    ...tls,
    id: 'TLS-007',
    title: 'a second request on an allowed connection',
    tried: 'after an allowed request one for another path, and one for another host',
    tier: 'T1',
    probe: async (inside, given) => {
      const first = `GET /ok/a HTTP/1.1\r\nHost: ${given.read}\r\n\r\n`;
      const others = [
        `GET /secret/${given.mark} HTTP/1.1\r\nHost: ${given.read}\r\n\r\n`,
        `GET /ok/${given.mark} HTTP/1.1\r\nHost: ${given.denied}\r\n\r\n`,
      ];
      const heads: string[][] = [];
      for (const other of others) {
        const { text } = await inside.https(given.read, first + other);
        heads.push(text.match(/HTTP\/1\.1 \d+/g) ?? []);
      }
      return heads;
    },
    expected: {
      outcome: 'denied',
      reasons: ['path_not_allowed', 'host_mismatch'],
      silent: false,
      also: ({ sink, given }) =>
        sink('read').includes(given.mark) || sink('denied') !== ''
          ? 'the second request arrived'
          : sink('read').includes('GET /ok/a')
            ? undefined
            : 'the first request did not arrive',
    },
  },
  {
    ...tls,
    id: 'TLS-009',
    title: 'request smuggling',
    tried: 'lengths and codings that contradict each other, odd spellings of both, folded lines, bare line feeds, NUL',
    tier: 'T0',
    probe: async (inside, given) => {
      const host = `Host: ${given.allowed}\r\n`;
      const hidden = `GET /smuggled HTTP/1.1\r\n${host}\r\n`;
      const heads = [
        ...['Content-Length: 5\r\nTransfer-Encoding: chunked', 'Transfer-Encoding: chunked\r\nContent-Length: 5'],
        ...[
          'Content-Length: 5\r\nContent-Length: 6',
          'Content-Length: +5',
          'Content-Length: 0x5',
          'Content-Length: 5, 5',
        ],
        ...['Transfer-Encoding: xchunked', 'Transfer-Encoding: chunked, identity', 'Transfer-Encoding : chunked'],
        ...['Transfer-Encoding:\x0bchunked', 'X: a\r\n folded', 'X: a\nTransfer-Encoding: chunked', 'X: \0', ': empty'],
      ];
      const answers = await Promise.all(
        heads.map((head) =>
          inside.https(given.allowed, `POST /a HTTP/1.1\r\n${host}${head}\r\n\r\n0\r\n\r\n${hidden}`),
        ),
      );
      return answers.map(({ text }) => text.slice(0, 12));
    },
    expected: { outcome: 'denied', reasons: ['malformed'] },
  },
  {
    ...tls,
    id: 'TLS-010',
    title: 'chunks with more in them',
    tried: 'chunk extensions, trailers, sizes that overflow or are none',
    tier: 'T0',
    probe: async (inside, given) => {
      const bodies = [
        ...['1;a=b\r\nx\r\n0\r\n\r\n', '1 \r\nx\r\n0\r\n\r\n', '0x1\r\nx\r\n0\r\n\r\n', '-1\r\nx\r\n0\r\n\r\n'],
        ...['fffffffffffffffff\r\nx\r\n0\r\n\r\n', '1\r\nxy\r\n0\r\n\r\n', '1\r\nx\r\n0\r\nAuthorization: x\r\n\r\n'],
      ];
      const answers = await Promise.all(
        bodies.map((body) =>
          inside.https(
            given.allowed,
            `POST /a HTTP/1.1\r\nHost: ${given.allowed}\r\nTransfer-Encoding: chunked\r\n\r\n${body}`,
          ),
        ),
      );
      return answers.map(({ text }) => text.slice(0, 12));
    },
    expected: {
      outcome: 'denied',
      reasons: ['malformed'],
      silent: false,
      also: ({ sink }) => (/authorization/i.test(sink('allowed')) ? 'a trailer arrived' : undefined),
    },
  },
  {
    ...tls,
    id: 'TLS-012',
    title: 'methods that nobody allowed',
    tried: 'WebDAV, TRACE, lower case and inventions; and headers that override the method',
    tier: 'T0',
    probe: async (inside, given) => {
      const host = `Host: ${given.allowed}\r\n`;
      const heads: string[] = [];
      for (const method of ['PROPFIND', 'get', 'TRACE', 'FOO'])
        heads.push((await inside.https(given.allowed, `${method} /a HTTP/1.1\r\n${host}\r\n`)).text.slice(0, 12));
      const override = `POST /a HTTP/1.1\r\n${host}X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n`;
      heads.push((await inside.https(given.allowed, override, { enough: inside.answered })).text.slice(0, 12));
      return heads;
    },
    expected: {
      outcome: 'denied',
      reasons: ['method_not_allowed'],
      silent: false,
      also: ({ sink }) =>
        !/DELETE|PROPFIND|TRACE|FOO|get \//.test(sink('allowed')) && sink('allowed').startsWith('POST /a')
          ? undefined
          : `what arrived: ${sink('allowed').slice(0, 100)}`,
    },
  },
  {
    ...tls,
    id: 'TLS-015',
    title: 'a host that does not prove its name',
    tried: 'the host at an allowed name has a certificate for another one; then one of an authority that nobody trusts',
    tier: 'T1',
    prepare: async (internet, given, at) => {
      const wrong = await (await internet.authority()).contextFor(given.denied);
      await internet.serveTls(at('allowed'), wrong, (_request, response) => response.end());
      const foreign = await createRunAuthority({
        runName: 'foreign',
        policy: { rules: [{ host: 'test', source: 'foreign' }], deny: [], gitRepositories: [] },
      });
      await internet.serveTls(at('read'), await foreign.contextFor(given.read), (_request, response) => response.end());
    },
    probe: async (inside, given) => [
      (await inside.get(given.allowed, `/${given.mark}`)).text.slice(0, 12),
      (await inside.get(given.read, `/ok/${given.mark}`)).text.slice(0, 12),
    ],
    expected: { outcome: 'denied', reasons: ['certificate_invalid'] },
  },
  {
    ...tls,
    id: 'TLS-016',
    title: 'the key of the run’s authority',
    tried:
      'a search for private keys in the socket’s directory, homes, temporary files and every process’s environment',
    tier: 'T2',
    probe: async (inside) => {
      const { fs } = inside;
      const filesBelow = (directory: string): string[] => {
        try {
          return fs
            .readdirSync(directory, { recursive: true, withFileTypes: true })
            .flatMap((entry) => (entry.isFile() ? `${entry.parentPath}/${entry.name}` : []));
        } catch {
          // Not there, or not for this user.
          return [];
        }
      };
      const places = ['/run/cofferdam', '/home/agent', '/root', '/tmp', '/var/tmp', '/workspace'];
      const files = places.flatMap(filesBelow);
      const environments = fs.readdirSync('/proc').flatMap((pid) => (/^\d+$/.test(pid) ? `/proc/${pid}/environ` : []));
      const found: string[] = [];
      for (const file of [...files, ...environments]) {
        try {
          if (fs.readFileSync(file, 'latin1').includes('PRIVATE KEY')) found.push(file);
        } catch {
          // What cannot be read tells nothing.
        }
      }
      const certificates = fs.readFileSync('/run/cofferdam/ca.pem', 'latin1').split('BEGIN CERTIFICATE').length - 1;
      return Promise.resolve({ found, certificates });
    },
    expected: {
      outcome: 'contained',
      also: ({ inside }) => {
        const { found, certificates } = inside as { found: string[]; certificates: number };
        if (found.length > 0) return `private keys in ${found.join(', ')}`;
        return certificates > 0 ? undefined : 'the sandbox has no certificates at all';
      },
    },
  },
];
