import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PEOPLE, type DemoStage } from '../../src/local/demo/stage.ts';
import type { Script } from '../../src/local/provider/script.ts';
import { incomplete } from '../audit/complete.ts';
import { eventually } from '../queue/redis-server.ts';
import { openScene, WAIT, type Scene } from './scene.ts';

let scene: Scene;
let stage: DemoStage;

const LEFT = 'the file is there';

/** Does what the task's title says, for ever; one that goes on leaves another file and ends. */
const hostile: Script = (call) => {
  if (!call.main) return { text: 'title' };
  if (call.texts.some((text) => text.includes('Go on with the work'))) {
    const args = { command: 'echo x > more.txt', description: 'go on' };
    return call.rounds === 0 ? { text: 'more', calls: [{ name: 'bash', args }] } : { text: 'The rest is there now.' };
  }
  const leaves = call.texts.some((text) => text.includes('leave something'));
  if (leaves && call.rounds === 0) {
    const command = `echo x > left.txt; echo "${LEFT.replace('the', 'th')}" | sed s/th/the/`;
    return { text: 'more', calls: [{ name: 'bash', args: { command, description: 'leave' } }] };
  }
  const sleeps = call.texts.some((text) => text.includes('sleep for ever'));
  const command = sleeps ? 'trap "" TERM; sleep 3600' : 'true';
  return { text: 'more', calls: [{ name: 'bash', args: { command, description: 'go on', timeout: 3_600_000 } }] };
};

beforeAll(async () => {
  scene = await openScene({ script: hostile, limits: '{ maxCostUsd: 0.3, timeoutMinutes: 10 }' });
  stage = scene.stage;
  await scene.start();
});
afterAll(() => scene[Symbol.asyncDispose]());

interface Ended {
  issue: { number: number };
  said: string;
  reaction: string | undefined;
}

/** What an issue (a new one with this title, unless one is given) says when the run is over, and the reaction to it. */
async function ask(on: string | { number: number }, command = '/agent'): Promise<Ended> {
  const { repository, standIn } = stage;
  const issue = typeof on === 'string' ? await repository.openIssue({ title: on, author: PEOPLE.writer }) : on;
  const { id: commentId } = repository.comment(issue.number, { body: command, author: PEOPLE.writer });
  const reactions = () => repository.reactions({ commentId }).map(({ content }) => content);
  // 👀 is the first; the second comes once the status comment has been settled.
  await standIn.waitFor(() => reactions().length > 1, { ...WAIT, what: 'the end of the run' });
  const end = repository.comments(issue.number).find((one) => one.viaApp && !one.body.includes('### ⏳'));
  expect(repository.comments(issue.number).filter((one) => one.viaApp)).toHaveLength(1);
  return { issue, said: end?.body ?? '', reaction: reactions().at(-1) };
}

describe('limits, as the person who asked sees them', () => {
  it('an agent that spends without end stops at the cap, never above it, and the issue says so', async () => {
    const { issue, said, reaction } = await ask('spend without end');
    expect(said).toContain('Over budget, nothing to deliver');
    expect(said).toContain('$0.30');
    expect(reaction).toBe('confused');
    expect(stage.provider?.charged()).toBeGreaterThan(0);
    expect(stage.provider?.charged()).toBeLessThanOrEqual(300_000);
    // Once more, with the same end: `ask` holds that the thread still has one comment of the App's.
    const again = await ask(issue, '/agent retry --max-cost 0.10');
    expect(again.said).toContain('Over budget, nothing to deliver');
    expect(again.said).toContain('$0.10');
    expect(stage.provider?.charged()).toBeLessThanOrEqual(400_000);
  });

  it('an agent that sleeps for ever ends at the time limit, and the issue says so', async () => {
    const { said, reaction } = await ask('sleep for ever', '/agent run --timeout 45s');
    expect(said).toContain('Out of time, nothing to deliver');
    expect(said).toContain('| 45 s |');
    expect(reaction).toBe('confused');
  });

  it('a run that is stopped to be kept is delivered as a partial draft', async () => {
    const { repository, standIn } = stage;
    const issue = await repository.openIssue({ title: 'leave something and sleep for ever', author: PEOPLE.writer });
    await repository.addLabel(issue.number, 'agent', PEOPLE.writer);
    const calls = () => stage.provider?.calls ?? [];
    await eventually(
      () => calls().some(({ results }) => results.some((text) => text.includes(LEFT))),
      'the file is written',
      WAIT.timeoutMs,
    );
    repository.comment(issue.number, { body: '/agent stop --keep', author: PEOPLE.writer });
    const pull = await standIn.waitFor(() => repository.pulls()[0], { ...WAIT, what: 'the partial draft' });
    expect(pull.pull.draft).toBe(true);
    expect((await repository.files(pull.number)).map(({ filename }) => filename)).toEqual(['left.txt']);
    const end = await standIn.waitFor(
      () => repository.comments(issue.number).find((one) => one.body.includes('🟡 Partial work')),
      WAIT,
    );
    expect(end.body).toContain('somebody stopped it');
    await repository.update(pull.number, { state: 'closed', author: PEOPLE.writer });
  });

  it('work that is there at the cap becomes a partial draft, and continue goes on from it with a new budget', async () => {
    const { repository, standIn } = stage;
    const spent = stage.provider?.charged() ?? 0;
    const issue = await repository.openIssue({ title: 'leave something and spend without end', author: PEOPLE.writer });
    await repository.addLabel(issue.number, 'agent', PEOPLE.writer);
    const pull = await standIn.waitFor(() => repository.pulls()[1], { ...WAIT, what: 'the partial draft' });
    expect(pull.pull.draft).toBe(true);
    const files = async () => (await repository.files(pull.number)).map(({ filename }) => filename);
    expect(await files()).toEqual(['left.txt']);
    const end = await standIn.waitFor(
      () => repository.comments(issue.number).find((one) => one.body.includes('🟡 Partial work')),
      { ...WAIT, what: 'the end of the run' },
    );
    expect(end.body).toContain('$0.30');
    repository.comment(pull.number, { body: '/agent continue +$0.30', author: PEOPLE.writer });
    await standIn.waitFor(
      () => repository.comments(pull.number).find((one) => one.viaApp && !one.body.includes('### ⏳')),
      { ...WAIT, what: 'the end of the second run' },
    );
    expect(await files()).toEqual(['left.txt', 'more.txt']);
    expect(repository.pulls()).toHaveLength(2);
    expect((stage.provider?.charged() ?? 0) - spent).toBeLessThanOrEqual(2 * 300_000);
    await repository.update(pull.number, { state: 'closed', author: PEOPLE.writer });
  });

  it('a provider that is gone is named', async () => {
    await stage.provider?.stop();
    const { said } = await ask('spend without end');
    expect(said).toContain('the model provider cannot be reached');
    expect(said).toContain('/agent retry');
  });

  it('leaves no other pull request and nothing on the host', async () => {
    expect(stage.repository.pulls()).toMatchObject([{ state: 'closed' }, { state: 'closed' }]);
    expect(await readdir(join(stage.dataDir, 'runs')).catch(() => [])).toEqual([]);
    expect(stage.standIn.violations).toEqual([]);
  });

  it('leaves records that are whole: every command, call and effect that began has its end', async () => {
    expect(await incomplete(stage.dataDir)).toEqual([]);
  });
});
