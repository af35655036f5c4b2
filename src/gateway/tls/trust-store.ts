/**
 * The certificates of a PEM bundle in Java's own format (JKS), which every Java reads and which, unlike PKCS #12, needs no
 * password for certificates. Format: magic, version, entries of tag, alias, date, type and DER, then a keyed SHA-1.
 */
import { createHash, X509Certificate } from 'node:crypto';

const MAGIC = 0xfeedfeed;
const VERSION = 2;
const TRUSTED = 2;
/** What Java's tools assume when nobody says another one; it protects nothing. */
const PASSWORD = 'changeit';

/** Certificates that cannot be read are left out, as Java's own tools do. */
export function javaTrustStore(pem: string, now: () => number = Date.now): Buffer {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const certificates = blocks.flatMap((block) => {
    try {
      return [new X509Certificate(block).raw];
    } catch {
      return [];
    }
  });
  const date = Buffer.alloc(8);
  date.writeBigUInt64BE(BigInt(now()));
  const entries = certificates.map((der, index) =>
    Buffer.concat([word(TRUSTED), text(`cofferdam-${index}`), date, text('X.509'), word(der.length), der]),
  );
  const store = Buffer.concat([word(MAGIC), word(VERSION), word(entries.length), ...entries]);
  const key = Buffer.from(PASSWORD, 'utf16le').swap16();
  const digest = createHash('sha1').update(key).update('Mighty Aphrodite').update(store).digest();
  return Buffer.concat([store, digest]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}
