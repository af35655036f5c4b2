import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import { AuditEvent } from '../../src/domain/audit.ts';
import { demoScript, ISSUE } from '../../src/local/demo/script.ts';
import { PEOPLE, type DemoStage, type RunningProduct } from '../../src/local/demo/stage.ts';
import { incomplete } from '../audit/complete.ts';
import { containersOf } from './containers.ts';
import { openScene, WAIT, workerPid, type Scene } from './scene.ts';

let scene: Scene;
let stage: DemoStage;
let product: RunningProduct;

/** `cofferdam start` waits longer each time before it starts a process again that ends soon: three crashes for each. */
function onItsOwnStage(): void {
  beforeAll(async () => {
    scene = await openScene({
      script: demoScript,
      limits: '{ maxCostUsd: 2, timeoutMinutes: 10, repositoryDailyCostUsd: 50 }',
    });
    stage = scene.stage;
    product = await scene.start();
  });
  afterAll(() => scene[Symbol.asyncDispose]());
}

async function events(runId: string): Promise<AuditEvent[]> {
  const text = await readFile(join(stage.dataDir, 'audit', `${runId}.jsonl`), 'utf8').catch(() => '');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => AuditEvent.parse(JSON.parse(line)));
}

/** The run that its status comment names. */
function runOf(issue: number): string | undefined {
  const body = stage.repository.comments(issue).find((one) => one.viaApp)?.body ?? '';
  return /run `(r[0-9a-z]{12})`/.exec(body)?.[1];
}

/** Kills the worker as soon as this is in the run's audit; resolves with the run. */
async function killAt(issue: number, when: (seen: AuditEvent[]) => boolean): Promise<string> {
  const until = Date.now() + WAIT.timeoutMs;
  for (;;) {
    const runId = runOf(issue);
    if (runId !== undefined && when(await events(runId))) {
      process.kill(await workerPid(product), 'SIGKILL');
      return runId;
    }
    if (Date.now() > until) throw new Error('the point was not reached');
    await sleep(20);
  }
}

function at(step: string, state = 'started'): (seen: AuditEvent[]) => boolean {
  return (seen) =>
    seen.some(({ type, data }) => type === 'run.step' && data['step'] === step && data['state'] === state);
}

type Points = [string, (seen: AuditEvent[]) => boolean][];
const EARLY: Points = [
  ['the repository is fetched', at('mirror')],
  ['the sandbox is started', (seen) => seen.some(({ type }) => type === 'sandbox.create')],
  ['the agent works', (seen) => seen.some(({ type }) => type === 'llm.reserve')],
];
const LATE: Points = [
  ['the result is verified', at('verify')],
  ['the branch is pushed', (seen) => seen.some(({ type }) => type === 'git.push')],
  ['the pull request is there', at('publish', 'done')],
];

describe.each([
  { when: 'before there is a result', points: EARLY },
  { when: 'with a result', points: LATE },
])('CRA-003 kill -9 of the worker, which is started again by itself: $when', ({ points }) => {
  onItsOwnStage();

  it.each(points)('while %s: one comment, at most one pull request, a sealed audit, nothing left', async (_, when) => {
    const { repository, standIn, dataDir } = stage;
    const before = repository.pulls().length;
    const charged = stage.provider?.charged() ?? 0;
    const issue = await repository.openIssue({ ...ISSUE, author: PEOPLE.writer });
    await repository.addLabel(issue.number, 'agent', PEOPLE.writer);
    const runId = await killAt(issue.number, when);
    const [comment, ...more] = await standIn.waitFor(
      () => {
        const ours = repository.comments(issue.number).filter((one) => one.viaApp);
        return ours.some(({ body }) => /^### (?!⏳)/m.test(body)) && ours;
      },
      { ...WAIT, what: 'the end of the run' },
    );
    expect(more).toEqual([]);
    expect(comment?.body).toContain('the worker ended during the step');
    await standIn.waitFor(
      () => repository.reactions({ number: issue.number }).some((one) => one.content === 'confused'),
      WAIT,
    );

    const file = join(dataDir, 'audit', `${runId}.jsonl`);
    const key = await readFile(join(dataDir, 'keys', 'audit.pem.pub'), 'utf8');
    expect(await verifyAuditFile({ file, key })).toMatchObject({ verdict: 'valid' });
    const recovered = (await events(runId)).find(({ type }) => type === 'run.recover');
    expect(recovered?.data).toMatchObject({ why: 'worker_lost' });
    // Each line whose effect nobody can tell is named.
    const unknown = recovered?.data['unknown'] as { line: number; type: string }[];
    const all = await events(runId);
    for (const { line, type } of unknown) expect(all[line - 1]?.type).toBe(type);
    const ids = (wanted: string) => all.flatMap((one) => (one.type === wanted ? [one.data['callId']] : []));
    const unsettled = ids('llm.reserve').filter((id) => !ids('llm.settle').includes(id));
    expect(unknown.filter(({ type }) => type === 'llm.reserve')).toHaveLength(unsettled.length);
    expect(await containersOf(runId)).toEqual([]);
    expect(await readdir(join(dataDir, 'runs')).catch(() => [])).not.toContain(runId);

    const pulls = repository.pulls().slice(before);
    expect(pulls.length).toBeLessThanOrEqual(1);
    if (pulls[0] !== undefined) {
      expect(comment?.body).toContain(`/pull/${pulls[0].number}`);
      const checks = repository.checkRuns(pulls[0].pull.headSha);
      expect(checks.map(({ status, conclusion }) => [status, conclusion])).toEqual([['completed', 'failure']]);
    }
    // What the provider was paid for is counted, for a call that was cut off as its whole reservation.
    expect(Number(recovered?.data['charged'])).toBeGreaterThanOrEqual(0);
    const end = (await events(runId)).find(({ type }) => type === 'run.end');
    const { cost } = end?.data['usage'] as { cost: number };
    expect(cost).toBeGreaterThanOrEqual((stage.provider?.charged() ?? Infinity) - charged);
  });

  it('and what was asked again afterwards is done', async () => {
    const { repository, standIn } = stage;
    const issue = await repository.openIssue({ ...ISSUE, author: PEOPLE.writer });
    repository.comment(issue.number, { body: '/agent', author: PEOPLE.writer });
    const done = await standIn.waitFor(
      () => repository.comments(issue.number).find((one) => one.viaApp && one.body.includes('Done, verified')),
      WAIT,
    );
    expect(done.body).toContain('/pull/');
    expect(standIn.violations).toEqual([]);
    // AUD-015 also for what was cut off: its schema, its chain, and what is unknown.
    expect(await incomplete(stage.dataDir)).toEqual([]);
  });
});
