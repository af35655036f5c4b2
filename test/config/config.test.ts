import { describe, expect, it } from 'vitest';
import { parseCommands } from '../../src/command/parse.ts';
import { readEnvironment, readSecret } from '../../src/config/environment.ts';
import { parsePolicy, parseRepositoryFile } from '../../src/config/policy-file.ts';
import {
  parseDuration,
  settleEgress,
  settleHold,
  settleLimits,
  settleProtected,
  settlePull,
} from '../../src/config/settle.ts';

function problem(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as Error).message;
  }
  return 'no error';
}

describe('the operator policy', () => {
  it('takes the whole example of the documentation', () => {
    const { policy } = parsePolicy(
      `limits: { maxCostUsd: 5, timeoutMinutes: 30, maxTurns: 100, repositoryDailyCostUsd: 20, installationDailyCostUsd: 50, concurrentRuns: 4 }
sandbox: { runtime: cofferdam, memory: 4GiB, cpus: 2, processes: 512, disk: 10GiB, diskMode: watched }
egress:
  allow: [npm, github, { host: docs.example.com }, { host: api.example.com, methods: [GET, POST], paths: ["/v1/**"] }, { host: mirror.corp.example, allowPrivate: true },
          { host: npm.corp.example, paths: ["/@corp/**"], credential: { header: Authorization, valueEnv: NPM_AUTH } }]
  mayAdd: [pip, { host: "*.docs.example.com", methods: [GET] }]
llm:
  default: anthropic/claude-sonnet-4-5
  providers:
    anthropic: { apiKeyEnv: ANTHROPIC_API_KEY }
    corp: { wire: openai-chat, baseUrl: "http://llm.corp.example/v1", apiKeyFile: /run/secrets/llm }
  models: ["claude-*"]
  prices: { "my-model": { inputPerMTok: 1.5, outputPerMTok: 6 } }
`,
      'policy.yml',
    );
    expect(policy.sandbox.memory).toBe(4 * 2 ** 30);
    expect(policy.egress.allow).toHaveLength(6);
  });

  it.each([
    ['egress: { allow: [] }\nlimts: {}\n', 'policy.yml:2:1: unknown key "limts"'],
    [
      'egress:\n  allow:\n    - host: a.test\n      path: ["/x"]\n',
      'policy.yml:4:7: unknown key "egress.allow.0.path"',
    ],
    ['limits: { maxCostUsd: 5 }\n', 'policy.yml:1:1: "egress" is missing'],
    ['egress: {}\n', '"egress.allow" is missing'],
    [
      'egress: { allow: [] }\nsandbox: { memory: 4GB }\n',
      'policy.yml:2:20: "sandbox.memory": expected a size such as 512MiB or 4GiB',
    ],
    [
      `egress: { allow: [] }\nagents: { allowConfiguration: ['sha256:${'a'.repeat(64)}', 'sha256:abc'] }\n`,
      'policy.yml:2:107: "agents.allowConfiguration.1": expected sha256: and 64 hexadecimal digits',
    ],
    ['egress: { allow: [npn] }\n', 'policy.yml:1:19: "egress.allow.0": "npn" is not known; did you mean "npm"?'],
    ['egress: { allow: [docs.example.com] }\n', 'write { host: docs.example.com }'],
    ['egress: { allow: [] }\nsandbox: { diskMode: wached }\n', 'did you mean "watched"?'],
    ['egress: { allow: [] }\nsandbox: { diskMode: other }\n', 'expected one of "watched"|"tmpfs"'],
    ['egress: { allow: [] }\nlimits: { maxCostUsd: -1 }\n', 'policy.yml:2:23: "limits.maxCostUsd"'],
    [
      'egress: { allow: [] }\nllm: { prices: { m: { inputPerMTok: free, outputPerMTok: 6 } } }\n',
      'policy.yml:2:37: "llm.prices.m.inputPerMTok"',
    ],
    [
      'egress: { allow: [] }\nllm: { prices: { m: { inputPerMTok: -1, outputPerMTok: 6 } } }\n',
      'policy.yml:2:37: "llm.prices.m.inputPerMTok"',
    ],
    [
      'egress: { allow: [] }\nllm: { prices: { m: { inputPerMTok: 1, outputPerMTok: .inf } } }\n',
      'policy.yml:2:55: "llm.prices.m.outputPerMTok"',
    ],
    [
      'egress: { allow: [] }\nllm: { prices: { m: { inputPerMTok: 1e9, outputPerMTok: 6 } } }\n',
      'policy.yml:2:37: "llm.prices.m.inputPerMTok"',
    ],
    ['egress: { allow: [] }\nllm: { prices: { m: { inputPerMTok: 1 } } }\n', '"llm.prices.m.outputPerMTok" is missing'],
    [
      'egress: { allow: [] }\nllm: { prices: { m: { inputPerMtok: 1, outputPerMTok: 6 } } }\n',
      'unknown key "llm.prices.m.inputPerMtok"',
    ],
    ['egress: { allow: [] }\negress: { allow: [] }\n', 'policy.yml:2:1'],
    ['egress: [\n', 'policy.yml:2'],
    ['"just a string"\n', 'policy.yml:1:1'],
    ['a: &a [x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b]\n', 'policy.yml:1'],
  ])('refuses %j with line and column', (text, expected) => {
    expect(problem(() => parsePolicy(text, 'policy.yml'))).toContain(expected);
  });

  it.each([
    [
      "egress:\n  allow:\n    - npm\n    - { host: '*.co.uk' }\n",
      'policy.yml:4:7: egress.allow, *.co.uk: everybody can',
    ],
    [
      'egress:\n  allow: []\n  mayAdd:\n    - { host: 10.0.0.1 }\n',
      'policy.yml:4:7: egress.mayAdd, 10.0.0.1: IP addresses',
    ],
    ['egress:\n  allow: []\n  deny: [no_good.test]\n', 'policy.yml:3:10: egress.deny, no_good.test: not a host name'],
    [
      'egress:\n  allow: []\n  revocation:\n    crlFile: /etc/lists.pem\n    hosts: [corp.test, 10.0.0.1]\n',
      'policy.yml:5:24: egress.revocation.hosts, 10.0.0.1: IP addresses',
    ],
    ['egress: { allow: [{ host: ghe.test }] }\n', 'policy.yml:1:19: egress.allow, ghe.test: GitHub can be read only'],
  ])('refuses a rule that would be a hole, before anything starts: %j', (text, expected) => {
    expect(problem(() => parsePolicy(text, 'policy.yml', 'ghe.test'))).toContain(expected);
  });

  it('an empty allow list is valid and means no way out', () => {
    expect(parsePolicy('egress: { allow: [] }', 'p').policy.egress.allow).toEqual([]);
  });
});

