import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { policyExplainCommand, policyTestCommand } from '../../src/cli/policy.ts';
import { readEnvironment } from '../../src/config/environment.ts';

// Policies without presets: nothing has to be asked, so nothing of a machine is needed.
const POLICY = `egress:
  allow:
    - { host: docs.test }
    - { host: api.test, methods: [GET], paths: ['/v1/**'], ports: [443, 8443] }
    - { host: opaque.test, passThrough: true }
    - { host: secret.test, credential: { header: Authorization, valueEnv: TOKEN } }
  mayAdd: [{ host: '*.more.test' }]
  deny: ['*.tracker.test']
`;

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cofpol-'));
  await writeFile(join(dir, 'policy.yml'), POLICY);
  await writeFile(join(dir, 'repo.yml'), 'egress: { allow: [{ host: x.more.test }] }\n');
  await writeFile(join(dir, 'greedy.yml'), 'egress: { allow: [{ host: other.test }] }\n');
  await writeFile(join(dir, 'hole.yml'), "egress: { allow: [{ host: '*.co.uk' }] }\n");
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function common(file = 'policy.yml', repositoryFile?: string) {
  const out: string[] = [];
  const options = {
    policy: join(dir, file),
    ...(repositoryFile === undefined ? {} : { repositoryFile: join(dir, repositoryFile) }),
    environment: readEnvironment({ COFFERDAM_DATA_DIR: dir }),
    signal: new AbortController().signal,
    stdout: { write: (text: string) => out.push(text) },
  };
  return { options, out };
}

describe('policy test', () => {
  test.each([
    [['docs.test'], 0, 'allow: policy line 3: docs.test'],
    [['DOCS.test.'], 0, 'allow: policy line 3: docs.test'],
    [['docs.test:22'], 1, 'deny: port_not_allowed (policy line 3: docs.test)\n  - { host: docs.test, ports: [22] }'],
    [['api.test:8443', 'GET', '/v1/x'], 0, 'allow: policy line 4: api.test'],
    [['api.test', 'POST', '/v1/x'], 1, 'deny: method_not_allowed'],
    [['api.test', 'GET', '/v2'], 1, '- { host: api.test, methods: [GET], paths: ["/v2"] }'],
    [['api.test', 'GET', '/v1/../v2'], 1, 'deny: malformed'],
    [['opaque.test', 'DELETE', '/'], 0, 'methods and paths are not seen'],
    [['evil.test'], 1, 'deny: not_allowed (default)\n  - { host: evil.test }'],
    [['a.tracker.test'], 1, 'deny: denied_by_policy (deny: *.tracker.test)'],
    [['169.254.169.254'], 1, 'deny: ip_literal'],
    [['2130706433:80'], 1, 'deny: ip_literal'],
    [['a@b'], 1, 'deny: malformed'],
    [['x.more.test'], 1, 'deny: not_allowed'],
  ])('%j: %d, %s', async ([target = '', method, path], code, text) => {
    const { options, out } = common();
    expect(await policyTestCommand({ ...options, target, method, path })).toBe(code);
    expect(out.join('')).toContain(text);
  });

  test('a repository’s file adds what the policy lets it add, and says so', async () => {
    const { options, out } = common('policy.yml', 'repo.yml');
    expect(await policyTestCommand({ ...options, json: true, target: 'x.more.test' })).toBe(0);
    expect(JSON.parse(out.join(''))).toEqual({ allow: true, rule: 'repository file: x.more.test' });
  });

  test.each([
    [undefined, '/repos/octo/hello/contents/x', 1],
    ['octo/hello', '/repos/octo/hello/contents/x', 0],
    ['Octo/Hello', '/repos/octo/HELLO/contents/x', 0],
    ['octo/hello', '/repos/octo/other/contents/x', 1],
  ])('a rule for the run’s own repository, asked for %s about %s: %d', async (repository, path, code) => {
    await writeFile(join(dir, 'own.yml'), 'egress: { allow: [{ host: api.github.com }] }\n');
    const { options } = common('own.yml');
    const asked = { ...options, target: 'api.github.com', method: 'GET', path };
    expect(await policyTestCommand({ ...asked, ...(repository === undefined ? {} : { repository }) })).toBe(code);
  });

  test('refuses what names no repository', async () => {
    const { options } = common();
    const asked = policyTestCommand({ ...options, target: 'docs.test', repository: 'https://github.com/octo/hello' });
    await expect(asked).rejects.toMatchObject({ code: 'usage' });
  });

  test.each(['hello.yml', 'enterprise.yml'])('knows the installation’s own GitHub: %s', async (name) => {
    await writeFile(join(dir, 'hello.yml'), 'egress: { allow: [{ host: docs.corp.test }] }\n');
    await writeFile(join(dir, 'enterprise.yml'), 'egress: { allow: [{ host: ghe.corp.test }] }\n');
    const environment = readEnvironment({ COFFERDAM_DATA_DIR: dir, GHE_HOST: 'ghe.corp.test:8443' });
    const asked = policyTestCommand({ ...common(name).options, environment, target: 'docs.corp.test' });
    if (name === 'hello.yml') expect(await asked).toBe(0);
    else await expect(asked).rejects.toMatchObject({ code: 'policy' });
  });

  test.each([
    ['policy.yml', 'greedy.yml', 'repository_file', 'egress.mayAdd'],
    ['hole.yml', undefined, 'policy', 'co.uk'],
    ['absent.yml', undefined, 'policy', 'cannot read'],
    ['policy.yml', 'absent.yml', 'usage', 'cannot read'],
  ])('%s with %s is an error, not an answer', async (file, repository, code, message) => {
    const { options, out } = common(file, repository);
    await expect(policyTestCommand({ ...options, target: 'docs.test' })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    });
    expect(out).toEqual([]);
  });
});

describe('policy explain', () => {
  test('names every rule with its place, what is never allowed, and what may be added', async () => {
    const { options, out } = common('policy.yml', 'repo.yml');
    expect(await policyExplainCommand(options)).toBe(0);
    const text = out.join('');
    for (const line of [
      'docs.test:80,443  (policy line 3)',
      'api.test:443,8443  (policy line 4)',
      'GET /v1/**',
      'TLS is passed through',
      'credential from TOKEN',
      'x.more.test:80,443  (repository file)',
      'never *.tracker.test',
      'a repository may add *.more.test',
    ])
      expect(text).toContain(line);
  });

  test('gives the same as data', async () => {
    const { options, out } = common();
    await policyExplainCommand({ ...options, json: true });
    const found = JSON.parse(out.join('')) as { rules: { host: string; source: string }[]; deny: string[] };
    expect(found.rules.map(({ host, source }) => [host, source])).toEqual([
      ['docs.test', 'policy line 3'],
      ['api.test', 'policy line 4'],
      ['opaque.test', 'policy line 5'],
      ['secret.test', 'policy line 6'],
    ]);
    expect(found.deny).toEqual(['*.tracker.test']);
  });
});
