import { describe, expect, test } from 'vitest';
import type { EgressRule } from '../../src/domain/policy.ts';
import { judgeRequest } from '../../src/policy/egress/decide.ts';
import { enterpriseProblem, githubRepository, withGithubAssets } from '../../src/policy/egress/github.ts';
import { lintPolicy } from '../../src/policy/egress/lint.ts';
import { canonicalPath } from '../../src/policy/egress/path.ts';
import { deny } from '../../src/domain/decision.ts';
import { wouldAllow } from '../../src/policy/egress/report.ts';
import { policyOf } from '../gateway/hermetic.ts';

describe('TLS-014 which repository a path reads from', () => {
  test.each([
    ['api.github.com', '/repos/octo/tool', 'octo/tool'],
    ['api.github.com', '/repos/Octo/TOOL/releases/latest', 'octo/tool'],
    ['api.github.com', '/repos/octo/tool.git', undefined],
    ['api.github.com', '/repositories/1296269', undefined],
    ['api.github.com', '/Repos/octo/tool', undefined],
    ['api.github.com', '/repos/octo', undefined],
    ['api.github.com', '/repos/octo/', undefined],
    ['api.github.com', '/repos/octo%2Ftool/x', undefined],
    ['api.github.com', '/graphql', undefined],
    ['api.github.com', '/gists/1', undefined],
    ['api.github.com', '/user', undefined],
    ['api.github.com', '/search/code', undefined],
    ['api.github.com', '/installation/repositories', undefined],
    ['github.com', '/octo/tool/releases/download/v1/a.tgz', 'octo/tool'],
    ['github.com', '/octo/tool/releases/latest/download/a.tgz', 'octo/tool'],
    ['github.com', '/octo/tool/archive/refs/tags/v1.tar.gz', 'octo/tool'],
    ['github.com', '/octo/tool/issues/new', undefined],
    ['github.com', '/octo/tool.git/info/refs', undefined],
    ['github.com', '/login/oauth/authorize', undefined],
    ['raw.githubusercontent.com', '/octo/tool/main/README.md', 'octo/tool'],
    ['codeload.github.com', '/octo/tool/tar.gz/main', 'octo/tool'],
    ['gist.github.com', '/octo/aa5a315d61ae9438b18d', undefined],
    ['uploads.github.com', '/repos/octo/tool/releases/1/assets', undefined],
    ['release-assets.githubusercontent.com', '/octo/tool/x', undefined],
  ])('%s%s → %s', (host, path, repository) => {
    expect(githubRepository(host, path)).toBe(repository);
  });
});

const API: EgressRule = { host: 'api.github.com' };

describe('NET-023 GH-016 what a rule for GitHub allows', () => {
  test.each<[string, EgressRule, string, string, string]>([
    ['the run’s own repository', API, 'GET', '/repos/Own/Repo/pulls?x=1', 'allow'],
    ['another one', API, 'GET', '/repos/octo/tool', 'path_not_allowed'],
    [
      'another one that the rule names',
      { ...API, paths: ['/repos/Octo/Tool/**'] },
      'GET',
      '/repos/octo/tool/tags',
      'allow',
    ],
    [
      'a pattern that names none means the run’s own',
      { ...API, paths: ['/repos/*/*/tags'] },
      'GET',
      '/repos/octo/tool/tags',
      'path_not_allowed',
    ],
    [
      'and there its path holds',
      { ...API, paths: ['/repos/*/*/tags'] },
      'GET',
      '/repos/own/repo/pulls',
      'path_not_allowed',
    ],
    ['and there it allows', { ...API, paths: ['/repos/*/*/tags'] }, 'GET', '/repos/own/repo/tags', 'allow'],
    ['no issue', API, 'POST', '/repos/own/repo/issues', 'method_not_allowed'],
    ['no dispatch', API, 'POST', '/repos/own/repo/dispatches', 'method_not_allowed'],
    ['no file', API, 'PUT', '/repos/own/repo/contents/x', 'method_not_allowed'],
    ['no GraphQL', API, 'POST', '/graphql', 'method_not_allowed'],
    ['no GraphQL by GET', API, 'GET', '/graphql', 'path_not_allowed'],
    ['no gist', API, 'GET', '/gists', 'path_not_allowed'],
    ['no number of a repository', API, 'GET', '/repositories/1', 'path_not_allowed'],
    ['no rulesets of an organisation', API, 'GET', '/orgs/own/rulesets', 'path_not_allowed'],
    ['no tokens', API, 'POST', '/app/installations/1/access_tokens', 'method_not_allowed'],
  ])('%s', (_title, rule, method, target, expected) => {
    const policy = { ...policyOf([rule]), gitRepositories: ['own/repo'] };
    const path = canonicalPath(target);
    if (!path.ok) throw new Error('path');
    const { decision } = judgeRequest(policy, { host: 'api.github.com', port: 443, method, path: path.path });
    expect(decision.allow ? 'allow' : decision.reason).toBe(expected);
  });
});

test('the line that would allow it is told only where one can', () => {
  const api = { host: 'api.github.com', port: 443 };
  const read = { ...api, method: 'GET', path: '/repos/octo/tool/tags' };
  expect(wouldAllow(read, deny('default', 'path_not_allowed'))).toContain('"/repos/octo/tool/tags"');
  expect(wouldAllow({ ...read, path: '/graphql' }, deny('default', 'path_not_allowed'))).toBeUndefined();
  expect(wouldAllow({ ...read, method: 'POST' }, deny('default', 'method_not_allowed'))).toBeUndefined();
  expect(wouldAllow(api, deny('default', 'not_allowed'))).toBe('- { host: api.github.com }');
});

