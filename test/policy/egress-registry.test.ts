import { describe, expect, test } from 'vitest';
import { deny } from '../../src/domain/decision.ts';
import type { EgressPolicy, RegistryName } from '../../src/domain/policy.ts';
import { judgeConnect, judgeRequest } from '../../src/policy/egress/decide.ts';
import { outgoingHeaders } from '../../src/policy/egress/http-head.ts';
import { lintPolicy } from '../../src/policy/egress/lint.ts';
import { canonicalPath } from '../../src/policy/egress/path.ts';
import { registryRules, type RegistryPlace } from '../../src/policy/egress/registry.ts';
import { classOf, wouldAllow } from '../../src/policy/egress/report.ts';
import { untrustedHint } from '../../src/policy/egress/untrusted.ts';
import { CA_FILE, SOCKET_MOUNT } from '../../src/sandbox/layout.ts';

function place(address: string, part: RegistryPlace['part'] = 'index'): RegistryPlace {
  return { part, address };
}

/** The reason for a request to a preset's registry, or `allowed`. */
function ask(preset: RegistryName, places: RegistryPlace[], method: string, target: string): string {
  const found = registryRules(preset, places, { allowPrivate: false });
  if (!found.ok) return found.problem;
  const [rule] = found.rules;
  const path = canonicalPath(target);
  if (!rule || !path.ok) return 'malformed';
  const policy = { rules: found.rules, deny: [], gitRepositories: [] };
  const port = rule.ports?.[0] ?? 0;
  const { decision } = judgeRequest(policy, { host: rule.host, port, method, path: path.path });
  return decision.allow ? 'allowed' : decision.reason;
}

const BASE: Record<RegistryName, RegistryPlace[]> = {
  npm: [place('https://r.test/base/')],
  pip: [place('https://r.test/simple'), place('https://r.test/packages', 'files')],
  cargo: [place('https://r.test'), place('https://r.test/crates', 'files')],
  go: [place('https://r.test')],
  maven: [place('https://r.test/maven2/')],
  apt: [place('http://r.test/debian/')],
};

const ASKED: [RegistryName, string, string][] = [
  ['npm', '/base/ms', 'allowed'],
  ['npm', '/base/@types%2fms', 'allowed'],
  ['npm', '/base/@types%2Fms/latest', 'allowed'],
  ['npm', '/base/@types%2Fms/-/ms-2.1.0.tgz', 'allowed'],
  ['npm', '/base/a%2Fb', 'path_not_allowed'],
  ['npm', '/base/@types/ms', 'allowed'],
  ['npm', '/base/ms/latest', 'allowed'],
  ['npm', '/base/ms/-/ms-2.1.3.tgz', 'allowed'],
  ['npm', '/base/@types/ms/-/ms-2.1.0.tgz', 'allowed'],
  ['npm', '/base/-/v1/search', 'path_not_allowed'],
  ['npm', '/base/-/npm/v1/security/advisories/bulk', 'path_not_allowed'],
  ['npm', '/ms', 'path_not_allowed'],
  ['npm', '/base/a/b/c/d/e/f', 'path_not_allowed'],
  ['npm', `/base/${'x'.repeat(600)}`, 'path_not_allowed'],
  ['pip', '/simple/idna/', 'allowed'],
  ['pip', '/packages/ab/cd/0123/idna-3.7-py3-none-any.whl.metadata', 'allowed'],
  ['pip', '/legacy/', 'path_not_allowed'],
  ['pip', '/pypi', 'path_not_allowed'],
  ['cargo', '/config.json', 'allowed'],
  ['cargo', '/1/a', 'allowed'],
  ['cargo', '/3/s/syn', 'allowed'],
  ['cargo', '/it/oa/itoa', 'allowed'],
  ['cargo', '/crates/itoa/1.0.11/download', 'allowed'],
  ['cargo', '/api/v1/crates/itoa/owners', 'path_not_allowed'],
  ['go', '/rsc.io/quote/@v/list', 'allowed'],
  ['go', '/github.com/!azure/sdk/@v/v1.0.0+incompatible.zip', 'allowed'],
  ['go', '/rsc.io/quote/@latest', 'allowed'],
  ['go', '/sumdb/sum.test/lookup/rsc.io/quote@v1.5.2', 'allowed'],
  ['go', '/rsc.io/quote', 'path_not_allowed'],
  ['maven', '/maven2/org/slf4j/slf4j-api/2.0.13/slf4j-api-2.0.13.jar.sha1', 'allowed'],
  ['maven', '/maven2/org/slf4j/slf4j-api/maven-metadata.xml', 'allowed'],
  ['maven', '/service/rest', 'path_not_allowed'],
  ['apt', '/debian/dists/bookworm/InRelease', 'allowed'],
  ['apt', '/debian/pool/main/j/jq/jq_1.6-2.1+deb12u1_amd64.deb', 'allowed'],
  ['apt', '/debian/', 'path_not_allowed'],
  ['apt', '/other/pool/x', 'path_not_allowed'],
];

