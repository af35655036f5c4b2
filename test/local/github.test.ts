import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, signatureOf, stage } from './github-support.ts';

const REPO = { owner: 'octo-owner', repo: 'shop' };

test('the walk of one run: label, comment, reaction, clone, push, pull request, check run', async () => {
  await using here = await stage();
  const { standIn } = here;
  const shop = await standIn.createRepository({
    owner: REPO.owner,
    name: REPO.repo,
    files: { 'README.md': '# Shop\n', 'src/add.js': 'exports.add = (a, b) => a - b;\n' },
    collaborators: { alice: 'write' },
    labels: ['agent'],
  });
  const issue = await shop.openIssue({ title: 'add() subtracts', body: 'It should add.', author: 'alice' });
  await shop.addLabel(issue.number, 'agent', 'alice');
  await standIn.webhooks.idle();
  const labeled = here.events('issues').find((one) => one.payload['action'] === 'labeled');
  expect(labeled?.payload).toMatchObject({
    label: { name: 'agent' },
    sender: { login: 'alice' },
    issue: { number: 1 },
  });
  expect(labeled?.signature).toBe(signatureOf(standIn.app.webhookSecret, labeled?.body ?? ''));

  const octokit = await here.octokit();
  const permission = await octokit.rest.repos.getCollaboratorPermissionLevel({ ...REPO, username: 'alice' });
  expect(permission.data.permission).toBe('write');
  await octokit.rest.reactions.createForIssue({ ...REPO, issue_number: 1, content: 'eyes' });
  const comment = await octokit.rest.issues.createComment({ ...REPO, issue_number: 1, body: 'On it.' });
  await octokit.rest.issues.removeLabel({ ...REPO, issue_number: 1, name: 'agent' });

  const token = await here.token({ repositories: [REPO.repo], permissions: { contents: 'write', metadata: 'read' } });
  const clone = join(here.dir, 'clone');
  const remote = shop.cloneUrl.replace('http://', `http://x-access-token:${token}@`);
  await run('git', ['clone', '--quiet', remote, clone]);
  await writeFile(join(clone, 'src', 'add.js'), 'exports.add = (a, b) => a + b;\n');
  const identity = ['-c', 'user.name=bot', '-c', 'user.email=bot@example.com'];
  await run('git', ['-C', clone, 'switch', '--quiet', '-c', 'cofferdam/1-add']);
  await run('git', ['-C', clone, ...identity, 'commit', '--quiet', '-am', 'fix: add adds']);
  await run('git', ['-C', clone, 'push', '--quiet', 'origin', 'cofferdam/1-add']);
  const { stdout } = await run('git', ['-C', clone, 'rev-parse', 'HEAD']);
  const sha = stdout.trim();

  const pull = await octokit.rest.pulls.create({
    ...REPO,
    title: 'fix: add adds',
    body: 'Closes #1',
    head: 'cofferdam/1-add',
    base: 'main',
    draft: true,
  });
  expect(pull.data).toMatchObject({ number: 2, draft: true, commits: 1, changed_files: 1, head: { sha } });
  const check = await octokit.rest.checks.create({ ...REPO, name: 'Cofferdam', head_sha: sha, status: 'in_progress' });
  await octokit.rest.checks.update({
    ...REPO,
    check_run_id: check.data.id,
    conclusion: 'success',
    output: { title: 'done', summary: 'All good.' },
    actions: [{ label: 'Retry', description: 'Run again', identifier: 'retry' }],
  });
  await octokit.rest.issues.updateComment({ ...REPO, comment_id: comment.data.id, body: 'Done: #2' });
  shop.clickAction(check.data.id, 'retry', 'alice');
  await standIn.webhooks.idle();

  expect(here.events('check_run').map((one) => one.payload['action'])).toEqual([
    'created',
    'completed',
    'requested_action',
  ]);
  expect(here.events('issue_comment').map((one) => one.payload['action'])).toEqual(['created', 'edited']);
  expect(here.events('issue_comment')[0]?.payload).toMatchObject({ sender: { login: 'cofferdam[bot]', type: 'Bot' } });
  expect(here.events('push')[0]?.payload).toMatchObject({
    ref: 'refs/heads/cofferdam/1-add',
    after: sha,
    created: true,
  });
  expect(here.events('pull_request')[0]?.payload).toMatchObject({ action: 'opened', number: 2 });
  expect(shop.reactions({ number: 1 }).map((one) => one.content)).toEqual(['eyes']);
  expect(standIn.violations).toEqual([]);
});
