import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CommitSha } from '../../src/domain/ids.ts';
import type { PullSettings } from '../../src/domain/policy.ts';
import { active, render } from '../policy/rendered.ts';
import { digest, harvestOf, memoryAudit, publisherOf, requestOn, resultOf, specOf } from './run.ts';
import { stage, type Stage } from './stage.ts';

const { signal } = new AbortController();
const seal = { count: 42, head: digest };
const OWNERS = '# owners\n* @eve @mallory\n/src/ @alice @eve @octo-owner/core @other/core ada@acme.test\n';

/** The base branch gets a CODEOWNERS, and the organisation a team. */
function withOwners(here: Stage, text = OWNERS): void {
  here.standIn.setTeam('octo-owner', 'core', { alice: 'active' });
  withFile(here, 'CODEOWNERS', text);
}

function withFile(here: Stage, path: string, text: string): void {
  const work = join(here.dir, 'base');
  const git = (...args: string[]): void =>
    void execFileSync('git', ['-c', 'user.name=b', '-c', 'user.email=b@x.test', ...args], { cwd: work });
  execFileSync('git', ['clone', '--quiet', here.shop.gitDir, work]);
  mkdirSync(dirname(join(work, path)), { recursive: true });
  writeFileSync(join(work, path), text);
  git('add', '-A');
  git('commit', '--quiet', '-m', 'chore: file');
  git('push', '--quiet', 'origin', 'HEAD:main');
}

/** The run's commit with more files. */
function amended(gitDir: string, files: Record<string, string>): CommitSha {
  const cwd = dirname(gitDir);
  const git = (...args: string[]): string =>
    execFileSync('git', ['-c', 'user.name=b', '-c', 'user.email=b@x.test', ...args], { cwd, encoding: 'utf8' }).trim();
  for (const [name, content] of Object.entries(files)) writeFileSync(join(cwd, name), content);
  git('add', '-A');
  git('commit', '--quiet', '--amend', '--no-edit');
  return CommitSha.parse(git('rev-parse', 'HEAD'));
}

/** A whole publication; twice with `again`, as after a crash. */
async function publish(here: Stage, pull: PullSettings | undefined, { again = false, byAgent = '' } = {}) {
  const issue = await here.shop.openIssue({ title: 'add() subtracts', author: 'alice' });
  const request = requestOn(here, { number: issue.number });
  using harvest = harvestOf(here);
  const commit = byAgent === '' ? harvest.commit : amended(harvest.repository, { CODEOWNERS: byAgent });
  const files = [{ path: 'src/add.js', status: 'modified' as const, additions: 1, deletions: 1 }];
  const spec = specOf(request, harvest, pull === undefined ? {} : { pull });
  const audit = memoryAudit();
  const result = resultOf(request);
  const publisher = publisherOf(here, request);
  const publishing = { spec, harvest: { ...harvest, commit, files }, result, audit, signal };
  if (again) await publisherOf(here, request).publish(publishing);
  const published = await publisher.publish(publishing);
  await publisher.finish({ result: resultOf(request, { ...published, auditHead: digest }), seal, receipt: undefined });
  const [opened] = here.shop.pulls();
  return {
    head: opened?.pull.headSha ?? '',
    body: opened?.body ?? '',
    labels: opened?.labels,
    reviewers: opened?.pull.requestedReviewers,
    teams: opened?.pull.requestedTeams,
    asks: audit.entries.filter(({ type }) => type.startsWith('publish.ask')),
    text: here.shop.checkRuns()[0]?.text ?? '',
  };
}

describe('labels and reviewers of a new pull request', () => {
  it.each([[undefined], [{ labels: [], reviewers: [] }]])(
    'are none by default, code owners or not: %j',
    async (pull) => {
      await using here = await stage();
      withOwners(here);
      expect(await publish(here, pull)).toMatchObject({ labels: [], reviewers: [], asks: [] });
    },
  );

  it('are the labels, who asked, and the code owners of the changed files; who cannot review is left out and said', async () => {
    await using here = await stage();
    withOwners(here);
    const made = await publish(here, { labels: ['by-agent', 'bug'], reviewers: ['requester', 'codeowners'] });
    expect(made.labels).toEqual(['by-agent', 'bug']);
    expect(made.reviewers).toEqual(['alice', 'eve']);
    expect(made.teams).toEqual(['core']);
    const data = { pull: 2, labels: ['by-agent', 'bug'], reviewers: ['alice', 'eve'], teams: ['core'] };
    expect(made.asks).toMatchObject([
      { type: 'publish.ask', data },
      { type: 'publish.ask_end', data: { ...data, refused: [], outcome: 'done' } },
    ]);
    expect(made.text).toContain('Asked for a review: `alice`, `eve`, `core`');
    expect(active(render(made.text), [/<\/?(?:details|summary)>/g])).toEqual([]);
  });

  it('one whom GitHub does not take keeps nobody else out and fails nothing', async () => {
    await using here = await stage();
    withOwners(here, '* @mallory @eve @octo-owner/gone\n');
    here.standIn.createUser('mallory');
    const made = await publish(here, { labels: [], reviewers: ['codeowners'] });
    expect(made.reviewers).toEqual(['eve']);
    expect(made.asks.at(-1)?.data).toMatchObject({ refused: ['mallory', 'gone'], outcome: 'done' });
    expect(made.text).toContain('`mallory`, `gone`');
  });

  it('asks nobody twice', async () => {
    await using here = await stage();
    withOwners(here);
    const made = await publish(here, { labels: ['bug'], reviewers: ['requester', 'codeowners'] }, { again: true });
    expect(made.reviewers).toEqual(['alice', 'eve']);
    const asked = here.standIn.requests.filter(({ path }) => path.endsWith('/requested_reviewers'));
    expect(asked).toHaveLength(1);
  });

  it('are the base branch’s: what the agent writes into CODEOWNERS asks nobody', async () => {
    await using here = await stage();
    withOwners(here, '/docs/ @alice\n');
    const made = await publish(here, { labels: [], reviewers: ['codeowners'] }, { byAgent: '* @eve\n' });
    expect(made).toMatchObject({ reviewers: [], asks: [] });
    expect(execFileSync('git', ['show', `${made.head}:CODEOWNERS`], { cwd: here.shop.gitDir, encoding: 'utf8' })).toBe(
      '* @eve\n',
    );
  });

  it('are done without when GitHub does not answer', async () => {
    await using here = await stage();
    here.standIn.fault({ operationId: 'issues/add-labels', status: 502, times: 50 });
    const made = await publish(here, { labels: ['bug'], reviewers: ['requester'] });
    expect(made.asks.at(-1)?.data).toMatchObject({ outcome: 'unknown', error: 'unavailable' });
    expect(made.labels).toEqual([]);
  });
});

describe('the template of the base', () => {
  it.each([
    ['.github/PULL_REQUEST_TEMPLATE.md', true],
    ['pull_request_template.md', true],
    ['docs/Pull_Request_Template.md', true],
    ['.github/PULL_REQUEST_TEMPLATE/default.md', true],
    ['src/pull_request_template.md', false],
  ])('%s: %s', async (path, used) => {
    await using here = await stage();
    withFile(here, path, '## Description\n\n## House rules\n- [ ] read\n');
    const { body } = await publish(here, undefined);
    expect(/## Description\n\n[^#]*I made `add` add\./.test(body)).toBe(used);
    expect(body.includes('## House rules\n\n- [ ] read')).toBe(used);
    expect(body.includes('## What and why')).toBe(!used);
    expect(body).toContain('Fixes #1');
    expect(body).toContain('## Verification');
  });
});
