import { describe, expect, it } from 'vitest';
import { parsePolicy } from '../../src/config/policy-file.ts';
import { checkRepositoryFile, readRepositoryFile, type Installation } from '../../src/config/repository-file.ts';

const installation: Installation = {
  policy: parsePolicy(
    `egress: { allow: [npm], mayAdd: [pip, { host: "*.docs.test", methods: [GET] }] }
limits: { maxCostUsd: 2, timeoutMinutes: 30 }
llm: { default: anthropic/claude-x, providers: { anthropic: {} }, models: ["claude-*"] }
`,
    'policy.yml',
  ),
  agents: ['opencode', 'codex'],
};

function problems(text: string): string[] {
  const checked = checkRepositoryFile(text, installation);
  if (!('problems' in checked)) return [];
  return checked.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
}

describe('what is wrong in a repository’s file', () => {
  it.each<[string, string]>([
    ['setup: x\nlimits:\n  maxCostUsd: 3\n', "3:15 limits.maxCostUsd: 3 is above the operator's ceiling of 2; write 2"],
    ['limits: { timeoutMinutes: 31 }', "1:27 limits.timeoutMinutes: 31 is above the operator's ceiling of 30"],
    ['egress:\n  allow:\n    - pip\n    - cargo\n', '4:7 egress.allow asks for hosts'],
    ['egress:\n  allow:\n    - { host: evil.test }\n', '- { host: evil.test }'],
    ['egress: { allow: [{ host: A.docs.test, methods: [GET] }] }', '1:19 egress.allow: write the host as a.docs.test'],
    ['protected: [infra/**, "/"]', '1:23 protected: "/" is not a usable pattern'],
    ['publish:\n  hold: never\n', '2:9 publish.hold: "never" is looser'],
    ['agent: copilot', '1:8 agent: there is no "copilot"; agents are opencode, codex'],
    ['model: claude-x', '1:8 model: write "claude-x" as <provider>/<model>'],
    ['model: openai/gpt', '1:8 model: the operator\'s policy has no provider "openai"; it has anthropic'],
    ['model: anthropic/opus', '1:8 model: "opus" is not among the operator\'s: claude-*'],
    ['services: [redis]', '1:11 services are not offered'],
    ['verfy: [npm test]', '1:1 unknown key "verfy"; did you mean "verify"?'],
    ['limits: { maxCost: 1 }', '1:11 unknown key "limits.maxCost"; did you mean "maxCostUsd"?'],
    ['setup: [\n', '2:1'],
  ])('%j', (text, expected) => {
    expect(problems(text).join('\n')).toContain(expected);
  });

  it('is told all at once, each in its own place', () => {
    const text = 'limits: { maxCostUsd: 3, timeoutMinutes: 31 }\negress: { allow: [npm, pip, go] }\nagent: x\n';
    expect(problems(text).map((one) => one.split(' ')[0])).toEqual(['1:23', '1:42', '2:19', '2:29', '3:8']);
  });

  it.each(['', '{}', 'limits: { maxCostUsd: 2 }', 'egress: { allow: [pip, { host: a.docs.test, methods: [GET] }] }'])(
    'nothing in %j',
    (text) => expect(problems(text)).toEqual([]),
  );
});

describe('what a file comes to', () => {
  it('is the operator’s word, lowered and chosen within', () => {
    const checked = checkRepositoryFile('limits: { maxCostUsd: 1 }\nverify: npm test\nagent: codex\n', installation);
    expect(checked).toMatchObject({
      effective: {
        agent: 'codex',
        model: 'anthropic/claude-x',
        limits: { maxCost: 1_000_000, timeoutMs: 1_800_000 },
        verify: ['npm test'],
        added: [],
        hold: 'protected',
        pull: { labels: [], reviewers: [] },
      },
    });
  });

  it('for a run, what the command says otherwise is no reason to refuse it, and everything else is', () => {
    const read = (text: string, overridden: string[]) => () =>
      readRepositoryFile(text, { ...installation, overridden });
    expect(read('agent: x\nsetup: y\n', ['agent'])().setup).toEqual(['y']);
    expect(read('agent: x\n', ['model'])).toThrow('.github/cofferdam.yml:1:8: agent: there is no "x"');
    expect(read('agent: x\nservices: [a]\n', ['agent'])).toThrow('.github/cofferdam.yml:2:11: services');
    expect(read('agent: [', ['agent'])).toThrow('.github/cofferdam.yml:1:9');
  });
});
