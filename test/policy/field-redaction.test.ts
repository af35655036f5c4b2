import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DataClass } from '../../src/domain/events/data-class.ts';
import { createFieldRedactor } from '../../src/policy/redaction/fields.ts';
import { isSecretName } from '../../src/policy/redaction/names.ts';

const KNOWN = 'Hunter2/known+"secret"';
const { text, argv } = createFieldRedactor([KNOWN]);
const SHA = '62f91418fcfbfc1d180ee1f42d9b440d8ddb2878';
const DIGEST = `sha256:${'0123456789abcdef'.repeat(4)}`;
const TOKEN = `ghs_123456_eyJ${'aB3d'.repeat(12)}.eyJ${'x1Y2'.repeat(8)}.sig-${'z9'.repeat(10)}`;
const CLASSES: DataClass[] = ['fact', 'hash', 'id', 'host', 'url', 'query', 'argv', 'command', 'text', 'record'];

describe('AUD-011: what the installation knows, and tokens by their shape', () => {
  const bytes = Buffer.from(KNOWN);
  const forms = {
    plain: KNOWN,
    'URL-encoded': encodeURIComponent(KNOWN),
    'URL-encoded in lower case': encodeURIComponent(KNOWN).toLowerCase(),
    'in a string of JSON': JSON.stringify(KNOWN).slice(1, -1),
    hexadecimal: bytes.toString('hex'),
    HEXADECIMAL: bytes.toString('hex').toUpperCase(),
    base64: bytes.toString('base64'),
    'base64 for URLs': bytes.toString('base64url'),
    'base64 in the middle of more': Buffer.from(`{"a":"${KNOWN}"}`).toString('base64'),
    reversed: Buffer.from(bytes).reverse().toString(),
    'a token of GitHub with a whole JWT': TOKEN,
    'a short one': `ghp_${'a1B2'.repeat(9)}`,
  };
  test.each(Object.entries(forms))('%s goes from every class', (what, form) => {
    for (const dataClass of CLASSES) {
      const out = text(dataClass, `before ${form} after`);
      expect(out, dataClass).toContain('[redacted]');
      expect(out, dataClass).not.toContain(what.startsWith('base64 in') ? 'SHVudGVy' : form);
      expect(out, dataClass).toMatch(/^before .*after$/);
    }
    expect(argv(['x', form]).join(' ')).toContain('[redacted]');
  });

  test.each([
    ['a token in the place of a reference', 'id', TOKEN],
    ['a secret in the place of a digest', 'hash', KNOWN],
    ['a secret as a label of a name, which is written in lower case', 'host', 'hunter2/known+"secret".evil.test'],
    [
      'a secret of which each character is escaped',
      'url',
      `/x?q=${Array.from(bytes, (b) => `%${b.toString(16)}`).join('')}`,
    ],
    ['the password in a URL', 'text', "fatal: unable to access 'https://bob:pa55-w0rd@git.test/x.git'"],
    [
      'a token in the place of the name in a URL',
      'url',
      'https://9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c@git.test/x.git',
    ],
    ['a password that holds an @', 'text', 'https://bob:p@55@git.test/'],
    ['a signed query', 'url', '/o?X-Amz-Date=1&X-Amz-Signature=0f1e2d3c4b5a'],
    ['an escaped name in a query', 'query', 'access%5Ftoken=0f1e2d3c4b5a'],
    ['a URL with a key in words', 'text', 'see https://api.test/v1?api_key=0f1e2d3c4b5a&x=1'],
    ['a header', 'text', 'Authorization: Bearer 0f1e2d3c4b5a0f1e2d3c'],
    ['a setting', 'command', 'DB_PASSWORD=0f1e2d node server.js'],
    ['a quoted setting', 'command', `export clientSecret="a b 0f1e2d"; run`],
    ['a flag', 'command', 'deploy --api-key 0f1e2d --region eu'],
    ['a flag with =', 'command', "deploy --token='0f1e2d'"],
    ['a header of curl', 'command', `curl -H 'X-Api-Key: 0f1e2d' https://a.test`],
    ['a login of curl', 'command', 'curl -fsSu x -u bob:0f1e2d https://a.test'],
    ['the input of a tool', 'command', '{"command":"login","password":"0f1e2d"}'],
    [
      'a command in the input of a tool',
      'command',
      String.raw`{"command":"curl -H \"Authorization: token 0f1e2d\" a.test"}`,
    ],
  ] as const)('%s', (_what, dataClass, value) => {
    const out = text(dataClass, value);
    expect(out).toContain('[redacted]');
    expect(out).not.toMatch(/0f1e2d|pa55|p@55|hunter2|9f8a7b|eyJ/i);
  });

  test.each([
    [['deploy', '--token', '0f1e2d']],
    [['deploy', '--token=0f1e2d']],
    [['env', 'NPM_TOKEN=$0f1e2d', 'npm', 'publish']],
    [['curl', '-u', 'bob:0f1e2d', 'https://a.test']],
    [['/usr/bin/curl', '--user', 'bob:0f1e2d']],
    [['curl', '-H', 'Authorization: Basic 0f1e2d0f1e2d0f1e2d']],
    [['sh', '-c', 'SECRET=0f1e2d exec ./x']],
    [['git', 'clone', 'https://x-access-token:0f1e2d@git.test/x.git']],
  ])('arguments %j', (values) => {
    const out = argv(values);
    expect(out).toHaveLength(values.length);
    expect(out[0]).toBe(values[0]);
    expect(out.join(' ')).toContain('[redacted]');
    expect(out.join(' ')).not.toContain('0f1e2d');
  });
});

