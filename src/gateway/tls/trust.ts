/** What the hosts outside are verified with. */
import { createSecureContext, type SecureContext } from 'node:tls';
import { matchesDeny } from '../../policy/egress/host.ts';

/** Certificates of these hosts, and of the authorities above them, have to be on none of the lists, and each has to have one. */
export interface Revocation {
  /** PEM, one list each. */
  lists: readonly string[];
  /** Exact names, or `*.` and a suffix for any number of labels: a check that is too wide is safe. */
  hosts: readonly string[];
}

export interface Trust {
  /** `host`: canonical. */
  contextFor(host: string): SecureContext;
}

/**
 * `ca`: a PEM bundle; default: what this Node trusts. Made once: reading a host's hundreds of certificates takes as long as
 * dozens of handshakes. Errors: OpenSSL's, when `ca` or a list cannot be read.
 */
export function createTrust(options: { ca?: string | undefined; revocation?: Revocation | undefined } = {}): Trust {
  const { ca, revocation } = options;
  const base = { minVersion: 'TLSv1.2' as const, ...(ca === undefined ? {} : { ca }) };
  const plain = createSecureContext(base);
  if (revocation === undefined) return { contextFor: () => plain };
  const strict = createSecureContext({ ...base, crl: [...revocation.lists] });
  const isListed = (host: string): boolean => revocation.hosts.some((pattern) => matchesDeny(pattern, host));
  return { contextFor: (host) => (isListed(host) ? strict : plain) };
}

export function isRevocationList(pem: string): boolean {
  try {
    createSecureContext({ crl: pem });
    return true;
  } catch {
    return false;
  }
}
