/** NET: misuse of what is allowed: forged identities, exfiltration, floods and slow clients. */
import type { AttackCase } from '../case.ts';
import { REQUEST } from '../twins.ts';

const net = { class: 'NET', as: 'both', twin: REQUEST } as const;

export const NET_ALLOWED: readonly AttackCase[] = [
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
