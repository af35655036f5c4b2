import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EgressPolicy, EgressRule } from '../../src/domain/policy.ts';
import { classifyAddress, judgeAddresses } from '../../src/policy/egress/address.ts';
import { judgeConnect, judgeName, judgeRequest } from '../../src/policy/egress/decide.ts';
import {
  canonicalAuthority,
  canonicalHost,
  canonicalPort,
  matchesAllow,
  matchesDeny,
} from '../../src/policy/egress/host.ts';
import { checkHead, isDnsOverHttps, outgoingHeaders } from '../../src/policy/egress/http-head.ts';
import { lintPolicy } from '../../src/policy/egress/lint.ts';
import { canonicalPath, matchesPath } from '../../src/policy/egress/path.ts';

function policy(rules: EgressRule[], deny: string[] = []): EgressPolicy {
  return { rules: rules.map((rule) => ({ ...rule, source: 'p' })), deny, gitRepositories: [] };
}

const hosts: [raw: string, expected: string][] = [
  ['example.com', 'example.com'],
  ['EXAMPLE.Com', 'example.com'],
  ['example.com.', 'example.com'],
  ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
  ['a'.repeat(63) + '.test', 'a'.repeat(63) + '.test'],
  ['localhost', 'localhost'],
  ['1.2.3.4.test', '1.2.3.4.test'],
  ['example.com..', 'malformed'],
  ['.example.com', 'malformed'],
  ['a..b', 'malformed'],
  ['', 'malformed'],
  ['.', 'malformed'],
  ['*', 'malformed'],
  ['*.example.com', 'malformed'],
  ['a_b.example.com', 'malformed'],
  ['-a.example.com', 'malformed'],
  ['a-.example.com', 'malformed'],
  ['a'.repeat(64) + '.test', 'malformed'],
  ['a.'.repeat(127) + 'a', 'malformed'],
  ['bücher.example', 'malformed'],
  ['faß.example', 'malformed'],
  ['exämple\u3002com', 'malformed'],
  ['example\u3002com', 'malformed'],
  ['example.com\u0000', 'malformed'],
  ['example.com\r\n', 'malformed'],
  ['example.com ', 'malformed'],
  ['example.com\t', 'malformed'],
  ['user@example.com', 'malformed'],
  ['example.com#', 'malformed'],
  ['example.com?', 'malformed'],
  ['example.com\\', 'malformed'],
  ['example.com/', 'malformed'],
  ['example%2ecom', 'malformed'],
  ['example.com%00', 'malformed'],
  ['xn--a.example', 'xn--a.example'],
  ['127.0.0.1', 'ip_literal'],
  ['127.0.0.1.', 'ip_literal'],
  ['2130706433', 'ip_literal'],
  ['0177.0.0.1', 'ip_literal'],
  ['0x7f.1', 'ip_literal'],
  ['0x7f000001', 'ip_literal'],
  ['127.1', 'ip_literal'],
  ['0', 'ip_literal'],
  ['0x', 'ip_literal'],
  ['1.2.3.0x4', 'ip_literal'],
  ['example.1', 'ip_literal'],
  ['999.999.999.999', 'ip_literal'],
  ['::1', 'ip_literal'],
  ['[::1]', 'ip_literal'],
  ['[::]', 'ip_literal'],
  ['[::ffff:7f00:1]', 'ip_literal'],
  ['[::ffff:127.0.0.1]', 'ip_literal'],
  ['fe80::1%eth0', 'ip_literal'],
  ['[fe80::1%eth0]', 'ip_literal'],
  ['[fe80::1%25eth0]', 'ip_literal'],
];

test.each(hosts)('canonicalHost %j → %s', (raw, expected) => {
  const found = canonicalHost(raw);
  expect(found.ok ? found.host : found.reason).toBe(expected);
});

