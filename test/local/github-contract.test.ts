import { createHash } from 'node:crypto';
import { Octokit } from '@octokit/rest';
import { expect, test } from 'vitest';
import { operationIds, webhookNames } from '../../src/local/github/openapi/operations.ts';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import { schemaName } from '../../src/local/github/webhooks.ts';
import { stage, type Stage } from './github-support.ts';

const REPO = { owner: 'octo-owner', repo: 'shop' };
const PAGE = { per_page: 100 };

async function repository(here: Stage): Promise<RepositoryHandle> {
  return here.standIn.createRepository({
    owner: REPO.owner,
    ownerType: 'Organization',
    name: REPO.repo,
    files: {
      'README.md': '# Shop\n',
      'src/add.js': 'exports.add = (a, b) => a - b;\n',
      'bin/run': { mode: '100755', content: '#!/bin/sh\n' },
      link: { mode: '120000', content: 'README.md' },
    },
    collaborators: { alice: 'write', bob: 'read' },
    labels: ['agent'],
  });
}

async function asApp({ appOctokit, standIn }: Stage): Promise<void> {
  const { rest } = appOctokit;
  await rest.apps.getAuthenticated();
  const { data: installations } = await rest.apps.listInstallations();
  const id = installations[0]?.id ?? 0;
  await rest.apps.getInstallation({ installation_id: id });
  await rest.apps.getRepoInstallation(REPO);
  await standIn.webhooks.idle();
  const { data: deliveries } = await rest.apps.listWebhookDeliveries({ per_page: 1 });
  const delivery_id = deliveries[0]?.id ?? 0;
  const { data: delivery } = await rest.apps.getWebhookDelivery({ delivery_id });
  expect(delivery.guid).toBe(deliveries[0]?.guid);
  await rest.apps.redeliverWebhookDelivery({ delivery_id });
}

async function onTeams({ standIn, octokit: open }: Stage): Promise<void> {
  standIn.setTeam(REPO.owner, 'core', { alice: 'active' });
  const { rest } = await open({ permissions: { members: 'read' } });
  const { data } = await rest.teams.getMembershipForUserInOrg({
    org: REPO.owner,
    team_slug: 'core',
    username: 'alice',
  });
  expect(data.state).toBe('active');
}

async function onGit({ octokit: open }: Stage): Promise<string> {
  const { rest } = await open();
  const { data: main } = await rest.repos.getBranch({ ...REPO, branch: 'main' });
  const base = main.commit.sha;
  await rest.git.createRef({ ...REPO, ref: 'refs/heads/side/one', sha: base });
  await rest.git.getRef({ ...REPO, ref: 'heads/side/one' });
  await rest.git.listMatchingRefs({ ...REPO, ref: 'heads/side' });
  await rest.git.updateRef({ ...REPO, ref: 'heads/side/one', sha: base });
  await rest.git.deleteRef({ ...REPO, ref: 'heads/side/one' });
  await rest.git.getCommit({ ...REPO, commit_sha: base });
  await rest.repos.listBranches(REPO);
  await rest.repos.listCommits(REPO);
  await rest.repos.getCommit({ ...REPO, ref: 'main' });
  const { data: root } = await rest.repos.getContent({ ...REPO, path: '' });
  expect(Array.isArray(root) ? root.map((one) => [one.name, one.type]) : root).toEqual([
    ['README.md', 'file'],
    ['bin', 'dir'],
    ['link', 'symlink'],
    ['src', 'dir'],
  ]);
  await rest.repos.getContent({ ...REPO, path: 'link' });
  await rest.repos.getContent({ ...REPO, path: 'src/add.js', ref: 'main' });
  await rest.repos.get(REPO);
  await rest.repos.getCollaboratorPermissionLevel({ ...REPO, username: 'bob' });
  await rest.users.getByUsername({ username: 'alice' });
  await rest.rateLimit.get();
  await rest.meta.get();
  await rest.apps.listReposAccessibleToInstallation();
  return base;
}

