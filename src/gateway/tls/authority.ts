/**
 * The certificate authority of one run. Its key is made here, never leaves this process, is not exported and dies with it.
 * It is good for the hosts of this run's policy only (name constraints) and for a day.
 */
// The library needs it before it is loaded.
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  AuthorityKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { EgressPolicy } from '../../domain/policy.ts';

export interface RunAuthority {
  /** PEM: what the sandbox trusts besides the host's bundle. */
  readonly certificate: string;
  /** A context that answers for this host; made once. */
  contextFor(host: string): Promise<SecureContext>;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR = 3_600_000;
/** Clocks of sandbox and host are the same; an hour covers a clock that was set. */
const BEFORE = HOUR;
const AFTER = 25 * HOUR;
const NAME_CONSTRAINTS = '2.5.29.30';

export async function createRunAuthority(options: {
  runName: string;
  policy: EgressPolicy;
  now?: () => number;
}): Promise<RunAuthority> {
  const now = options.now ?? Date.now;
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
  const issuer = `CN=Cofferdam ${options.runName}, O=Cofferdam run CA`;
  const authority = await X509CertificateGenerator.createSelfSigned(
    {
      name: issuer,
      serialNumber: serial(),
      notBefore: new Date(now() - BEFORE),
      notAfter: new Date(now() + AFTER),
      keys,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        new Extension(NAME_CONSTRAINTS, true, nameConstraints(permittedNames(options.policy))),
      ],
    },
    webcrypto,
  );
  // One key for all leaves of the run: making a key for each would cost a handshake more, and nobody else holds either.
  const leafKeys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const leafKey = pem('PRIVATE KEY', await webcrypto.subtle.exportKey('pkcs8', leafKeys.privateKey));
  const contexts = new Map<string, Promise<SecureContext>>();

  async function makeContext(host: string): Promise<SecureContext> {
    const leaf = await X509CertificateGenerator.create(
      {
        subject: 'O=Cofferdam',
        issuer,
        serialNumber: serial(),
        notBefore: new Date(now() - BEFORE),
        notAfter: new Date(now() + AFTER),
        signingKey: keys.privateKey,
        publicKey: leafKeys.publicKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new BasicConstraintsExtension(false, undefined, true),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
          // Critical, since the subject does not name the host.
          new SubjectAlternativeNameExtension([{ type: 'dns', value: host }], true),
          await AuthorityKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
          await SubjectKeyIdentifierExtension.create(leafKeys.publicKey, false, webcrypto),
        ],
      },
      webcrypto,
    );
    return createSecureContext({ key: leafKey, cert: leaf.toString('pem'), minVersion: 'TLSv1.2' });
  }

  return {
    certificate: `${authority.toString('pem')}\n`,
    contextFor: (host) => {
      const known = contexts.get(host);
      if (known) return known;
      const made = makeContext(host);
      contexts.set(host, made);
      return made;
    },
  };
}

function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  // Positive, as RFC 5280 wants it.
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

/** Names below which the authority may speak: those of the rules; a constraint of `x.test` covers its subdomains, too. */
function permittedNames(policy: EgressPolicy): string[] {
  const names = policy.rules.filter((rule) => rule.passThrough !== true).map((rule) => rule.host.replace(/^\*\./, ''));
  // An empty list would permit everything.
  return names.length === 0 ? ['cofferdam.invalid'] : [...new Set(names)];
}

/** `NameConstraints` with permitted DNS names, in DER. */
function nameConstraints(names: string[]): Uint8Array<ArrayBuffer> {
  const subtrees = names.map((name) => der(0x30, der(0x82, Buffer.from(name, 'latin1'))));
  return new Uint8Array(der(0x30, der(0xa0, Buffer.concat(subtrees))));
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const digits = Buffer.from(length.toString(16).padStart(length > 0xffff ? 6 : length > 0xff ? 4 : 2, '0'), 'hex');
  return Buffer.concat([Buffer.from([tag, 0x80 | digits.length]), digits, content]);
}

function pem(label: string, bytes: ArrayBuffer): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
