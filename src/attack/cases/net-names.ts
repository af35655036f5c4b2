/** NET: spellings of names and addresses that might be judged one way and reached another. */
import type { AttackCase } from '../case.ts';
import { WIDE } from '../stage.ts';
import { REQUEST } from '../twins.ts';

const net = { class: 'NET', as: 'both', twin: REQUEST } as const;

export const NET_NAMES: readonly AttackCase[] = [
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
    id: 'NET-010',
    title: 'spellings of an allowed name',
    tried: 'double and leading dots, empty and overlong labels, wildcards, underscores and hyphens at the edges',
    tier: 'T0',
    probe: (inside, given) => {
      const { allowed } = given;
      const names = [
        ...[`${allowed}..`, `.${allowed}`, allowed.replace('.', '..'), `${'a'.repeat(250)}.test`, '*', '*.test'],
        ...[`_.${allowed}`, `-${allowed}`, allowed.replace('.', '-.')],
      ];
      return inside.statuses(
        names.map((name) => `${name}:443`),
        { send: ['secret'] },
      );
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
    probe: (inside, given) => {
      const { allowed } = given;
      const names = [
        ...[allowed.replace('a', 'а'), allowed.replace('.', '。'), allowed.replace('.', '．'), `‮${allowed}`],
        ...[allowed.replace('i', 'ı'), `ß${allowed}`],
      ];
      const bytes = (name: string): string => String.fromCharCode(...new TextEncoder().encode(name));
      return inside.statuses(
        names.map((name) => `${bytes(name)}:443`),
        { send: ['secret'] },
      );
    },
    expected: { outcome: 'denied', reasons: ['malformed'] },
  },
  {
    ...net,
    id: 'NET-013',
    title: 'names beside a wildcard',
    tried: `*.${WIDE} is allowed: its bare suffix, a longer name that ends the same, and two labels more`,
    tier: 'T0',
    probe: (inside, given) => {
      const names = ['wide.test', `evil${given.index}wide.test`, `a${given.index}.b.wide.test`, 'wide.test.evil.test'];
      return inside.statuses(
        names.map((name) => `${name}:443`),
        { send: ['secret'] },
      );
    },
    expected: {
      outcome: 'denied',
      reasons: ['not_allowed'],
      also: ({ queries }) => queries[0] && `asked for ${queries[0]}`,
    },
  },
];
