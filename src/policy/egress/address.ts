/** Which addresses may be dialled. Trust: addresses come from a resolver that may lie. */
import ipaddr from 'ipaddr.js';
import { allow, BUILT_IN, deny, type Decision } from '../../domain/decision.ts';

export type AddressClass = { ok: true } | { ok: false; range: string; always: boolean };

/** Never reachable, whatever the policy says: cloud metadata services sit on link-local and these addresses. */
const METADATA = new Set([
  '169.254.169.254',
  '169.254.170.2',
  '100.100.100.200',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd20:ce::254',
]);
/** What `allowPrivate` opens: addresses of a company's own network. Documentation ranges are what some gateways use for theirs. */
const PRIVATE = new Set(['private', 'uniqueLocal', 'carrierGradeNat', 'loopback', 'reserved', 'documentation']);
/** IPv6 ranges that ipaddr.js counts as unicast or that carry an IPv4 address inside. */
const MORE_V6: [string, string][] = [
  ['2001:db8::/32', 'documentation'],
  ['3fff::/20', 'documentation'],
  ['::/96', 'ipv4Compatible'],
  ['2001:20::/28', 'orchid'],
  ['5f00::/16', 'segmentRouting'],
];

/** Public unicast or the name of the special range. `always`: `allowPrivate` does not open it. */
export function classifyAddress(raw: string): AddressClass {
  if (!ipaddr.isValid(raw) || raw.includes('%')) return { ok: false, range: 'invalid', always: true };
  const address = ipaddr.parse(raw);
  const text = address.toString();
  if (METADATA.has(text)) return { ok: false, range: 'metadata', always: true };
  const range = rangeOf(address);
  if (range === 'unicast') return { ok: true };
  const loopbackOrPrivate = PRIVATE.has(range) && !/^(?:2[4-9]\d|192\.0\.0|192\.88\.99)\./.test(text);
  return { ok: false, range, always: !loopbackOrPrivate };
}

function rangeOf(address: ipaddr.IPv4 | ipaddr.IPv6): string {
  if (address.kind() === 'ipv4') return address.range();
  const v6 = address as ipaddr.IPv6;
  for (const [cidr, name] of MORE_V6) {
    const [base, bits] = ipaddr.IPv6.parseCIDR(cidr);
    if (v6.match(base, bits) && !['loopback', 'unspecified'].includes(v6.range())) return name;
  }
  const range: string = v6.range();
  // Only 2000::/3 is given out as global unicast; everything else is reserved.
  if (range === 'unicast' && !v6.match(ipaddr.IPv6.parse('2000::'), 3)) return 'reservedV6';
  return range;
}

/** All answers of a name together: one forbidden address among good ones denies them all (rebinding by mixed answers). */
export function judgeAddresses(addresses: readonly string[], allowPrivate: boolean): Decision {
  if (addresses.length === 0) return deny('addresses', 'name_not_found');
  const forbidden = addresses
    .map((address) => classifyAddress(address))
    .filter((found) => !found.ok && (found.always || !allowPrivate));
  // One that nothing opens is the reason, if there is one.
  const worst = forbidden.find((found) => !found.ok && found.always) ?? forbidden[0];
  if (worst && !worst.ok)
    return deny(`${worst.always ? `${BUILT_IN} ` : ''}addresses: ${worst.range}`, 'address_forbidden');
  return allow(allowPrivate ? 'addresses: allowPrivate' : 'addresses: public');
}