test('places of signed downloads are there with a rule for GitHub, and for granted addresses only', () => {
  const host = 'release-assets.githubusercontent.com';
  const question = { host, port: 443, method: 'GET', path: '/x' };
  const policy = withGithubAssets(policyOf([{ host: 'github.com', paths: ['/octo/tool/**'] }]));
  expect(judgeRequest(policy, question).decision).toMatchObject({ reason: 'path_not_allowed' });
  expect(judgeRequest(policy, { ...question, redirected: true }).decision.allow).toBe(true);
  expect(judgeRequest(policy, { ...question, method: 'PUT', redirected: true }).decision.allow).toBe(false);
  const without = withGithubAssets(policyOf([{ host: 'other.test' }]));
  expect(judgeRequest(without, { ...question, redirected: true }).decision).toMatchObject({ reason: 'not_allowed' });
});

test.each<[EgressRule, RegExp | undefined]>([
  [{ host: 'api.github.com', passThrough: true }, /read by path/],
  [{ host: 'github.com', upgrade: true }, /read by path/],
  [{ host: 'api.github.com', methods: ['GET', 'POST'] }, /read only/],
  [{ host: 'api.github.com', methods: ['GET'] }, undefined],
  [{ host: 'notgithub.com', methods: ['POST'] }, undefined],
])('a rule that would open more is refused when the policy is loaded: %j', (rule, problem) => {
  const messages = lintPolicy(policyOf([rule])).map(({ message }) => message);
  if (problem === undefined) expect(messages).toEqual([]);
  else expect(messages.join()).toMatch(problem);
});

describe('GH-016 hosts of GitHub Enterprise Server', () => {
  const GHE = 'ghe.corp.test';
  const read = { host: GHE, methods: ['GET', 'HEAD'], allowPrivate: true };
  test.each<[EgressRule, RegExp | undefined]>([
    [{ ...read, paths: ['/api/v3/repos/octo/tool/releases/**', '/octo/tool/releases/download/**'] }, undefined],
    [{ ...read, paths: ['/octo/tool/archive/**', '/octo/tool/raw/main/*', '/raw/octo/tool/**'] }, undefined],
    [{ ...read, host: `raw.${GHE}`, paths: ['/octo/tool/main/**'] }, undefined],
    [{ ...read, host: `codeload.${GHE}`, paths: ['/octo/tool/tar.gz/**'] }, undefined],
    [{ host: 'docs.corp.test' }, undefined],
    [{ host: '*.other.test' }, undefined],
    [{ host: GHE }, /read only/],
    [{ host: GHE, paths: ['/api/v3/repos/octo/tool/**'] }, /read only/],
    [{ ...read, methods: ['GET', 'POST'], paths: ['/api/v3/repos/octo/tool/**'] }, /read only/],
    [read, /name owner and repository/],
    [{ ...read, paths: ['/**'] }, /name owner and repository/],
    [{ ...read, paths: ['/api/v3/repos/*/tool/**'] }, /name owner and repository/],
    [{ ...read, paths: ['/api/v3/repos/octo/tool/**', '/api/v3/user'] }, /name owner and repository/],
    [{ ...read, paths: ['/api/v3/repositories/12/**'] }, /name owner and repository/],
    [{ ...read, paths: ['/api/graphql'] }, /name owner and repository/],
    [{ ...read, paths: ['/api/v3/gists/**'] }, /name owner and repository/],
    [{ ...read, paths: ['/api/v3/archive/**'] }, /name owner and repository/],
    [{ ...read, paths: ['/octo/tool/issues/**'] }, /name owner and repository/],
    [{ ...read, host: `raw.${GHE}`, paths: ['/**'] }, /name owner and repository/],
    [{ ...read, host: `gist.${GHE}`, paths: ['/octo/tool/raw/**'] }, /only ghe.corp.test, raw/],
    [{ ...read, host: '*.corp.test', paths: ['/octo/tool/raw/**'] }, /only ghe.corp.test, raw/],
    [{ ...read, host: `*.${GHE}`, paths: ['/octo/tool/raw/**'] }, /only ghe.corp.test, raw/],
    [{ host: GHE, passThrough: true, allowPrivate: true }, /read by path/],
    [{ ...read, upgrade: true, paths: ['/octo/tool/raw/**'] }, /read by path/],
  ])('%j: %s', (rule, problem) => {
    const found = enterpriseProblem(rule, GHE);
    if (problem === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(problem);
  });

  test.each([
    ['GET', '/api/v3/repos/octo/tool/releases/latest', true],
    ['POST', '/api/v3/repos/octo/tool/releases/latest', false],
    ['GET', '/api/v3/repos/octo/other/releases/latest', false],
    ['POST', '/api/graphql', false],
    ['GET', '/api/v3/user', false],
    ['POST', '/api/v3/gists', false],
  ])('a rule that passes allows %s %s: %s', (method, path, allowed) => {
    const policy = policyOf([{ ...read, paths: ['/api/v3/repos/octo/tool/releases/**'] }]);
    expect(judgeRequest(policy, { host: GHE, port: 443, method, path }).decision.allow).toBe(allowed);
  });
});
