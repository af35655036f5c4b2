/** NET: ways out past the names that are allowed: other hosts, ports, addresses and protocols. */
import type { AttackCase } from '../case.ts';
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
    tried:
      'TCP connections to public, private and metadata addresses, without a name and without a proxy; a port of no rule',
    tier: 'T1',
    probe: async (inside, given) => {
      await inside.tcp(`1.1.1.${given.index}`, 25, { send: ['secret'] });
      const addresses = [
        ...[`1.1.1.${given.index}`, `93.184.64.${given.index}`, '8.8.8.8', '169.254.169.254', '10.0.0.1', '172.17.0.1'],
        ...['192.168.0.1', '198.19.255.250', '100.64.0.1', '224.0.0.1', '240.0.0.1', '203.0.113.1'],
      ];
      return Promise.all(addresses.map((address) => inside.tcp(address, 443, { send: ['secret'] })));
    },
    expected: {
      outcome: 'denied',
      reasons: ['ip_literal'],
      hints: ({ index }) => [
        {
          type: 'kernel.connect',
          'network.peer.address': `1.1.1.${index}`,
          'network.peer.port': 25,
        },
      ],
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
    probe: (inside, given) => {
      const ports = ['22', '25', '6379', '8443', '0', '65536', '0443', '+443', '443a', '0x1bb', ''];
      return inside.statuses(
        ports.map((port) => `${given.allowed}:${port}`),
        { send: ['secret'] },
      );
    },
    expected: { outcome: 'denied', reasons: ['port_not_allowed', 'malformed'] },
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
    probe: (inside, given) => inside.statuses(Array<string>(20).fill(`${given.allowed}:443`)),
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
      await inside.tcp('169.254.169.254', 80, { send: ['GET / HTTP/1.0\r\n\r\n'] }),
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
    probe: (inside, given) => inside.statuses(Array<string>(4).fill(`${given.allowed}:443`), { waitMs: 500 }),
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
    id: 'NET-016',
    title: 'UDP, QUIC, ICMP, SCTP and raw sockets',
    tried: 'datagrams to public addresses, to this host’s loopback, and sockets below TCP and UDP',
    tier: 'T2',
    probe: async (inside, given) => {
      const raw = await inside.run([
        'python3',
        '-c',
        `import socket
for kind, proto in ((3, 1), (3, 255), (1, 132), (3, 6)):
  try: socket.socket(2, kind, proto); print("OPEN", kind, proto)
  except OSError: print("refused")
quic = socket.socket(2, 2)
quic.settimeout(1)
try: quic.connect(("9.9.9.${given.index}", 443)); quic.send(b"secret"); print("OPEN", quic.recv(100))
except OSError: print("refused")`,
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
      hints: ({ index }) => [
        { type: 'kernel.connect', 'network.peer.address': `9.9.9.${index}`, 'network.transport': 'udp' },
        { type: 'kernel.socket', 'process.command': 'python3', 'network.transport': 'raw', outcome: 'EPERM' },
      ],
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
];