describe('more for the next run, as people write it', () => {
  const { policy } = parsePolicy('egress: { allow: [] }\nlimits: { maxCostUsd: 2, timeoutMinutes: 30 }\n', 'p');
  const settle = (said: string) => {
    const [command] = parseCommands(`/agent continue ${said}`, { prefix: '/agent' }).commands;
    const { 'max-cost': maxCost, timeout } = command?.flags ?? {};
    return settleLimits(policy, parseRepositoryFile(null), { maxCost, timeout });
  };

  it('is what the run may use, up to the ceilings', () => {
    expect(settle('+$1.50 +10m')).toMatchObject({ maxCost: 1_500_000, timeoutMs: 600_000 });
    expect(settle('+$2 +30m')).toMatchObject({ maxCost: 2_000_000, timeoutMs: 1_800_000 });
    expect(problem(() => settle('+$2.01'))).toContain('$2.01 is above the ceiling here, which is $2');
    expect(problem(() => settle('+31m'))).toContain('31m is above the ceiling here, which is 30m');
  });
});

describe('the repository file', () => {
  it('is empty when it is missing, and takes single commands as lists', () => {
    expect(parseRepositoryFile(null).verify).toEqual([]);
    expect(parseRepositoryFile('setup: npm ci\nverify: [npm test]\n')).toMatchObject({
      setup: ['npm ci'],
      verify: ['npm test'],
    });
  });

  it('may lower limits, never raise them', () => {
    const { policy } = parsePolicy('egress: { allow: [] }\nlimits: { maxCostUsd: 2 }', 'p');
    expect(settleLimits(policy, parseRepositoryFile('limits: { maxCostUsd: 1 }'), {}).maxCost).toBe(1_000_000);
    expect(settleLimits(policy, parseRepositoryFile(null), { maxCost: '$0.50', timeout: '90s' })).toMatchObject({
      maxCost: 500_000,
      timeoutMs: 90_000,
    });
    expect(problem(() => settleLimits(policy, parseRepositoryFile('limits: { maxCostUsd: 3 }'), {}))).toContain(
      "above the operator's ceiling of 2",
    );
    expect(problem(() => settleLimits(policy, parseRepositoryFile(null), { maxCost: '9' }))).toContain(
      '--max-cost: $9 is above the ceiling here, which is $2',
    );
    expect(problem(() => settleLimits(policy, parseRepositoryFile(null), { timeout: '45m' }))).toContain(
      '--timeout: 45m is above the ceiling here, which is 30m',
    );
    expect(problem(() => settleLimits(policy, parseRepositoryFile(null), { maxCost: '1e9' }))).toContain(
      'not an amount',
    );
  });

  it('gives each step and a silent agent a time, which a repository may only shorten', () => {
    const { policy } = parsePolicy(
      'egress: { allow: [] }\nlimits: { stepMinutes: 10, idleMinutes: 5 }\n',
      'policy.yml',
    );
    const settled = (file: string) => settleLimits(policy, parseRepositoryFile(file), {});
    expect(settled('{}')).toMatchObject({ stepMs: 600_000, idleMs: 300_000 });
    expect(settled('limits: { stepMinutes: 0.5, idleMinutes: 1 }')).toMatchObject({ stepMs: 30_000, idleMs: 60_000 });
    expect(problem(() => settled('limits: { idleMinutes: 6 }'))).toContain(
      "limits.idleMinutes: 6 is above the operator's ceiling of 5",
    );
  });

  it.each([
    ['{ host: a.docs.example.com, methods: [GET] }', true],
    ['{ host: a.docs.example.com }', false],
    ['{ host: docs.example.com, methods: [GET] }', false],
    ['{ host: evildocs.example.com, methods: [GET] }', false],
    ['{ host: a.docs.example.com, methods: [GET, POST] }', false],
    ['{ host: a.docs.example.com, methods: [GET], allowPrivate: true }', false],
    ['{ host: a.docs.example.com, methods: [GET], ports: [443] }', true],
    ['{ host: a.docs.example.com, methods: [GET], ports: [22] }', false],
    ['{ host: a.docs.example.com }', false],
    ['{ host: a.b.docs.example.com, methods: [GET] }', false],
    ['{ host: "*.a.docs.example.com", methods: [GET] }', false],
    ['{ host: "*.docs.example.com", methods: [GET] }', true],
    ['{ host: narrow.test }', false],
    ['{ host: narrow.test, paths: [/v1/**] }', true],
    ['{ host: narrow.test, paths: [/v1/**, /v2/**] }', false],
    ['{ host: narrow.test, paths: ["/**"] }', false],
    ['pip', true],
    ['npm', false],
  ])('may add %s only within mayAdd: %s', (entry, allowed) => {
    const loaded = parsePolicy(
      'egress: { allow: [], mayAdd: [pip, { host: "*.docs.example.com", methods: [GET] }, { host: narrow.test, paths: [/v1/**] }] }',
      'p',
    );
    const file = parseRepositoryFile(`egress: { allow: [${entry}] }`);
    if (allowed) expect(settleEgress(loaded, file)).toHaveLength(1);
    else expect(problem(() => settleEgress(loaded, file))).toContain('egress.mayAdd');
  });
});