describe('what is no secret stays as it was', () => {
  test.each([
    ['hash', SHA],
    ['hash', DIGEST],
    ['id', 'octo/kettle'],
    ['id', `registry.test/cofferdam/agent@${DIGEST}`],
    ['id', 'cofferdam/12-parse-time'],
    ['id', 'dependabot[bot]'],
    ['id', '2026-11-25T08:00:00Z'],
    ['text', `commit ${SHA} of image ${DIGEST}`],
    ['text', '/workspace/repo/node_modules/.cache/babel/0a1b2c3d4e5f60718293a4b5c6d7e8f9.json'],
    ['text', 'the secret: it takes a token, and the password is asked for'],
    ['text', 'git clone https://github.test/octo/kettle.git?depth=1#readme'],
    ['text', 'ssh://git@github.test/octo/kettle.git'],
    [
      'text',
      '"integrity": "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="',
    ],
    ['url', '/@scope%2fname/-/name-1.2.3.tgz'],
    ['url', '/search?q=token&max_tokens=5&page=2&sort_key=name'],
    ['query', 'service=git-upload-pack'],
    ['host', 'secret-token.example.com'],
    ['command', 'npm ci && npm test -- --reporter=dot'],
    ['command', 'PWD=/workspace KEY=value node --key server.pem x.js'],
    ['command', 'echo "$NPM_TOKEN"; TOKEN=$NPM_TOKEN npm publish --tag next'],
    ['command', 'docker run -u 1000:1000 image'],
    ['command', 'docker login --password-stdin registry.test'],
    ['command', '{"path":"src/token.ts","limit":20}'],
    ['fact', 'not_allowed'],
  ] as const)('%s %s', (dataClass, value) => {
    expect(text(dataClass, value)).toBe(value);
  });

  test.each([
    [['git', 'show', SHA]],
    [['node', '--test', 'token.test.ts']],
    [['docker', 'run', '-u', '1000:1000', `img@${DIGEST}`]],
    [['tool', '--auth', '--verbose']],
    [['openssl', 'rand', '-hex', '32']],
  ])('arguments %j', (values) => {
    expect(argv(values)).toEqual(values);
  });
});

test('the name of a setting says whether it is one', () => {
  for (const name of ['NPM_TOKEN', 'apiKey', '--api-key', 'X-Amz-Signature', 'client_secret', '_authToken', 'DB_PASS'])
    expect(isSecretName(name), name).toBe(true);
  for (const name of [
    'apiKeyEnv',
    'max_tokens',
    'key',
    'sortKey',
    'SSH_AUTH_SOCK',
    'tokenizer',
    'author',
    '--token-file',
  ])
    expect(isSecretName(name), name).toBe(false);
});

// What took the square of its length would not end here.
test.each([
  'a-',
  '--a ',
  'curl -u ',
  'a://',
  'a:',
  '?a=',
  '"',
  String.raw`\"`,
  'token="',
  'bearer ',
  '%41',
  '@',
  'ghs_',
  '$(',
])('a megabyte of %s is read', (piece) => {
  const value = piece.repeat(1_048_576 / piece.length);
  for (const dataClass of CLASSES) expect(text(dataClass, value).length).toBeGreaterThan(0);
  expect(argv([value, value])).toHaveLength(2);
});

test('redacting twice changes nothing more, and a known secret never comes through', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom(...CLASSES),
      (a, b, dataClass) => {
        const once = text(dataClass, `${a}${KNOWN}${b}`);
        expect(once).not.toContain(KNOWN);
        expect(text(dataClass, once)).toBe(once);
      },
    ),
  );
});
