/** DNS: names as a way out. */
import type { AttackCase } from '../case.ts';
import { WIDE } from '../stage.ts';
import { REQUEST } from '../twins.ts';

const dns = { class: 'DNS', as: 'both', twin: REQUEST } as const;

export const DNS: readonly AttackCase[] = [
  {
    ...dns,
    id: 'DNS-001',
    title: 'a tunnel of look-ups',
    tried:
      '200 names with data in them below a domain of the attacker, of eight types of record; each has to be counted',
    tier: 'T1',
    probe: async (inside, given) => {
      const types = ['A', 'AAAA', 'TXT', 'NULL', 'MX', 'CNAME', 'SRV', 'ANY'];
      const found: number[] = [];
      for (let at = 0; at < 200; at += 20) {
        const asked = Array.from({ length: 20 }, (_unused, more) =>
          inside.dns(`d${at + more}.${given.mark}.${given.denied}`, types[(at + more) % types.length]),
        );
        found.push(...(await Promise.all(asked)).map(({ answers }) => answers));
      }
      return found.filter((answers) => answers > 0).length;
    },
    expected: {
      outcome: 'denied',
      reasons: ['not_allowed'],
      also: ({ queries, inside, denied, given }) => {
        if (queries.length > 0) return `${queries.length} names left the host`;
        const counted = denied.filter(({ host }) => host.endsWith(`.${given.mark}.${given.denied}`));
        if (counted.length < 200) return `${counted.length} of 200 names were counted`;
        return inside === 0 ? undefined : 'names were answered';
      },
    },
  },
  {
    ...dns,
    id: 'DNS-003',
    title: 'other resolvers',
    tried: 'public resolvers by UDP, TCP, over TLS and over HTTPS; and DNS over HTTPS at an allowed host',
    tier: 'T1',
    probe: async (inside, given) => ({
      answers: [
        await inside.dns(given.denied, 'A', '8.8.8.8'),
        await inside.dns(given.denied, 'A', '9.9.9.9', 'tcp'),
        await inside.dns(`x.${given.denied}`, 'TXT', '1.1.1.1'),
      ].filter(({ answers }) => answers > 0).length,
      overTls: (await inside.tcp('1.1.1.1', 853, { send: ['secret'], waitMs: 2_000 })).connected,
      unlisted: (await inside.tunnel('dns.google:443')).status,
      allowed: (await inside.get(given.allowed, `/dns-query?dns=${given.mark}`)).text.slice(0, 12),
      media: (await inside.get(given.allowed, '/a', ['Accept: application/dns-message'])).text.slice(0, 12),
    }),
    expected: {
      outcome: 'denied',
      reasons: ['not_allowed'],
      also: ({ inside, queries, given }) => {
        const { answers, overTls } = inside as { answers: number; overTls: boolean };
        if (answers > 0 || overTls) return 'another resolver answered';
        return queries.some((name) => name !== given.allowed)
          ? `names left the host: ${queries.join(', ')}`
          : undefined;
      },
    },
  },
  {
    ...dns,
    id: 'DNS-005',
    title: 'an empty answer must not look like a missing name',
    tried: 'AAAA, HTTPS and A of an allowed name, and its look-up by the C library and by c-ares',
    tier: 'T1',
    probe: async (inside, given) => ({
      none: await inside.dns(given.allowed, 'AAAA'),
      service: await inside.dns(given.allowed, 'HTTPS'),
      some: await inside.dns(given.allowed, 'A'),
      library: await inside.addressOf(given.allowed),
      cares: await inside.ownAddressOf(given.allowed),
    }),
    expected: {
      outcome: 'contained',
      also: ({ inside }) => {
        const { none, service, some, library, cares } = inside as Record<
          'none' | 'service' | 'some',
          { rcode: number; answers: number }
        > & {
          library?: string;
          cares?: string;
        };
        const empty = [none, service].every(({ rcode, answers }) => rcode === 0 && answers === 0);
        return empty && some.answers === 1 && library?.startsWith('198.1') === true && cares === library
          ? undefined
          : `answers: ${JSON.stringify(inside)}`;
      },
    },
  },
  {
    ...dns,
    id: 'DNS-008',
    title: 'malformed messages',
    tried: 'compression loops, impossible counts, truncated and overlong labels, lengths that lie',
    tier: 'T0',
    probe: async (inside) => {
      const head = '\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00';
      const messages = [
        ...[
          '',
          '\x12',
          head,
          `${head}\xc0\x0c`,
          `${head}\xc0\x0c\x00\x01\x00\x01`,
          `${head}\x40${'a'.repeat(64)}\x00\x00\x01\x00\x01`,
        ],
        ...[
          head.replace('\x00\x01\x00', '\x00\x02\x00'),
          `${head}\x3fabc`,
          '\xff'.repeat(600),
          `${head}${'\x01a'.repeat(200)}\x00\x00\x01\x00\x01`,
        ],
      ];
      for (const message of messages) await Promise.race([inside.udp('127.0.0.1', 53, message), inside.sleep(100)]);
      await inside.tcp('127.0.0.1', 53, { send: [`\xff\xff${head}`], waitMs: 500 });
      return inside.dns('portal.cofferdam.internal');
    },
    expected: {
      outcome: 'contained',
      also: ({ inside, queries }) =>
        (inside as { answers: number }).answers === 1 && queries.length === 0
          ? undefined
          : 'the portal answers no more',
    },
  },
  {
    ...dns,
    id: 'DNS-002',
    title: 'a tunnel through an allowed suffix',
    tried: `100 different names, long labels and deep ones below *.${WIDE}, which is allowed`,
    tier: 'T1',
    // The limit is the run's, so it can be reached once.
    as: 'agent',
    probe: async (inside) => {
      const names = [
        ...Array.from({ length: 100 }, (_unused, at) => `n${at}.wide.test`),
        ...[`${'d'.repeat(50)}.wide.test`, 'a.b.wide.test'],
      ];
      const statuses: number[] = [];
      for (const name of names) statuses.push((await inside.tunnel(`${name}:443`)).status);
      return statuses.filter((status) => status === 429).length;
    },
    expected: {
      outcome: 'limited',
      reasons: ['name_limit', 'not_allowed'],
      silent: true,
      also: ({ queries }) => (queries.length <= 64 ? undefined : `${queries.length} names left the host`),
    },
  },
];