describe('the environment', () => {
  it('derives GitHub addresses as documented', () => {
    expect(readEnvironment({}).github).toEqual({ apiUrl: 'https://api.github.com', webUrl: 'https://github.com' });
    expect(readEnvironment({ GHE_HOST: '127.0.0.1:4010', GHE_PROTOCOL: 'http' }).github).toEqual({
      apiUrl: 'http://127.0.0.1:4010/api/v3',
      webUrl: 'http://127.0.0.1:4010',
    });
  });

  it('names every wrong variable', () => {
    const text = problem(() => readEnvironment({ PORT: '99999', GHE_HOST: 'a b', APP_ID: 'x' }));
    for (const name of ['PORT', 'GHE_HOST', 'APP_ID']) expect(text).toContain(name);
  });

  it('takes a private key as PEM, with spelled-out newlines, or in base64', () => {
    const pem = '-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n';
    for (const form of [pem, pem.replaceAll('\n', '\\n'), Buffer.from(pem).toString('base64')])
      expect(readEnvironment({ PRIVATE_KEY: form }).privateKey).toBe(pem);
    expect(problem(() => readEnvironment({ PRIVATE_KEY: 'nonsense' }))).toContain('neither PEM');
  });

  it('a secret that is named must be there', () => {
    expect(readSecret({ env: 'KEY' }, { KEY: 'v' })).toBe('v');
    expect(problem(() => readSecret({ env: 'KEY' }, {}))).toContain('KEY');
    expect(problem(() => readSecret({ file: '/nonexistent/secret' }, {}))).toContain('/nonexistent/secret');
  });

  it.each([
    ['90s', 90_000],
    ['20m', 1_200_000],
    ['1h', 3_600_000],
    ['1.5m', 90_000],
  ])('%s is %i ms', (text, ms) => {
    expect(parseDuration(text, '--timeout')).toBe(ms);
  });
  it.each(['', '5', '-1s', '25h', '1d', 'NaNs', '0s'])('%j is no duration', (text) => {
    expect(problem(() => parseDuration(text, '--timeout'))).toContain('--timeout');
  });
});

