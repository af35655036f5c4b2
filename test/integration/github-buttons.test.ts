import { describe, expect, it } from 'vitest';
import { harvesting } from '../github/held.ts';
import { install, oneCommit, type Installation } from '../github/installation.ts';

const egress = ['a.docs.test', 'evil.test'].map((host) => {
  return { host, port: 443, allow: false, reason: 'not_allowed', count: 1, bytesIn: 0, bytesOut: 0 };
});

describe('the buttons of the check run', () => {
  it('retry and allow do what they say, once for each person who may write', async () => {
    await using one: Installation = await install({
      mayAdd: [{ host: '*.docs.test', methods: ['GET'] }],
      execute: (...run) => oneCommit(one.here, { state: 'verify_failed', egress })(...run),
    });
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    shop.comment(issue.number, { body: '/agent fix the sum --max-turns 7', author: 'alice' });
    await one.settle();
    const [check] = shop.checkRuns(shop.pulls()[0]?.pull.headSha);
    expect(check?.actions.map(({ label, description }) => [label, description])).toEqual([
      ['Retry', 'The same request once more'],
      ['Allow host', 'a.docs.test'],
    ]);
    const [retry = '', allow = ''] = check?.actions.map(({ identifier }) => identifier) ?? [];
    const id = check?.id ?? 0;

    shop.setRole('bob', 'write');
    shop.clickAction(id, retry, 'bob');
    shop.setRole('bob', 'read');
    await one.settle();
    expect(one.begun).toHaveLength(1);
    expect(one.audited.at(-1)).toMatchObject({ decision: { allow: false, reason: 'no_write_access' } });

    shop.clickAction(id, retry, 'alice');
    shop.clickAction(id, retry, 'alice');
    await one.settle();
    shop.clickAction(id, allow, 'alice');
    await one.settle();
    expect(one.begun.map(({ command, source }) => [source.number, command])).toEqual([
      [issue.number, { verb: 'fix', text: 'the sum', flags: { 'max-turns': '7' } }],
      [issue.number, { verb: 'fix', text: 'the sum', flags: { 'max-turns': '7' } }],
      [issue.number, { verb: 'fix', text: 'the sum', flags: { 'max-turns': '7', allow: 'a.docs.test' } }],
    ]);
    expect(one.begun[1]?.input.texts.map(({ sha256 }) => sha256)).toEqual(
      one.begun[0]?.input.texts.map(({ sha256 }) => sha256),
    );
  });

  it('publish lets exactly the diff go that the button names', async () => {
    let hold: 'never' | 'always' = 'never';
    let turn = 0;
    await using one: Installation = await install({
      execute: (...run) =>
        harvesting(one.here, () => one.held, { files: () => ({ 'a.txt': `${(turn += 1)}\n` }), hold })(...run),
    });
    const { shop } = one.here;
    const issue = await shop.openIssue({ title: 'T', author: 'alice' });
    await shop.addLabel(issue.number, 'agent', 'alice');
    await one.settle();
    const pull = () => shop.pulls()[0];
    const head = pull()?.pull.headSha;
    hold = 'always';
    shop.comment(pull()?.number ?? 0, { body: '/agent more', author: 'alice' });
    await one.settle();
    expect(pull()?.pull.headSha).toBe(head);
    const check = shop.checkRuns(head).find(({ actions }) => actions.length > 0);
    const kept = await one.held.load(one.begun[1]?.runId as never);
    const hash = kept?.held.diffHash.slice('sha256:'.length, 'sha256:'.length + 12);
    expect(check?.actions.map(({ identifier }) => identifier)).toEqual([`publish:${hash}`, 'retry']);
    shop.clickAction(check?.id ?? 0, `publish:${hash}`, 'alice');
    await one.settle();
    expect(pull()?.pull.headSha).toBe(kept?.harvest.commit);
    const approved = one.audited.filter(({ type }) => type === 'publish.approved');
    expect(approved).toMatchObject([{ data: { diffHash: kept?.held.diffHash } }]);
  });
});