describe('the registry presets', () => {
  test.each(ASKED)('%s GET %s: %s', (preset, path, expected) => {
    expect(ask(preset, BASE[preset], 'GET', path)).toBe(expected);
    expect(ask(preset, BASE[preset], 'HEAD', path)).toBe(expected);
    // NET-021: whatever the path, nothing is written.
    for (const method of ['PUT', 'POST', 'DELETE', 'PATCH', 'PROPFIND'])
      expect(ask(preset, BASE[preset], method, path)).toBe('method_not_allowed');
  });

  test.each([
    ['https://r.test/dl/{crate}/{crate}-{version}.crate', '/dl/itoa/itoa-1.0.11.crate', '/dl/itoa/1.0.11/download'],
    ['https://r.test/{prefix}/{crate}/{version}', '/it/oa/itoa/1.0.11', '/itoa'],
    ['https://r.test/{lowerprefix}/{crate}/{version}', '/3/s/syn/2.0.0', '/syn'],
  ])('cargo’s template %s', (address, good, bad) => {
    const places = [place(address, 'files')];
    expect(ask('cargo', places, 'GET', good)).toBe('allowed');
    expect(ask('cargo', places, 'GET', bad)).toBe('path_not_allowed');
  });

  test.each([
    ['npm', 'http://r.test/'],
    ['npm', 'ftp://r.test/'],
    ['npm', 'https://user:pw@r.test/'],
    ['npm', 'https://r.test/**/x'],
    ['npm', 'not an address'],
    ['pip', 'http://r.test/simple'],
  ] as const)('%s refuses %s', (preset, address) => {
    expect(registryRules(preset, [place(address)], { allowPrivate: false })).toMatchObject({ ok: false });
  });

  test('places on one host and port are one rule, others are their own, and all pass the lint', () => {
    const places = [place('https://r.test/a'), place('https://r.test:443/b'), place('https://r.test:8443/c')];
    const found = registryRules('maven', places, { allowPrivate: true });
    if (!found.ok) throw new Error(found.problem);
    expect(found.rules.map(({ host, ports, allowPrivate }) => [host, ports, allowPrivate])).toEqual([
      ['r.test', [443], true],
      ['r.test', [8443], true],
    ]);
    expect(lintPolicy({ rules: found.rules, deny: [], gitRepositories: [] })).toEqual([]);
  });
});

describe('NET-022 what a registry is told besides the path', () => {
  const sent = (rawHeaders: string[]): string[] =>
    outgoingHeaders({ rawHeaders, authority: 'r.test', readOnly: true, registry: 'npm' });
  const base = ['Host', 'r.test'];
  const agent = ['User-Agent', 'cofferdam/npm'];

  test('the client’s usual headers arrive', () => {
    const usual = [
      ...['Accept', 'application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*'],
      ...['Accept-Encoding', 'gzip, deflate'],
      ...['If-None-Match', 'W/"abc"'],
      ...['Range', 'bytes=0-1023'],
      ...['If-Modified-Since', 'Wed, 25 Nov 2026 08:50:50 GMT'],
    ];
    expect(sent(usual)).toEqual([...base, ...usual, ...agent]);
  });

  test.each([
    ['User-Agent', 'SECRET'],
    ['Referer', 'https://a.test/SECRET'],
    ['Cookie', 'a=SECRET'],
    ['Authorization', 'Bearer SECRET'],
    ['npm-session', 'SECRET'],
    ['npm-command', 'SECRET'],
    ['X-Secret', 'SECRET'],
    ['Accept', 'application/SECRET'],
    ['Accept', '*/*; x=SECRET'],
    ['Accept', '*/*; q=0.SECRET'],
    ['Accept-Encoding', 'SECRET'],
    ['Accept-Language', 'SECRET'],
    ['Cache-Control', 'max-age=0, x=SECRET'],
    ['Range', 'bytes=0-1, SECRET'],
    ['If-Modified-Since', 'SECRET'],
    ['If-None-Match', 'SECRET'],
    ['If-None-Match', `"${'SECRET'.repeat(20)}"`],
    ['If-Range', 'SECRET'],
  ])('%s: %s does not', (name, value) => {
    expect(sent([name, value]).join('\n')).not.toContain('SECRET');
  });

  test('a header that comes twice is sent once', () => {
    expect(sent(['Range', 'bytes=0-1', 'Range', 'bytes=2-3'])).toEqual([...base, 'Range', 'bytes=0-1', ...agent]);
  });
});