test('a canonical host is its own canonical form, and nothing else gets through', () => {
  const chars = fc.constantFrom(...'aA0-.xn_*%@:[]/\\ \t\r\n\0é。'.split(''));
  const raw = fc.array(chars, { maxLength: 40 }).map((list) => list.join(''));
  fc.assert(
    fc.property(raw, (text) => {
      const found = canonicalHost(text);
      if (!found.ok) return;
      expect(found.host).toMatch(/^[a-z0-9.-]+$/);
      expect(canonicalHost(found.host)).toEqual(found);
      expect(new URL(`http://${text}/`).hostname.replace(/\.$/, '')).toBe(found.host);
    }),
    { numRuns: 20_000 },
  );
});

test.each([
  ['443', 443],
  ['1', 1],
  ['65535', 65535],
  ['0', undefined],
  ['65536', undefined],
  ['0443', undefined],
  ['443 ', undefined],
  [' 443', undefined],
  ['+443', undefined],
  ['4e2', undefined],
  ['0x1bb', undefined],
  ['', undefined],
  ['４４３', undefined],
])('canonicalPort %j → %s', (raw, expected) => {
  expect(canonicalPort(raw)).toBe(expected);
});

test.each([
  ['a.test:443', 'a.test:443'],
  ['A.test.:80', 'a.test:80'],
  ['a.test', 'malformed'],
  ['a.test:', 'malformed'],
  ['a.test:443:443', 'malformed'],
  ['[::1]:443', 'ip_literal'],
  ['[::1]', 'malformed'],
  ['::1:443', 'ip_literal'],
  ['1.1.1.1:443', 'ip_literal'],
  ['a.test:443/x', 'malformed'],
  ['http://a.test:443', 'malformed'],
  ['user:pass@a.test:443', 'malformed'],
])('canonicalAuthority %j → %s', (raw, expected) => {
  const found = canonicalAuthority(raw);
  expect(found.ok ? `${found.host}:${found.port}` : found.reason).toBe(expected);
});

describe('patterns', () => {
  test.each([
    ['*.github.com', 'api.github.com', true],
    ['*.github.com', 'github.com', false],
    ['*.github.com', 'evilgithub.com', false],
    ['*.github.com', 'github.com.evil', false],
    ['*.github.com', 'a.b.github.com', false],
    ['github.com', 'github.com', true],
    ['github.com', 'api.github.com', false],
  ])('allow %s over %s: %s', (pattern, host, expected) => {
    expect(matchesAllow(pattern, host)).toBe(expected);
  });
  test.each([
    ['*.evil.test', 'a.evil.test', true],
    ['*.evil.test', 'a.b.evil.test', true],
    ['*.evil.test', 'evil.test', false],
    ['evil.test', 'evil.test', true],
  ])('deny %s over %s: %s', (pattern, host, expected) => {
    expect(matchesDeny(pattern, host)).toBe(expected);
  });
});

