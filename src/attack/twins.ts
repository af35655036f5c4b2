import type { Twin } from './case.ts';

/** By name, through the portal, with TLS terminated: what an ordinary program does. */
export const REQUEST: Twin = {
  title: 'an ordinary request to an allowed host',
  probe: (inside, given) => inside.get(given.twin, `/twin/${given.mark}`),
  arrives: ({ mark }) => ({ at: 'twin', text: `GET /twin/${mark}` }),
};

/** CONNECT and a ClientHello that names the host of the CONNECT. */
export const PASSED: Twin = {
  title: 'a ClientHello for the host that CONNECT named',
  probe: (inside, given) =>
    inside.tunnel(`${given.twinPassed}:443`, {
      send: [inside.clientHello([given.twinPassed])],
      enough: (text) => text.includes('echo:'),
    }),
  arrives: ({ twinPassed }) => ({ at: 'twinPassed', text: twinPassed }),
};