describe('what a person is told about a denial', () => {
  test.each([
    [{ host: 'telemetry.vendor.test', port: 443 }, 'not_allowed', 'telemetry'],
    [{ host: 'o1.ingest.sentry.test', port: 443 }, 'not_allowed', 'telemetry'],
    [{ host: 'eu.posthog.test', port: 0 }, 'not_allowed', 'telemetry'],
    [{ host: 'docs.vendor.test', port: 443 }, 'not_allowed', 'needed'],
    [{ host: 'statistics-book.test', port: 443 }, 'not_allowed', 'needed'],
    [{ host: 'docs.vendor.test', port: 443, method: 'GET', path: '/x' }, 'method_not_allowed', 'needed'],
    [{ host: 'docs.vendor.test', port: 443, method: 'PUT', path: '/x' }, 'method_not_allowed', 'suspicious'],
    [{ host: '169.254.169.254', port: 80 }, 'ip_literal', 'suspicious'],
    [{ host: 'metadata.google.internal', port: 0 }, 'not_allowed', 'suspicious'],
    [{ host: 'docs.vendor.test', port: 443 }, 'sni_mismatch', 'suspicious'],
    [{ host: 'docs.vendor.test', port: 0 }, 'record_type', 'telemetry'],
    [{ host: '1.0.18.198.in-addr.arpa', port: 0 }, 'not_allowed', 'telemetry'],
    [{ host: 'in-addr.arpa.vendor.test', port: 0 }, 'not_allowed', 'needed'],
  ] as const)('%j %s is %s', (asked, reason, expected) => {
    expect(classOf(asked, reason)).toBe(expected);
  });

  test.each([
    [{ host: 'a.test', port: 0 }, 'not_allowed', '- { host: a.test }'],
    [{ host: 'a.test', port: 443 }, 'not_allowed', '- { host: a.test }'],
    [{ host: 'a.test', port: 8443 }, 'not_allowed', '- { host: a.test, ports: [8443] }'],
    [{ host: 'a.test', port: 22 }, 'port_not_allowed', '- { host: a.test, ports: [22] }'],
    [
      { host: 'a.test', port: 443, method: 'PUT', path: '/x' },
      'method_not_allowed',
      '- { host: a.test, methods: [PUT], paths: ["/x"] }',
    ],
    [{ host: '1.2.3.4', port: 443 }, 'ip_literal', undefined],
    [{ host: '1.0.18.198.in-addr.arpa', port: 0 }, 'not_allowed', undefined],
    [{ host: 'a.test', port: 0 }, 'record_type', undefined],
    [{ host: 'x.cofferdam.internal', port: 80 }, 'not_allowed', undefined],
    [{ host: 'api.anthropic.com', port: 443 }, 'not_allowed', undefined],
  ] as const)('%j %s would be allowed by %s', (asked, reason, expected) => {
    expect(wouldAllow(asked, deny('default', reason))).toBe(expected);
  });

  test('a client that does not take the run’s certificate: the file it has to read; passing through where it can be', () => {
    const found = registryRules('npm', BASE.npm, { allowPrivate: false });
    const hint = (host: string, rules: EgressPolicy['rules']): string =>
      untrustedHint({ rules, deny: [], gitRepositories: [] }, { host, port: 443 });
    const preset = found.ok ? found.rules : [];
    const plain = { host: 'pinned.test', source: 'p' };
    const hints = [
      hint('r.test', preset),
      hint('r.test', [...preset, { host: '*.test', source: 'p' }]),
      hint('api.github.com', [{ host: 'api.github.com', source: 'p' }]),
      hint('pinned.test', [plain]),
      hint('pinned.test', [plain, ...preset]),
    ];
    expect(hints.every((text) => text.includes(`${SOCKET_MOUNT}/${CA_FILE}`) && text.includes('SSL_CERT_FILE'))).toBe(
      true,
    );
    expect(hints.map((text) => text.includes('passThrough: true to the rule of pinned.test'))).toEqual([
      false,
      false,
      false,
      true,
      true,
    ]);
    expect(hints.map((text) => text.includes('cannot be passed through'))).toEqual([true, true, true, false, false]);
    // What the hint says can be loaded, and works.
    const followed = { rules: [{ ...plain, passThrough: true }], deny: [], gitRepositories: [] };
    expect(lintPolicy(followed)).toEqual([]);
    expect(judgeConnect(followed, 'pinned.test', 443).passThrough).toBe(true);
  });
});