async function onIssues({ octokit: open }: Stage): Promise<void> {
  const { rest } = await open();
  const { data: issue } = await rest.issues.create({ ...REPO, title: 'By the bot', body: 'text', labels: ['agent'] });
  const at = { ...REPO, issue_number: issue.number };
  await rest.issues.get(at);
  await rest.issues.update({ ...at, body: 'other text', state: 'closed' });
  await rest.issues.update({ ...at, state: 'open' });
  await rest.issues.listForRepo({ ...REPO, labels: 'agent', ...PAGE });
  await rest.issues.createLabel({ ...REPO, name: 'two words', color: 'ff0000', description: 'x' });
  await rest.issues.getLabel({ ...REPO, name: 'two words' });
  await rest.issues.listLabelsForRepo(REPO);
  await rest.issues.addLabels({ ...at, labels: ['two words'] });
  await rest.issues.listLabelsOnIssue(at);
  await rest.issues.removeLabel({ ...at, name: 'two words' });
  const { data: comment } = await rest.issues.createComment({ ...at, body: 'hello' });
  const on = { ...REPO, comment_id: comment.id };
  await rest.issues.getComment(on);
  await rest.issues.updateComment({ ...on, body: 'hello again' });
  await rest.issues.listComments(at);
  await rest.issues.listCommentsForRepo(REPO);
  const first = await rest.reactions.createForIssue({ ...at, content: 'eyes' });
  const second = await rest.reactions.createForIssue({ ...at, content: 'eyes' });
  expect([first.status, second.status, second.data.id]).toEqual([201, 200, first.data.id]);
  await rest.reactions.listForIssue(at);
  await rest.reactions.deleteForIssue({ ...at, reaction_id: first.data.id });
  const reaction = await rest.reactions.createForIssueComment({ ...on, content: 'rocket' });
  await rest.reactions.listForIssueComment(on);
  await rest.reactions.deleteForIssueComment({ ...on, reaction_id: reaction.data.id });
  await rest.issues.deleteComment(on);
}

async function branchFrom(here: Stage, base: string, branch: string): Promise<void> {
  const { rest } = await here.octokit();
  await rest.git.createRef({ ...REPO, ref: `refs/heads/${branch}`, sha: base });
}

async function onContents(here: Stage, base: string): Promise<void> {
  const { rest } = await here.octokit();
  await branchFrom(here, base, 'file');
  const at = { ...REPO, branch: 'file', message: 'a file', path: 'docs/a.txt' };
  const text = (content: string): string => Buffer.from(content).toString('base64');
  const { data: made, status } = await rest.repos.createOrUpdateFileContents({ ...at, content: text('one\n') });
  expect([status, made.content?.path]).toEqual([201, 'docs/a.txt']);
  // Who changes a file names what they saw of it.
  const unseen = rest.repos.createOrUpdateFileContents({ ...at, content: text('two\n') });
  await expect(unseen).rejects.toMatchObject({ status: 422 });
  const other = rest.repos.createOrUpdateFileContents({ ...at, content: text('two\n'), sha: '0'.repeat(40) });
  await expect(other).rejects.toMatchObject({ status: 409 });
  const sha = made.content?.sha ?? '';
  const changed = await rest.repos.createOrUpdateFileContents({ ...at, content: text('two\n'), sha });
  expect(changed.status).toBe(200);
  const workflow = { ...at, path: '.github/workflows/x.yml', content: text('on: push\n') };
  await expect(rest.repos.createOrUpdateFileContents(workflow)).rejects.toMatchObject({ status: 403 });
}

async function onPull(here: Stage, shop: RepositoryHandle, base: string): Promise<{ number: number; sha: string }> {
  const { rest } = await here.octokit();
  await branchFrom(here, base, 'fix');
  const files = { 'src/add.js': 'exports.add = (a, b) => a + b;\n', 'new.txt': 'one\ntwo\n', link: null };
  const sha = await shop.commit({ branch: 'fix', message: 'fix: add', files, author: 'alice' });
  const { data: pull } = await rest.pulls.create({ ...REPO, title: 'Fix', head: 'fix', base: 'main', draft: true });
  const at = { ...REPO, pull_number: pull.number };
  await rest.pulls.get(at);
  await rest.pulls.list({ ...REPO, head: 'octo-owner:fix', state: 'open' });
  await rest.pulls.update({ ...at, title: 'Fix it', body: 'what and why' });
  const { data: changed } = await rest.pulls.listFiles(at);
  expect(changed.map((one) => [one.filename, one.status, one.additions, one.deletions])).toEqual([
    ['link', 'removed', 0, 1],
    ['new.txt', 'added', 2, 0],
    ['src/add.js', 'modified', 1, 1],
  ]);
  await rest.pulls.listCommits(at);
  await rest.pulls.requestReviewers({ ...at, reviewers: ['alice'] });
  await rest.repos.listPullRequestsAssociatedWithCommit({ ...REPO, commit_sha: sha });
  const { data: compared } = await rest.repos.compareCommitsWithBasehead({ ...REPO, basehead: 'main...fix' });
  expect([compared.status, compared.ahead_by, compared.files?.length]).toEqual(['ahead', 1, 3]);
  return { number: pull.number, sha };
}