describe('protected', () => {
  it('a pattern that cannot be used is said with what can', () => {
    expect(problem(() => settleProtected(parseRepositoryFile('protected: ["/"]')))).toContain(
      '"/" is not a usable pattern',
    );
    expect(settleProtected(parseRepositoryFile('protected: ["infra/**"]'))).toEqual(['infra/**']);
  });
});

describe('labels and reviewers of pull requests', () => {
  const settled = (operator: string, repository: string) =>
    settlePull(parsePolicy(`egress: { allow: [] }\n${operator}`, 'p').policy, parseRepositoryFile(repository));

  it.each([
    ['', '', [], []],
    ['publish: { labels: [bot], reviewers: [requester] }', '', ['bot'], ['requester']],
    ['publish: { labels: [bot] }', 'publish: { labels: [], reviewers: [codeowners] }', [], ['codeowners']],
    ['label: run', 'publish: { labels: [agent] }', ['agent'], []],
  ])('%j and %j', (operator, repository, labels, reviewers) => {
    expect(settled(operator, repository)).toEqual({ labels, reviewers });
  });

  it.each(['agent', 'Agent:plan', 'agent:working'])('%s would say what nobody said', (label) => {
    expect(problem(() => settled('', `publish: { labels: ['${label}'] }`))).toContain('labels that start a run');
    expect(problem(() => parsePolicy(`egress: { allow: [] }\npublish: { labels: ['${label}'] }`, 'p'))).toContain(
      'labels that start a run',
    );
  });
});

describe('publish.hold', () => {
  const settled = (operator: string, repository: string): string =>
    settleHold(parsePolicy(`egress: { allow: [] }\n${operator}`, 'p').policy, parseRepositoryFile(repository));

  it.each([
    ['', '', 'protected'],
    ['', 'publish: { hold: always }', 'always'],
    ['publish: { hold: never }', '', 'never'],
    ['publish: { hold: never }', 'publish: { hold: protected }', 'protected'],
    ['publish: { hold: always }', '', 'always'],
  ])('%j and %j: %s', (operator, repository, expected) => {
    expect(settled(operator, repository)).toBe(expected);
  });

  it('a repository cannot loosen it', () => {
    expect(problem(() => settled('', 'publish: { hold: never }'))).toContain(`looser than the operator's "protected"`);
  });
});
