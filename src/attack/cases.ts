import type { AttackCase } from './case.ts';
import { DNS } from './cases/dns.ts';
import { ESC } from './cases/esc.ts';
import { NET } from './cases/net.ts';
import { NET_ALLOWED } from './cases/net-allowed.ts';
import { NET_NAMES } from './cases/net-names.ts';
import { RES } from './cases/res.ts';
import { TLS } from './cases/tls.ts';

/** In the order in which they run: what uses up a limit of the run comes behind what needs it. */
export const CASES: readonly AttackCase[] = [...ESC, ...NET, ...NET_NAMES, ...NET_ALLOWED, ...TLS, ...DNS, ...RES];
