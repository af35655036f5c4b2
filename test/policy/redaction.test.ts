import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { maskTokens } from '../../src/policy/redaction/mask.ts';
import { createSecretScanner, KNOWN_SECRET, maskSecret } from '../../src/policy/redaction/scan.ts';

const scan = createSecretScanner([]);
const kinds = (text: string, scanner = scan) => scanner(text).map(({ kind }) => kind);
const body = (length: number) => 'aB3dE5fG7hJ9kL1m'.repeat(20).slice(0, length);

describe('credentials by their shape', () => {
  test.each([
    ['GitHub token', `ghs_${body(36)}`],
    ['GitHub fine-grained token', `github_pat_${body(22)}_${body(59)}`],
    ['GitLab token', `glpat-${body(20)}`],
    ['AWS access key', 'AKIAQ3EGRK7ZTW2LMN4P'],
    ['Google API key', `AIza${body(35)}`],
    ['Anthropic key', `sk-ant-api03-${body(90)}`],
    ['OpenAI key', `sk-proj-${body(40)}T3BlbkFJ${body(40)}`],
    ['Slack token', `xoxb-1234567890-${body(24)}`],
    ['Stripe key', `sk_live_${body(24)}`],
    ['npm token', `npm_${body(36)}`],
    ['private key', `-----BEGIN RSA PRIVATE KEY-----\n${body(64)}\n${body(64)}\n-----END RSA PRIVATE KEY-----`],
    ['private key', `"-----BEGIN PRIVATE KEY-----\\n${body(64)}\\n"`],
  ])('%s', (kind, secret) => {
    expect(kinds(`a = ${secret};`)).toEqual([kind]);
    const base64 = Buffer.from(`token: ${secret}`).toString('base64');
    expect(kinds(base64)).toContain(kind);
    expect(kinds(base64.replaceAll(/(.{64})/g, '$1\n'))).toContain(kind);
    expect(kinds(base64.replaceAll(/(.{64})/g, '$1\\n'))).toContain(kind);
  });

  test.each([
    'AKIAIOSFODNN7EXAMPLE',
    'ghp_short',
    'a sha: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    '"integrity": "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="',
    '-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0123456789\n',
    '-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----',
    'risk-anticipation-is-not-a-key-of-anybody-at-all-really',
    `data:image/png;base64,${Buffer.from('plain words in a row, nothing else').toString('base64')}`,
  ])('%s is none', (text) => {
    expect(kinds(text)).toEqual([]);
  });
});

describe('secrets that are known', () => {
  test('are found wherever they stand, in each encoding', () => {
    const printable = fc.string({
      unit: fc.constantFrom(...Array.from('abcXYZ0189+/=_-?&%"\\:;, ü€')),
      minLength: 12,
      maxLength: 40,
    });
    const around = fc.uint8Array({ maxLength: 9 });
    fc.assert(
      fc.property(printable, around, around, (secret, before, after) => {
        const scanner = createSecretScanner([secret]);
        const bytes = Buffer.concat([before, Buffer.from(secret), after]);
        const forms = [
          bytes.toString('latin1'),
          bytes.toString('base64'),
          bytes.toString('base64url'),
          bytes.toString('hex'),
          Buffer.from(bytes).reverse().toString('latin1'),
          encodeURIComponent(secret),
          Buffer.from(JSON.stringify({ key: secret })).toString('latin1'),
        ];
        for (const form of forms) {
          expect(kinds(form, scanner)).toContain(KNOWN_SECRET);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('that are too short to tell from words are left out', () => {
    expect(kinds('the word test', createSecretScanner(['test', '']))).toEqual([]);
  });
});

test('a report never holds the secret', () => {
  const secret = `ghp_${body(36)}`;
  const [finding] = scan(secret);
  expect(finding && maskSecret(finding)).toBe('GitHub token ghp_…');
  const [known] = createSecretScanner(['my own secret'])('x my own secret y');
  expect(known && maskSecret(known)).toBe(KNOWN_SECRET);
  expect(JSON.stringify(known)).not.toContain('my own');
});

test('maskTokens takes out what is known by its shape, and leaves examples and words', () => {
  const token = `ghp_${'a1B2'.repeat(9)}`;
  expect(maskTokens(`use ${token}, or AKIAIOSFODNN7EXAMPLE; AKIA${'ABCD2345'.repeat(2)}`)).toBe(
    'use [redacted], or AKIAIOSFODNN7EXAMPLE; [redacted]',
  );
  // An example of one shape around a secret of another.
  expect(maskTokens(`xoxb-EXAMPLE-AKIA${'ABCD2345'.repeat(2)}`)).toBe('xoxb-EXAMPLE-[redacted]');
  expect(maskTokens('a plain sentence, 0123456789abcdef')).toBe('a plain sentence, 0123456789abcdef');
});
