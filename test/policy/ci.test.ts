import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ciLook } from '../../src/policy/diff/ci.ts';

const BRANCH = 'cofferdam/12-add-a-thing-x7k2';

function look(content: string | null, rootNames: string[] = []): [string, string[]] {
  const { exposure, reasons } = ciLook({
    workflows: [{ path: '.github/workflows/ci.yml', content }],
    rootNames,
    branch: BRANCH,
  });
  return [exposure, reasons.map(({ risk }) => risk)];
}

const job = 'jobs: { a: { runs-on: ubuntu-latest, steps: [{ run: npm test }] } }';

describe('what CI gives to a pushed branch', () => {
  test.each([
    ['reads only', `on: push\npermissions: { contents: read }\n${job}`, 'none', []],
    ['reads all', `on: [push, pull_request]\npermissions: read-all\n${job}`, 'none', []],
    ['no permission at all', `on: push\npermissions: {}\n${job}`, 'none', []],
    ['says no permissions', `on: pull_request\n${job}`, 'unknown', ['default_permission']],
    ['may write all', `on: pull_request\npermissions: write-all\n${job}`, 'secrets', ['write_permission']],
    ['may mint an identity', `on: push\npermissions: { id-token: write }\n${job}`, 'secrets', ['write_permission']],
    [
      'one job may write',
      'on: push\npermissions: { contents: read }\njobs: { a: { permissions: { contents: write }, steps: [] } }',
      'secrets',
      ['write_permission'],
    ],
    ['a secret', `on: push\npermissions: {}\nenv: { K: "\${{ secrets.DEPLOY }}" }\n${job}`, 'secrets', ['secrets']],
    [
      'a secret by index',
      `on: push\npermissions: {}\nenv: { K: "\${{ secrets['X'] }}" }\n${job}`,
      'secrets',
      ['secrets'],
    ],
    ['all secrets', `on: push\npermissions: {}\nenv: { K: "\${{ toJSON(secrets) }}" }\n${job}`, 'secrets', ['secrets']],
    [
      'secrets that are handed on',
      'on: push\npermissions: {}\njobs: { a: { uses: ./.github/workflows/b.yml, secrets: inherit } }',
      'secrets',
      ['secrets'],
    ],
    ['only the token', `on: push\npermissions: {}\nenv: { K: "\${{ secrets.GITHUB_TOKEN }}" }\n${job}`, 'none', []],
    [
      'the word in a name or a comment',
      `# secrets.X\non: push\npermissions: {}\nname: looks for secrets\n${job}`,
      'none',
      [],
    ],
    [
      'a machine of one’s own',
      `on: push\npermissions: {}\njobs: { a: { runs-on: [self-hosted, x] } }`,
      'secrets',
      ['self_hosted'],
    ],
    [
      'main only',
      `on: { push: { branches: [main, "release/**", "!x"] } }\nenv: { K: "\${{ secrets.X }}" }\n${job}`,
      'none',
      [],
    ],
    [
      'every branch',
      `on: { push: { branches: ["**"] } }\npermissions: write-all\n${job}`,
      'secrets',
      ['write_permission'],
    ],
    [
      'ours by pattern',
      `on: { push: { branches: ["c?offerdam/**"] } }\npermissions: write-all\n${job}`,
      'secrets',
      ['write_permission'],
    ],
    [
      'all but main',
      `on: { push: { branches-ignore: [main] } }\npermissions: write-all\n${job}`,
      'secrets',
      ['write_permission'],
    ],
    ['all but ours', `on: { push: { branches-ignore: ["cofferdam/**"] } }\npermissions: write-all\n${job}`, 'none', []],
    ['tags only', `on: { push: { tags: ["v*"] } }\npermissions: write-all\n${job}`, 'none', []],
    [
      'pull requests to main',
      `on: { pull_request: { branches: [main] } }\npermissions: write-all\n${job}`,
      'secrets',
      ['write_permission'],
    ],
    [
      'after another workflow',
      `on: { workflow_run: { workflows: [ci] } }\npermissions: write-all\n${job}`,
      'secrets',
      ['write_permission'],
    ],
    [
      'by hand and by clock',
      `on: { workflow_dispatch: {}, schedule: [{ cron: "0 0 * * *" }] }\npermissions: write-all\n${job}`,
      'none',
      [],
    ],
    ['no YAML', 'on: [', 'unknown', ['unreadable']],
    ['a list', '- a', 'unknown', ['unreadable']],
    ['no trigger', job, 'unknown', ['unreadable']],
    ['no jobs', 'on: push', 'unknown', ['unreadable']],
    ['a job that is none', 'on: push\npermissions: {}\njobs: { a: x }', 'unknown', ['unreadable']],
    ['too large', null, 'unknown', ['unreadable']],
  ])('%s', (_, content, exposure, risks) => {
    expect(look(content)).toEqual([exposure, risks]);
  });

  test('no workflow is nothing to take; another service is not known', () => {
    expect(ciLook({ workflows: [], rootNames: ['src', '.github'], branch: BRANCH })).toEqual({
      exposure: 'none',
      reasons: [],
    });
    for (const name of ['.gitlab-ci.yml', '.circleci', 'Jenkinsfile', 'azure-pipelines.yml', '.drone.yml']) {
      expect(ciLook({ workflows: [], rootNames: [name], branch: BRANCH })).toEqual({
        exposure: 'unknown',
        reasons: [{ file: name, risk: 'other_service' }],
      });
    }
  });

  test('what is certain counts more than what is not known', () => {
    expect(look(`on: push\nenv: { K: "\${{ secrets.X }}" }\n${job}`)).toEqual([
      'secrets',
      ['secrets', 'default_permission'],
    ]);
  });

  test('any text is judged, and nothing but a workflow that only reads is harmless', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
        expect(look(`on: push\njobs: { a: { name: ${JSON.stringify(text)} } }`)[0]).not.toBe('none');
        expect(['none', 'unknown', 'secrets']).toContain(look(text)[0]);
      }),
    );
    const bomb = `a: &a [x,x]\nb: &b [${'*a,'.repeat(30)}]\nc: [${'*b,'.repeat(30)}]\non: push\npermissions: {}\n${job}`;
    expect(look(bomb)).toEqual(['unknown', ['unreadable']]);
  });
});