describe('decisions', () => {
  const p = policy(
    [
      { host: 'a.test' },
      { host: 'b.test', ports: [8443], passThrough: true },
      { host: '*.w.test', allowPrivate: true },
      { host: 'api.test', methods: ['GET'], paths: ['/v1/**'] },
      { host: 'api.test', methods: ['POST'], paths: ['/v1/items'] },
      { host: 'ws.test', upgrade: true },
      { host: 'bad.w.test' },
    ],
    ['bad.w.test', '*.deep.w.test'],
  );
  test.each([
    ['a.test', 443, 'allow'],
    ['a.test', 80, 'allow'],
    ['a.test', 22, 'port_not_allowed'],
    ['b.test', 8443, 'allow'],
    ['b.test', 443, 'port_not_allowed'],
    ['x.w.test', 443, 'allow'],
    ['x.y.w.test', 443, 'not_allowed'],
    ['bad.w.test', 443, 'denied_by_policy'],
    ['x.deep.w.test', 443, 'denied_by_policy'],
    ['c.test', 443, 'not_allowed'],
  ])('connect %s:%d → %s', (host, port, expected) => {
    const { decision } = judgeConnect(p, host, port);
    expect(decision.allow ? 'allow' : decision.reason).toBe(expected);
  });
  test('what binds a connection comes from the rules that allow it', () => {
    expect(judgeConnect(p, 'b.test', 8443)).toMatchObject({ passThrough: true, wildcard: false, allowPrivate: false });
    expect(judgeConnect(p, 'x.w.test', 443)).toMatchObject({ passThrough: false, wildcard: true, allowPrivate: true });
    const mixed = policy([{ host: 'm.test', passThrough: true }, { host: 'm.test' }]);
    expect(judgeConnect(mixed, 'm.test', 443).passThrough).toBe(false);
  });
  test('a name is judged without a port', () => {
    expect(judgeName(p, 'b.test').decision.allow).toBe(true);
    expect(judgeName(p, 'bad.w.test').decision).toEqual({
      allow: false,
      rule: 'deny: bad.w.test',
      reason: 'denied_by_policy',
    });
  });
  test.each([
    ['api.test', 'GET', '/v1/x/y', 'allow'],
    ['api.test', 'GET', '/v2/x', 'path_not_allowed'],
    ['api.test', 'POST', '/v1/items', 'allow'],
    ['api.test', 'POST', '/v1/other', 'path_not_allowed'],
    ['api.test', 'DELETE', '/v1/items', 'method_not_allowed'],
    ['a.test', 'PATCH', '/', 'allow'],
    ['a.test', 'PROPFIND', '/', 'method_not_allowed'],
    ['a.test', 'get', '/', 'method_not_allowed'],
    ['c.test', 'GET', '/', 'not_allowed'],
  ])('request %s %s %s → %s', (host, method, path, expected) => {
    const { decision } = judgeRequest(p, { host, port: 443, method, path });
    expect(decision.allow ? 'allow' : decision.reason).toBe(expected);
  });
  test.each(['/dns-query', '/x/dns-query', '/dns-query/', '/DNS-Query'])(
    'no resolver behind an allowed host: %s',
    (path) => {
      const { decision } = judgeRequest(p, { host: 'a.test', port: 443, method: 'GET', path });
      expect(decision).toEqual({ allow: false, rule: 'built-in: dns over https', reason: 'not_allowed' });
      expect(judgeRequest(p, { host: 'a.test', port: 443, method: 'GET', path: `${path}x` }).decision.allow).toBe(true);
    },
  );
  test('an upgrade needs a rule that says so', () => {
    const ask = (host: string): unknown =>
      judgeRequest(p, { host, port: 443, method: 'GET', path: '/', upgrade: true }).decision;
    expect(ask('a.test')).toMatchObject({ reason: 'upgrade_not_allowed' });
    expect(ask('ws.test')).toMatchObject({ allow: true });
  });
});