async function onReviews(here: Stage, shop: RepositoryHandle, number: number): Promise<void> {
  const { rest } = await here.octokit();
  const at = { ...REPO, pull_number: number };
  await shop.review(number, {
    state: 'CHANGES_REQUESTED',
    body: 'Please test it.',
    author: 'alice',
    comments: [{ path: 'src/add.js', line: 1, body: 'Here.' }],
  });
  const { data: reviews } = await rest.pulls.listReviews(at);
  const review_id = reviews[0]?.id ?? 0;
  await rest.pulls.getReview({ ...at, review_id });
  const { data: mine } = await rest.pulls.createReview({ ...at, event: 'COMMENT', body: 'Noted.' });
  expect(mine.user?.login).toBe('cofferdam[bot]');
  await rest.pulls.listCommentsForReview({ ...at, review_id });
  const { data: lines } = await rest.pulls.listReviewComments(at);
  const comment_id = lines[0]?.id ?? 0;
  await rest.pulls.getReviewComment({ ...REPO, comment_id });
  const { data: answer } = await rest.pulls.createReviewComment({
    ...at,
    body: 'Done.',
    in_reply_to: comment_id,
    commit_id: shop.thread(number).pull?.headSha ?? '',
    path: 'src/add.js',
  });
  expect(answer.in_reply_to_id).toBe(comment_id);
  await rest.pulls.updateReviewComment({ ...REPO, comment_id: answer.id, body: 'Done, see the new test.' });
  const on = { ...REPO, comment_id };
  const { data: reaction } = await rest.reactions.createForPullRequestReviewComment({ ...on, content: 'eyes' });
  await rest.reactions.deleteForPullRequestComment({ ...on, reaction_id: reaction.id });
}

async function onChecks(here: Stage, shop: RepositoryHandle, sha: string): Promise<void> {
  const { rest } = await here.octokit();
  const { data: check } = await rest.checks.create({ ...REPO, name: 'Cofferdam', head_sha: sha });
  const at = { ...REPO, check_run_id: check.id };
  await rest.checks.update({
    ...at,
    status: 'completed',
    conclusion: 'action_required',
    output: {
      title: 'Held',
      summary: '**Held**',
      annotations: [{ path: 'src/add.js', start_line: 1, end_line: 1, annotation_level: 'warning', message: 'look' }],
    },
    actions: [{ label: 'Publish', description: 'Publish the change', identifier: 'publish' }],
  });
  await rest.checks.get(at);
  await rest.checks.listForRef({ ...REPO, ref: 'fix' });
  await rest.checks.listSuitesForRef({ ...REPO, ref: sha });
  expect((await rest.checks.listAnnotations(at)).data).toHaveLength(1);
  shop.clickAction(check.id, 'publish', 'alice');
  shop.rerequest(check.id, 'alice');
  await shop.rerequestSuite(check.id, 'alice');
  await rest.repos.getCombinedStatusForRef({ ...REPO, ref: 'fix' });
  await rest.repos.listCommitStatusesForRef({ ...REPO, ref: sha });
}

