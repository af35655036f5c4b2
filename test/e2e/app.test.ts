import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import { verifyPull } from '../../src/cli/verify-pull.ts';
import { readEnvironment } from '../../src/config/environment.ts';
import { FOLLOW_UP, ISSUE, demoScript } from '../../src/local/demo/script.ts';
import { PEOPLE, type DemoStage, type RunningProduct } from '../../src/local/demo/stage.ts';
import type { CheckRun } from '../../src/local/github/state.ts';
import { incomplete } from '../audit/complete.ts';
import { containersOf } from './containers.ts';
import { eventually } from '../queue/redis-server.ts';
import { openScene, WAIT, workerPid, type Scene } from './scene.ts';

let scene: Scene;
let stage: DemoStage;
let product: RunningProduct;

beforeAll(async () => {
  scene = await openScene({ script: demoScript });
  stage = scene.stage;
  const { repository, standIn } = stage;
  // While nobody listens: a worker that starts has GitHub send again what failed.
  const { number } = await repository.openIssue({ ...ISSUE, author: PEOPLE.reader });
  await repository.addLabel(number, 'agent', PEOPLE.writer);
  await standIn.webhooks.idle();
  expect(standIn.deliveries.map(({ statusCode }) => statusCode)).not.toContain(202);
  product = await scene.start();
});
afterAll(() => scene[Symbol.asyncDispose]());

function completed(sha: string): CheckRun | undefined {
  return stage.repository.checkRuns(sha).find((run) => run.status === 'completed');
}

async function auditOf(runId: string): Promise<string> {
  return readFile(join(stage.dataDir, 'audit', `${runId}.jsonl`), 'utf8');
}

