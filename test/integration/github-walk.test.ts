import { describe, expect, it } from 'vitest';
import { eventually } from '../queue/redis-server.ts';
import { ended, install, oneCommit, type Installation } from '../github/installation.ts';

describe('from the label to the pull request', () => {
  it('label → run → pull request → command on it → second commit', async () => {
    await using one = await install();
    const { shop } = one.here;
    const issue = await shop.openIssue({
      title: 'add() subtracts',
      body: 'It should <!-- obey --> add.',
      author: 'eve',
    });
    await shop.addLabel(issue.number, 'agent', 'alice');
    await one.settle();
    expect(shop.thread(issue.number).labels).toEqual([]);
    expect(new Set(shop.reactions({ number: issue.number }).map(({ content }) => content))).toEqual(
      new Set(['eyes', 'rocket']),
    );
    expect(shop.comments(issue.number)).toHaveLength(1);
    const status = shop.comments(issue.number)[0]?.body ?? '';
    expect(status).toContain('Done, verified');
    expect(status).toContain('Hidden content found');
    expect(status).toContain('has no write access');
    expect(shop.pulls()).toHaveLength(1);
    const [pull] = shop.pulls();
    expect(pull).toMatchObject({ pull: { draft: true } });
    expect(shop.checkRuns(pull?.pull.headSha)).toMatchObject([{ conclusion: 'success' }]);
    expect(one.begun[0]?.input.texts).toMatchObject([
      { kind: 'issue', author: 'eve', authorMayWrite: false, body: 'It should <!-- obey --> add.' },
    ]);

    const number = pull?.number ?? 0;
    const first = pull?.pull.headSha;
    const command = shop.comment(number, { body: '/agent rename it too', author: 'alice' });
    await one.settle();
    expect(one.begun).toHaveLength(2);
    expect(one.begun[1]).toMatchObject({
      command: { verb: 'run', text: 'rename it too' },
      pull: { number, sha: first },
    });
    expect(shop.pulls()).toHaveLength(1);
    expect(shop.pulls()[0]?.pull.headSha).not.toBe(first);
    expect(new Set(shop.reactions({ commentId: command.id }).map(({ content }) => content))).toEqual(
      new Set(['eyes', 'rocket']),
    );
    expect(shop.checkRuns(first).map((run) => run.status)).toEqual(['completed', 'completed']);
    expect(one.audited.map(({ type, decision }) => `${type} ${decision.allow}`)).toEqual(
      Array(2).fill(['trigger.authority true', 'trigger.accepted true']).flat(),
    );
  });

  it('answers help, status, budget, slips and what it does not serve, once each', async () => {
    await using one = await install();
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    shop.comment(issue.number, {
      body: '/agent help\n/agent status\n/agent budget\n/agent allow x.test',
      author: 'alice',
    });
    shop.comment(issue.number, { body: '/agent sotp', author: 'alice' });
    await one.settle();
    const answers = shop
      .comments(issue.number)
      .filter(({ author }) => author.endsWith('[bot]'))
      .map(({ body }) => body);
    expect(answers).toHaveLength(5);
    for (const part of [
      'Options:',
      'Nothing was asked for',
      'Today (UTC)',
      'An operator would add under',
      'Did you mean `/agent stop`',
    ]) {
      expect(answers.filter((body) => body.includes(part))).toHaveLength(1);
    }
    expect(one.begun).toEqual([]);
  });

  it('stops a running run and takes a waiting one out of the queue, in front of everybody', async () => {
    await using one = await install({
      execute: (_request, publisher, signal) =>
        new Promise((resolve) => {
          publisher.progress({
            runId: _request.runId,
            step: 'agent',
            state: 'started',
            atMs: 1,
            usage: { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 },
            egress: [],
          });
          signal.addEventListener('abort', () => resolve({ state: 'cancelled' }));
        }),
    });
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    shop.comment(issue.number, { body: '/agent one', author: 'alice' });
    await eventually(() => one.begun.length === 1, 'the run begins');
    shop.comment(issue.number, { body: '/agent two', author: 'alice' });
    await one.here.standIn.waitFor(() =>
      shop.comments(issue.number).some(({ body }) => body.includes('on the same branch is over')),
    );
    shop.comment(issue.number, { body: '/agent stop', author: 'alice' });
    await one.settle();
    expect(one.begun).toHaveLength(1);
    expect(shop.comments(issue.number).some(({ body }) => body.includes('1 running, told to stop; 1 waiting'))).toBe(
      true,
    );
    const records = await one.queue.options.records.ofThread({
      owner: 'octo-owner',
      name: 'shop',
      number: issue.number,
    });
    expect(records.map(({ state }) => state)).toEqual(['cancelled', 'cancelled']);
  });

  it('tells a running run whether to keep what is there', async () => {
    const reasons: unknown[] = [];
    await using one = await install({
      execute: (_request, _publisher, signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason);
            resolve({ state: 'cancelled' });
          });
        }),
    });
    const { shop } = one.here;
    for (const [count, command] of ['/agent stop', '/agent stop --keep'].entries()) {
      const issue = await shop.openIssue({ title: 'T', author: 'alice' });
      shop.comment(issue.number, { body: '/agent one', author: 'alice' });
      await eventually(() => one.begun.length === count + 1, 'the run begins');
      shop.comment(issue.number, { body: command, author: 'eve' });
      await one.here.standIn.waitFor(() => shop.comments(issue.number).at(-1)?.body.includes('write access'));
      expect(reasons).toHaveLength(count);
      shop.comment(issue.number, { body: command, author: 'alice' });
      await one.settle();
    }
    expect(reasons).toMatchObject([
      { by: 'alice', keep: false },
      { by: 'alice', keep: true },
    ]);
  });

  it('a question waits for its answer, and the run with the answer sees both', async () => {
    await using one: Installation = await install({
      execute: (request, publisher, signal) =>
        request.command.verb === 'continue'
          ? oneCommit(one.here)(request, publisher, signal)
          : ended(request, publisher, { state: 'needs_input', agentSummary: 'NEEDS INPUT: which unit?' }),
    });
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    await shop.addLabel(issue.number, 'agent', 'alice');
    await one.settle();
    expect(shop.thread(issue.number).labels).toEqual(['agent:needs-input']);
    const [status] = shop.comments(issue.number);
    expect(status?.body).toContain('✋ Waits for an answer');
    expect(status?.body).toContain('which unit?');
    shop.comment(issue.number, { body: '/agent continue +$0.50 in seconds', author: 'alice' });
    await one.settle();
    expect(one.begun[1]).toMatchObject({ command: { text: 'in seconds', flags: { 'max-cost': '0.50' } } });
    expect(one.begun[1]?.input.texts.at(-1)).toMatchObject({
      kind: 'question',
      body: 'NEEDS INPUT: which unit?',
    });
    expect(shop.pulls()).toHaveLength(1);
    expect(shop.thread(issue.number).labels).toEqual([]);
    shop.comment(issue.number, { body: '/agent run it again', author: 'alice' });
    await one.settle();
    expect(one.begun[2]?.input.texts.map(({ kind }) => kind)).not.toContain('question');
  });

  it('continues on the pull request that an issue led to', async () => {
    await using one = await install();
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    shop.comment(issue.number, { body: '/agent', author: 'alice' });
    await one.settle();
    shop.comment(issue.number, { body: '/agent continue', author: 'alice' });
    await one.settle();
    expect(one.begun[1]?.pull).toMatchObject({ number: shop.pulls()[0]?.number });
    expect(shop.pulls()).toHaveLength(1);
    expect(shop.comments(issue.number).filter(({ author }) => author.endsWith('[bot]'))).toHaveLength(1);
  });

  it('makes a plan for the label that asks for one, and takes it off', async () => {
    await using one = await install({
      execute: (request, publisher) =>
        ended(request, publisher, { state: 'no_change', agentSummary: '1. Split the text.' }),
    });
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    await shop.addLabel(issue.number, 'agent:plan', 'alice');
    await one.settle();
    expect(shop.thread(issue.number).labels).toEqual([]);
    expect(one.begun).toMatchObject([{ command: { verb: 'plan', flags: { plan: 'true' } } }]);
    const [comment] = shop.comments(issue.number);
    for (const part of ['📋 A plan; nothing was changed', '1. Split the text', '`/agent run` does it']) {
      expect(comment?.body).toContain(part);
    }
    expect(comment?.body).not.toContain('--plan');
  });

  it('allows a host for one run, within what the operator lets people add', async () => {
    await using one = await install({ mayAdd: [{ host: '*.docs.test', methods: ['GET'] }] });
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    shop.comment(issue.number, { body: '/agent fix the sum --max-turns 7', author: 'alice' });
    await one.settle();
    for (const body of [
      '/agent allow a.docs.test',
      '/agent allow evil.test POST',
      '/agent allow `x y`',
      '/agent allow',
    ]) {
      shop.comment(issue.number, { body, author: 'alice' });
      await one.settle();
    }
    shop.comment(issue.number, { body: '/agent allow b.docs.test', author: 'eve' });
    await one.settle();
    expect(one.begun.map(({ command }) => command)).toEqual([
      { verb: 'fix', text: 'the sum', flags: { 'max-turns': '7' } },
      { verb: 'fix', text: 'the sum', flags: { 'max-turns': '7', allow: 'a.docs.test' } },
    ]);
    const answers = shop.comments(issue.number).map(({ body }) => body);
    // The offer to keep it: one pull request, named in the answer.
    const offered = shop.pulls().filter(({ pull }) => pull.headRef.startsWith('cofferdam/allow-'));
    expect(offered.map(({ pull }) => pull.headRef)).toEqual(['cofferdam/allow-a.docs.test']);
    expect(answers.filter((body) => body.includes(`merge [pull request ${offered[0]?.number}]`))).toHaveLength(1);
    expect(one.audited.filter(({ type }) => type === 'trigger.keep').map(({ data }) => data['name'])).toEqual([
      'a.docs.test',
    ]);
    expect(answers.filter((body) => body.includes('- { host: "evil.test", methods: [POST] }'))).toHaveLength(1);
    expect(answers.filter((body) => body.includes('with a plain host name'))).toHaveLength(2);
    expect(one.audited.filter(({ type }) => type === 'trigger.allow').map(({ decision }) => decision.allow)).toEqual([
      true,
      false,
    ]);
  });

  it('says no to a closed pull request', async () => {
    await using one = await install();
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    await shop.addLabel(issue.number, 'agent', 'alice');
    await one.settle();
    const number = shop.pulls()[0]?.number ?? 0;
    await shop.update(number, { state: 'closed', author: 'alice' });
    shop.comment(number, { body: '/agent more', author: 'alice' });
    await one.settle();
    expect(one.begun).toHaveLength(1);
    expect(shop.comments(number).at(-1)?.body).toContain('is closed');
    expect(one.audited.at(-1)).toMatchObject({ type: 'trigger.refused', decision: { allow: false, reason: 'closed' } });
  });
});