async function onActions(here: Stage, shop: RepositoryHandle, sha: string): Promise<void> {
  const { rest } = await here.octokit();
  const run_id = await shop.reportCi({ sha, branch: 'fix', conclusion: 'failure', log: 'Error: 1 != 2\n' });
  const { data: runs } = await rest.actions.listWorkflowRunsForRepo({ ...REPO, head_sha: sha });
  expect(runs.workflow_runs.map((one) => one.id)).toEqual([run_id]);
  await rest.actions.getWorkflowRun({ ...REPO, run_id });
  const { data: jobs } = await rest.actions.listJobsForWorkflowRun({ ...REPO, run_id });
  const job_id = jobs.jobs[0]?.id ?? 0;
  await rest.actions.getJobForWorkflowRun({ ...REPO, job_id });
  const base = here.standIn.url;
  const authorization = `Bearer ${await here.token()}`;
  const logs = `${base}/api/v3/repos/${REPO.owner}/${REPO.repo}/actions/jobs/${job_id}/logs`;
  const redirect = await fetch(logs, { headers: { authorization }, redirect: 'manual' });
  expect(redirect.status).toBe(302);
  const log = await fetch(redirect.headers.get('location') ?? '');
  expect(await log.text()).toBe('Error: 1 != 2\n');
}

/** What people do that the API of the App cannot. */
async function byPeople(here: Stage, shop: RepositoryHandle, pull: number): Promise<void> {
  const alice = new Octokit({ baseUrl: `${here.standIn.url}/api/v3`, auth: here.standIn.userToken('alice') });
  expect((await alice.rest.users.getAuthenticated()).data.login).toBe('alice');
  await shop.update(pull, { state: 'closed', author: 'alice' });
  await shop.update(pull, { state: 'open', author: 'alice' });
  await shop.addLabel(pull, 'agent', 'alice');
  await shop.removeLabel(pull, 'agent', 'alice');
  await shop.commit({ branch: 'fix', message: 'test: add', files: { 'test.js': 'x\n' }, author: 'alice' });
  await shop.setDraft(pull, false, 'alice');
  await shop.setDraft(pull, true, 'alice');
  await shop.setDraft(pull, false, 'alice');
  await shop.merge(pull, 'alice');
  expect(shop.thread(pull)).toMatchObject({ state: 'closed', pull: { mergedBy: 'alice' } });
  const other = await here.standIn.createRepository({ owner: REPO.owner, name: 'other', files: { a: 'b' } });
  other.uninstall();
  shop.setSuspended(true);
  shop.setSuspended(false);
  here.standIn.webhooks.ping();
}

async function fromManifest({ standIn }: Stage): Promise<void> {
  const code = standIn.manifestCode();
  const nobody = new Octokit({ baseUrl: `${standIn.url}/api/v3` });
  const { data } = await nobody.rest.apps.createFromManifest({ code });
  const digest = (pem: string): string => createHash('sha256').update(pem).digest('hex');
  expect([data.id, digest(data.pem)]).toEqual([standIn.app.id, digest(standIn.app.privateKeyPem)]);
}

test("every operation and every webhook is in accordance with GitHub's own description", async () => {
  const permissions = {
    actions: 'read',
    checks: 'write',
    contents: 'write',
    issues: 'write',
    members: 'read',
    metadata: 'read',
    pull_requests: 'write',
    statuses: 'read',
  } as const;
  const events = [
    'check_run',
    'check_suite',
    'issue_comment',
    'issues',
    'pull_request',
    'pull_request_review',
    'pull_request_review_comment',
    'push',
    'workflow_run',
  ];
  await using here = await stage({ app: { permissions, events } });
  const shop = await repository(here);
  await asApp(here);
  await onTeams(here);
  const base = await onGit(here);
  await onIssues(here);
  await onContents(here, base);
  const { number, sha } = await onPull(here, shop, base);
  await onReviews(here, shop, number);
  await onChecks(here, shop, sha);
  await onActions(here, shop, sha);
  await byPeople(here, shop, number);
  await fromManifest(here);
  const { rest } = await here.octokit();
  await rest.apps.revokeInstallationAccessToken();
  shop.deleteInstallation();
  await here.standIn.webhooks.idle();

  expect(here.standIn.violations).toEqual([]);
  const called = new Set(here.standIn.requests.map((one) => one.operationId));
  expect(operationIds.filter((id) => !called.has(id))).toEqual([]);
  const sent = new Set(
    here.receiver.received.map((one) => schemaName(one.event, (one.payload['action'] ?? null) as string | null)),
  );
  const unsent = webhookNames.filter((name) => !sent.has(name));
  expect(unsent).toEqual([]);
}, 180_000);