describe('the GitHub App, from the label to the pull request', () => {
  it('a label by somebody who may write, put on while nobody listened: draft pull request, check run, one comment, nothing left', async () => {
    const { repository, standIn } = stage;
    const [issue = { number: 0 }] = repository.issues();
    const pull = await standIn.waitFor(() => repository.pulls()[0], { ...WAIT, what: 'the pull request' });
    const check = await standIn.waitFor(() => completed(pull.pull.headSha), { ...WAIT, what: 'the check run' });

    expect(check).toMatchObject({ name: 'Cofferdam', conclusion: 'success' });
    expect(pull).toMatchObject({ title: 'fix: parseTime does not understand "1h 30m"', author: standIn.app.bot });
    expect(pull.pull.draft).toBe(true);
    expect(pull.body).toContain(`Fixes #${issue.number}`);
    expect((await repository.files(pull.number)).map(({ filename }) => filename)).toEqual(['src/timer.js']);
    const [comment, ...others] = await standIn.waitFor(
      () =>
        repository.comments(issue.number)[0]?.body.includes('Done, verified') === true &&
        repository.comments(issue.number),
      WAIT,
    );
    expect(others).toEqual([]);
    expect(comment?.body).toContain('telemetry.example.com');
    // The self-test's own attempts are not the task's.
    expect(comment?.body).not.toContain('169.254.169.254');
    expect(repository.thread(issue.number).labels).toEqual([]);
    const reactions = (): string[] => repository.reactions({ number: issue.number }).map(({ content }) => content);
    await standIn.waitFor(() => reactions().length > 1, WAIT);
    expect(reactions()).toEqual(['eyes', 'rocket']);

    const [commit] = await repository.log(pull.pull.headRef);
    const runId = /^Cofferdam-Run: (\S+)$/m.exec(commit?.message ?? '')?.[1] ?? '';
    const checkpoint = /^Cofferdam-Audit: (\S+)$/m.exec(commit?.message ?? '')?.[1];
    expect(commit?.message).toContain(`Co-authored-by: ${PEOPLE.writer} <`);
    // By the number of the account GitHub knows whose commit it is.
    const { login, id } = standIn.createUser(standIn.app.bot);
    expect(commit?.author).toMatchObject({ name: login, email: expect.stringMatching(`^${id}\\+`) as string });
    const file = join(stage.dataDir, 'audit', `${runId}.jsonl`);
    const key = await readFile(join(stage.dataDir, 'keys', 'audit.pem.pub'), 'utf8');
    const verified = await verifyAuditFile({ file, key });
    expect(verified).toMatchObject({ verdict: 'valid', subject: { pull: pull.number, commit: pull.pull.headSha } });
    expect(verified.checkpoints).toContain(checkpoint);
    expect(check.summary).toContain(verified.head);
    expect(await readdir(join(stage.dataDir, 'runs'))).toEqual([]);
    expect(await containersOf(runId)).toEqual([]);
  });

  it('a command on the pull request adds a commit to the same branch, never a force-push', async () => {
    const { repository, standIn } = stage;
    const [pull] = repository.pulls();
    const before = pull?.pull.headSha ?? '';
    const number = pull?.number ?? 0;
    const asked = repository.comment(number, { body: `/agent ${FOLLOW_UP}`, author: PEOPLE.writer });
    const head = await standIn.waitFor(
      () => repository.pulls().find((one) => one.number === number && one.pull.headSha !== before)?.pull.headSha,
      { ...WAIT, what: 'the second commit' },
    );
    await standIn.waitFor(() => completed(head), WAIT);
    expect(repository.pulls()).toHaveLength(1);
    const [commit] = await repository.log(pull?.pull.headRef);
    expect(commit?.parents).toEqual([before]);
    expect((await repository.files(number)).map(({ filename }) => filename)).toEqual(
      expect.arrayContaining(['README.md', 'src/timer.js', 'test/timer.test.js']),
    );
    await standIn.waitFor(
      () => repository.reactions({ commentId: asked.id }).some((one) => one.content === 'rocket'),
      WAIT,
    );
  });

  it('audit, commits and check runs of the pull request agree with each other', async () => {
    const { owner, name } = stage.repository.repository;
    const number = stage.repository.pulls()[0]?.number ?? 0;
    const key = await readFile(join(stage.dataDir, 'keys', 'audit.pem.pub'), 'utf8');
    const verified = await verifyPull({ pull: { owner, name, number }, environment: readEnvironment(stage.env), key });
    expect(verified.compared.map(({ verdict, problems }) => ({ verdict, problems }))).toEqual([
      { verdict: 'valid', problems: [] },
      { verdict: 'valid', problems: [] },
    ]);
    expect(verified.exitCode).toBe(0);
  });

  it('a plan is words in the comment, and nothing of what the agent changed is pushed', async () => {
    const { repository, standIn } = stage;
    const issue = await repository.openIssue({ title: 'Parse several units', author: PEOPLE.reader });
    const branches = await repository.branches();
    const pulls = repository.pulls().length;
    repository.comment(issue.number, { body: '/agent plan', author: PEOPLE.writer });
    const plan = await standIn.waitFor(
      () => repository.comments(issue.number).find((one) => one.body.includes('📋 A plan; nothing was changed')),
      { ...WAIT, what: 'the plan' },
    );
    // The scripted agent edits files here as always, and ends with these words.
    expect(plan.body).toContain('now splits the text into numbers with units');
    expect(await repository.branches()).toEqual(branches);
    expect(repository.pulls()).toHaveLength(pulls);
  });

  it('somebody who may only read is told no, once, and nothing runs', async () => {
    const { repository, standIn } = stage;
    const issue = await repository.openIssue({
      title: 'Print the environment',
      body: 'and post it',
      author: PEOPLE.reader,
    });
    const calls = stage.provider?.calls.length;
    const asked = repository.comment(issue.number, { body: '/agent do it', author: PEOPLE.reader });
    await standIn.waitFor(() => repository.comments(issue.number).find((one) => one.author === standIn.app.bot), WAIT);
    repository.comment(issue.number, { body: '/agent do it now', author: PEOPLE.reader });
    const second = repository.comments(issue.number).at(-1);
    await standIn.waitFor(() => repository.reactions({ commentId: second?.id ?? 0 })[0], WAIT);
    await standIn.waitFor(() => repository.reactions({ commentId: asked.id })[0], WAIT);
    const answers = repository.comments(issue.number).filter((one) => one.author === standIn.app.bot);
    expect(answers).toHaveLength(1);
    expect(answers[0]?.body).toContain('write access');
    expect(repository.reactions({ commentId: asked.id }).map(({ content }) => content)).toEqual(['confused']);
    expect(stage.provider?.calls).toHaveLength(calls ?? -1);
  });

  it('an installation that is suspended in the middle of a run: nothing is pushed, and people are told when it is resumed', async () => {
    const { repository, standIn, dataDir } = stage;
    const branches = await repository.branches();
    const issue = await repository.openIssue({ ...ISSUE, author: PEOPLE.reader });
    const calls = stage.provider?.calls.length ?? 0;
    repository.comment(issue.number, { body: '/agent', author: PEOPLE.writer });
    await eventually(() => (stage.provider?.calls.length ?? 0) > calls, 'the agent works', WAIT.timeoutMs);
    repository.setSuspended(true);
    const untold = (): Promise<string[]> => readdir(join(dataDir, 'untold')).catch(() => []);
    await eventually(async () => (await untold()).some((name) => name.endsWith('.json')), 'it is over', WAIT.timeoutMs);
    const status = (): string => repository.comments(issue.number).find(({ viaApp }) => viaApp)?.body ?? '';
    expect(status()).toContain('⏳');
    repository.setSuspended(false);
    // The next worker tells what this one could not.
    process.kill(await workerPid(product), 'SIGKILL');
    await standIn.waitFor(() => status().includes("The App's installation is suspended"), WAIT);
    expect(status()).toContain('The change is not lost:');
    expect(repository.thread(issue.number).labels).toEqual(['agent:failed']);
    await eventually(async () => (await untold()).length === 0, 'it is told once', WAIT.timeoutMs);
    expect(await repository.branches()).toEqual(branches);
  });

  it('keeps its secrets: no key, token or secret is in an audit, a log or anything sent to GitHub', async () => {
    const { standIn } = stage;
    const files = await readdir(join(stage.dataDir, 'audit'));
    const audits = await Promise.all(files.map((file) => readFile(join(stage.dataDir, 'audit', file), 'utf8')));
    const log = await readFile(scene.logFile, 'utf8');
    const said = JSON.stringify([standIn.state.threads, standIn.state.comments, standIn.state.checkRuns]);
    const modelKey = await readFile(join(scene.directory, 'model-key'), 'utf8');
    const tokens = standIn.state.tokens.map(({ token }) => token);
    expect(tokens.length).toBeGreaterThan(2);
    const keyLine = standIn.app.privateKeyPem.split('\n')[3] ?? '';
    for (const secret of [modelKey, standIn.app.webhookSecret, keyLine, ...tokens]) {
      expect(secret.length).toBeGreaterThan(16);
      for (const text of [...audits, log, said]) expect(text.includes(secret)).toBe(false);
    }
    expect(await auditOf(files.map((file) => file.split('.')[0] ?? '')[0] ?? '')).toContain('"seq":0');
  });

  it('AUD-015 recorded all of it as the documentation says: every call that the provider answered, every outcome', async () => {
    expect(await incomplete(stage.dataDir, stage.provider?.calls.length)).toEqual([]);
  });

  it('asked GitHub for nothing that GitHub does not offer', () => {
    expect(stage.standIn.violations).toEqual([]);
  });
});
