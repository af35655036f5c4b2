import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { createRunAuthority } from '../../src/gateway/tls/authority.ts';
import { javaTrustStore } from '../../src/gateway/tls/trust-store.ts';
import { policyOf } from './hermetic.ts';

/** Reads the format as Java does: every length is followed, and nothing is left but the digest. */
function read(store: Buffer): X509Certificate[] {
  let at = 0;
  const word = (): number => store.readUInt32BE((at += 4) - 4);
  const bytes = (length: number): Buffer => store.subarray((at += length) - length, at);
  const text = (): string => bytes(store.readUInt16BE((at += 2) - 2)).toString('latin1');
  expect([word(), word()]).toEqual([0xfeedfeed, 2]);
  const aliases = new Set<string>();
  const found = Array.from({ length: word() }, () => {
    expect(word()).toBe(2);
    aliases.add(text());
    at += 8;
    expect(text()).toBe('X.509');
    return new X509Certificate(bytes(word()));
  });
  expect(aliases.size).toBe(found.length);
  expect(store.length - at).toBe(20);
  return found;
}

// That a real Java trusts what is in it is shown by Maven in test/integration/registries.test.ts.
test('Java’s trust store holds every certificate of the bundle, and leaves out what is none', async () => {
  const authorities = await Promise.all(
    ['one', 'two'].map((runName) => createRunAuthority({ runName, policy: policyOf([{ host: 'a.test' }]) })),
  );
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  const bundle = `# comment\n${authorities.map(({ certificate }) => certificate).join(broken)}`;
  expect(read(javaTrustStore(bundle)).map(({ subject }) => subject)).toEqual([
    expect.stringContaining('one'),
    expect.stringContaining('two'),
  ]);
  expect(read(javaTrustStore(''))).toEqual([]);
});