describe('addresses', () => {
  test.each([
    ['93.184.216.34', 'ok'],
    ['2606:2800:220:1::1', 'ok'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['10.0.0.1', 'private'],
    ['172.16.0.1', 'private'],
    ['172.31.255.255', 'private'],
    ['192.168.1.1', 'private'],
    ['127.0.0.1', 'loopback'],
    ['169.254.1.1', 'linkLocal'],
    ['169.254.169.254', 'metadata'],
    ['100.64.0.1', 'carrierGradeNat'],
    ['192.0.0.1', 'reserved'],
    ['192.0.2.1', 'reserved'],
    ['198.18.0.1', 'reserved'],
    ['198.51.100.1', 'reserved'],
    ['203.0.113.1', 'reserved'],
    ['192.88.99.1', 'reserved'],
    ['224.0.0.1', 'multicast'],
    ['240.0.0.1', 'reserved'],
    ['255.255.255.255', 'broadcast'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::ffff:10.0.0.1', 'ipv4Mapped'],
    ['::ffff:93.184.216.34', 'ipv4Mapped'],
    ['::a00:1', 'ipv4Compatible'],
    ['fe80::1', 'linkLocal'],
    ['fec0::1', 'deprecatedSiteLocal'],
    ['fc00::1', 'uniqueLocal'],
    ['fd00:ec2::254', 'metadata'],
    ['64:ff9b::a00:1', 'rfc6052'],
    ['64:ff9b:1::1', 'rfc6052'],
    ['2002:a00:1::', '6to4'],
    ['2001:0:1::1', 'teredo'],
    ['2001:db8::1', 'documentation'],
    ['3fff::1', 'documentation'],
    ['ff02::1', 'multicast'],
    ['100::1', 'discard'],
    ['4000::1', 'reservedV6'],
    ['fe80::1%eth0', 'invalid'],
    ['not an address', 'invalid'],
  ])('%s is %s', (address, expected) => {
    const found = classifyAddress(address);
    expect(found.ok ? 'ok' : found.range).toBe(expected);
  });
  test('allowPrivate opens a company network, never metadata, link-local or addresses inside addresses', () => {
    for (const address of [
      '10.0.0.1',
      '192.168.0.1',
      '100.64.0.1',
      '127.0.0.1',
      'fd00::1',
      '203.0.113.80',
      '2001:db8::1',
    ])
      expect(judgeAddresses([address], true).allow, address).toBe(true);
    for (const address of [
      '169.254.169.254',
      '169.254.0.1',
      'fe80::1',
      '::ffff:10.0.0.1',
      '64:ff9b::a00:1',
      '2002:a00:1::',
      '0.0.0.0',
      '224.0.0.1',
      '240.0.0.1',
      '192.0.0.1',
      '100.100.100.200',
    ])
      expect(judgeAddresses([address], true).allow, address).toBe(false);
  });
  test('mixed answers are denied as a whole, none is a name that does not exist', () => {
    expect(judgeAddresses(['93.184.216.34', '10.0.0.1'], false)).toMatchObject({ reason: 'address_forbidden' });
    expect(judgeAddresses(['93.184.216.34', '169.254.169.254'], true)).toMatchObject({ reason: 'address_forbidden' });
    expect(judgeAddresses([], false)).toMatchObject({ reason: 'name_not_found' });
  });
});

describe('paths', () => {
  test.each([
    ['/', '/'],
    ['/a/b?c=d', '/a/b'],
    ['/%61%2D', '/a-'],
    ['/@scope%2fname', '/@scope%2Fname'],
    ['/a%20b', '/a%20b'],
    ['/a//b', '/a//b'],
    ['', undefined],
    ['a', undefined],
    ['*', undefined],
    ['http://x/', undefined],
    ['/a/../b', undefined],
    ['/a/./b', undefined],
    ['/a/%2e%2e/b', undefined],
    ['/a/%2e%2E%2fb', undefined],
    ['/a%2f..%2fb', undefined],
    ['/a\\b', undefined],
    ['/a%5cb', undefined],
    ['/a%00', undefined],
    ['/a%0d%0a', undefined],
    ['/a%252e', undefined],
    ['/a%25%32%65', undefined],
    ['/%2%35%32%65', undefined],
    ['/a%25', '/a%25'],
    ['/%C3%A9', '/%C3%A9'],
    ['/%c0%ae%c0%ae/b', undefined],
    ['/%ff', undefined],
    ['/a/..;/b', undefined],
    ['/a/..;x=1/b', undefined],
    ['/a/.;/b', undefined],
    ['/a/%2e%2e%3bx', undefined],
    ['/a;x=1/b', '/a;x=1/b'],
    ['/a/..x', '/a/..x'],
    ['/a%zz', undefined],
    ['/a#b', undefined],
    ['/a b', undefined],
    ['/é', undefined],
    [`/${'a'.repeat(8192)}`, undefined],
  ])('%j → %s', (target, expected) => {
    const found = canonicalPath(target);
    expect(found.ok ? found.path : undefined).toBe(expected);
  });
  test.each([
    ['/v1/**', '/v1/a/b', true],
    ['/v1/**', '/v1/', true],
    ['/v1/**', '/v1', false],
    ['/v1/**', '/v10/a', false],
    ['/*/b', '/a/b', true],
    ['/*/b', '//b', false],
    ['/*/b', '/a/c/b', false],
    ['/**/b', '/a/c/b', true],
    ['/a', '/a', true],
    ['/a', '/A', false],
    ['/@corp/**', '/@corp%2Fx', false],
    ['/@corp%2F*', '/@corp%2Fx', true],
    ['/public/*', '/public/a%2Fb', false],
    ['/public/*', '/public/a%20b', true],
    ['/public/*/c', '/public/a%2Fb/c', false],
    ['/public/**', '/public/a%2Fb', true],
    ['/a/b', '/a%2Fb', false],
    ['/a/*', '/a/**', true],
    ['/a*c', '/abc', true],
    ['/a*c', '/ac', false],
  ])('pattern %s over %s: %s', (pattern, path, expected) => {
    expect(matchesPath(pattern, path)).toBe(expected);
  });
  test('a pattern of many stars is no trap', () => {
    expect(matchesPath('/' + '**a'.repeat(20), '/' + 'a'.repeat(4000) + 'b')).toBe(false);
  });
});

describe('request heads', () => {
  const to = { host: 'a.test', port: 443, defaultPort: 443 };
  const check = (rawHeaders: string[], method = 'GET', version = '1.1'): string => {
    const found = checkHead({ method, version, rawHeaders }, to);
    return found.ok ? 'ok' : found.reason;
  };
  test.each([
    [['Host', 'a.test'], 'GET', 'ok'],
    [['Host', 'A.test.:443'], 'GET', 'ok'],
    [['Host', 'b.test'], 'GET', 'host_mismatch'],
    [['Host', 'a.test:80'], 'GET', 'host_mismatch'],
    [['Host', 'a.test', 'Host', 'a.test'], 'GET', 'host_mismatch'],
    [[], 'GET', 'host_mismatch'],
    [['Host', 'a.test', 'Content-Length', '5'], 'POST', 'ok'],
    [['Host', 'a.test', 'Content-Length', '5'], 'GET', 'malformed'],
    [['Host', 'a.test', 'Content-Length', '0'], 'GET', 'ok'],
    [['Host', 'a.test', 'Content-Length', '05'], 'POST', 'malformed'],
    [['Host', 'a.test', 'Content-Length', '5', 'Content-Length', '5'], 'POST', 'malformed'],
    [['Host', 'a.test', 'Transfer-Encoding', 'chunked'], 'POST', 'ok'],
    [['Host', 'a.test', 'Transfer-Encoding', 'Chunked'], 'POST', 'ok'],
    [['Host', 'a.test', 'Transfer-Encoding', 'identity, chunked'], 'POST', 'malformed'],
    [['Host', 'a.test', 'Transfer-Encoding', 'chunked', 'Content-Length', '5'], 'POST', 'malformed'],
    [['Host', 'a.test', 'X\u000b', 'y'], 'GET', 'malformed'],
    [['Host', 'a.test', 'X', 'a\rb'], 'GET', 'malformed'],
  ] as [string[], string, string][])('%j %s → %s', (headers, method, expected) => {
    expect(check(headers, method)).toBe(expected);
  });
  test('versions other than 1.0 and 1.1, and too many headers', () => {
    expect(check(['Host', 'a.test'], 'GET', '2.0')).toBe('malformed');
    expect(check(['Host', 'a.test', 'Transfer-Encoding', 'chunked'], 'POST', '1.0')).toBe('malformed');
    expect(check(['Host', 'a.test', ...Array.from({ length: 200 }, (_u, index) => `x${index}`)], 'GET')).toBe(
      'too_large',
    );
  });
  test('what is sent on: Host first, no credentials, no forwarding, nothing that Connection lists', () => {
    const raw = [
      'Accept',
      '*/*',
      'Authorization',
      'x',
      'Cookie',
      'x',
      'X-Forwarded-For',
      'x',
      'X-HTTP-Method-Override',
      'PUT',
      'X-Hop',
      'x',
      'Connection',
      'close, X-Hop',
      'X-Kept',
      'y',
      'Content-Type',
      'a/b',
    ];
    expect(outgoingHeaders({ rawHeaders: raw, authority: 'a.test', readOnly: false })).toEqual([
      'Host',
      'a.test',
      'Accept',
      '*/*',
      'X-Kept',
      'y',
      'Content-Type',
      'a/b',
    ]);
    expect(outgoingHeaders({ rawHeaders: raw, authority: 'a.test', readOnly: true })).toEqual([
      'Host',
      'a.test',
      'Accept',
      '*/*',
    ]);
    expect(outgoingHeaders({ rawHeaders: ['Accept', 'x'.repeat(300)], authority: 'a.test', readOnly: true })).toEqual([
      'Host',
      'a.test',
    ]);
  });
  test('with a credential the answer has to come whole and as it is', () => {
    const shaping = [
      'Range',
      'bytes=0-3',
      'If-Range',
      '"a"',
      'Accept-Encoding',
      'br',
      'A-IM',
      'x',
      'Accept-Charset',
      'x',
    ];
    const rawHeaders = ['Authorization', 'theirs', ...shaping, 'Accept', '*/*'];
    const asked = { rawHeaders, authority: 'a.test', readOnly: true };
    expect(outgoingHeaders({ ...asked, whole: true, credential: { name: 'Authorization', value: 'ours' } })).toEqual([
      ...['Host', 'a.test', 'Accept', '*/*', 'Authorization', 'ours', 'Accept-Encoding', 'identity'],
    ]);
    expect(outgoingHeaders(asked)).toEqual(expect.arrayContaining(['Range', 'If-Range', 'Accept-Encoding', 'br']));
  });
  test('DNS over HTTPS is seen by type and by path', () => {
    expect(isDnsOverHttps(['Accept', 'application/dns-message'])).toBe(true);
    expect(isDnsOverHttps(['Accept', 'text/html'])).toBe(false);
  });
});

describe('lint', () => {
  const problems = (rule: EgressRule): number => lintPolicy(policy([rule])).length;
  test.each([
    [{ host: '*.co.uk' }],
    [{ host: '*.github.io' }],
    [{ host: '*.s3.amazonaws.com' }],
    [{ host: '*.blob.core.windows.net' }],
    [{ host: '*.com' }],
    [{ host: '*.internal-only' }],
    [{ host: '*' }],
    [{ host: '*.*.example.com' }],
    [{ host: 'a.*.example.com' }],
    [{ host: '10.0.0.1' }],
    [{ host: 'EXAMPLE.com' }],
    [{ host: 'bücher.example' }],
    [{ host: 'llm.cofferdam.internal' }],
    [{ host: '*.cofferdam.internal' }],
    [{ host: 'api.openai.com' }],
    [{ host: '*.anthropic.com' }],
    [{ host: 'a.example.com', passThrough: true, methods: ['GET'] }],
    [{ host: '*.example.com', credential: { header: 'Authorization', valueEnv: 'X' } }],
    [{ host: 'a.example.com', upgrade: true, credential: { header: 'Authorization', valueEnv: 'X' } }],
    [{ host: 'a.example.com', paths: ['/a/../b'] }],
    [{ host: 'a.example.com', methods: ['CONNECT'] }],
    [{ host: 'a.example.com', methods: ['TRACE'] }],
    [{ host: 'a.example.com', methods: ['GTE'] }],
  ] as [EgressRule][])('%j is refused', (rule) => {
    expect(problems(rule)).toBe(1);
  });
  test.each([
    [{ host: 'docs.example.com' }],
    [{ host: '*.docs.example.com' }],
    [{ host: '*.github.io', unsafe: true }],
    [{ host: 'storage.googleapis.com' }],
    [{ host: 'a.example.com', passThrough: true }],
    [{ host: 'a.example.com', methods: ['PROPFIND', 'GET'] }],
    [{ host: 'a.example.com', upgrade: true }],
    [{ host: 'a.example.com', credential: { header: 'Authorization', valueEnv: 'X' } }],
    [{ host: 'a.example.com', paths: ['/@corp%2F*', '/v1/**'] }],
  ] as [EgressRule][])('%j is accepted', (rule) => {
    expect(problems(rule)).toBe(0);
  });
  test('deny lines are checked, too', () => {
    expect(lintPolicy(policy([], ['*.ok.test', 'no_good.test']))).toHaveLength(1);
  });
});
