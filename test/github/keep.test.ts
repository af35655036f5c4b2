import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parsePolicy } from '../../src/config/policy-file.ts';
import { keepAllowed } from '../../src/main/keep-allowed.ts';
import type { KeptFacts } from '../../src/policy/markdown/allow.ts';
import type { KeepAllowed } from '../../src/run/trigger/ports.ts';
import { active, invisible, render } from '../policy/rendered.ts';
import { trigger } from '../queue/requests.ts';
import { branch, stage, type Stage } from './stage.ts';

const FILE = '.github/cofferdam.yml';
const policy = parsePolicy(
  'egress: { allow: [], mayAdd: [pip, { host: "*.docs.test", methods: [GET, HEAD, POST] }] }',
  'p',
);

let here: Stage;
let keep: KeepAllowed;
let recorded: string[];

beforeEach(async () => {
  here = await stage();
  recorded = [];
  const installation = { policy, agents: ['opencode'] };
  keep = keepAllowed({ repository: () => here.repository, installation });
});
afterEach(() => here[Symbol.asyncDispose]());

function asked(name: string, methods = ['GET', 'HEAD']): Promise<KeptFacts> {
  const one = trigger({ deliveryId: 'd' });
  const entry = name === 'pip' ? 'pip' : { host: name, methods };
  const source = { ...one.source, number: 7, url: `${here.shop.page}/issues/7` };
  const on = { ...one, repo: { ...one.repo, defaultBranch: 'main' }, actor: { ...one.actor, login: 'alice' }, source };
  const record = (made: string) => (recorded.push(made), Promise.resolve());
  return keep({ trigger: on, name, entry: entry, record });
}

describe('a host that was allowed for one run', () => {
  it('is offered for all of them in a pull request that changes nothing else', async () => {
    const before = '# ours\nverify: [npm test] # all\negress:\n  allow:\n    - pip # python\n';
    await here.shop.commit({ branch: 'main', message: 'Settings', files: { [FILE]: before } });
    const kept = await asked('a.docs.test');
    expect(kept).toMatchObject({ kind: 'opened' });
    const [pull] = here.shop.pulls();
    expect(pull?.pull).toMatchObject({ headRef: 'cofferdam/allow-a.docs.test', baseRef: 'main' });
    expect(recorded).toEqual(['cofferdam/allow-a.docs.test']);
    expect(await here.shop.files(pull?.number ?? 0)).toMatchObject([{ filename: FILE, additions: 1, deletions: 0 }]);
    const text = (await here.shop.file(FILE, pull?.pull.headRef))?.toString();
    expect(text).toBe(`${before}    - { host: a.docs.test, methods: [GET, HEAD] }\n`);
    expect(pull?.title).toBe('chore: let runs of the agent reach a.docs.test');
    expect(pull?.body).toContain('`alice` let one run reach `a.docs.test`, on [issue 7]');
    const [commit] = await here.shop.log(pull?.pull.headRef);
    expect(commit?.author.name).toBe('cofferdam[bot]');
    expect(commit?.message).toContain('Asked for by alice.');
    const links = [/<a href="http:\/\/127\.0\.0\.1:\d+\/octo-owner\/shop\/issues\/7">|<\/a>/g];
    expect([active(render(pull?.body ?? ''), links), invisible(pull?.body ?? '')]).toEqual([[], []]);
  });

  it('makes the file where there is none, once, one for each host', async () => {
    expect(await asked('pip')).toMatchObject({ kind: 'opened' });
    expect(await asked('pip')).toMatchObject({ kind: 'open', pull: { number: here.shop.pulls()[0]?.number } });
    expect(await asked('b.docs.test')).toMatchObject({ kind: 'opened' });
    expect(here.shop.pulls()).toHaveLength(2);
    expect((await here.shop.file(FILE, 'cofferdam/allow-pip'))?.toString()).toBe('egress:\n  allow:\n    - pip\n');
    expect(await here.shop.file(FILE, 'main')).toBeUndefined();
  });

  it('goes on with what an attempt before left, and from the newest base', async () => {
    branch(here.shop, 'cofferdam/allow-pip');
    await here.shop.commit({ branch: 'main', message: 'x', files: { 'later.txt': 'x\n' } });
    expect(await asked('pip')).toMatchObject({ kind: 'opened' });
    expect(await here.shop.files(here.shop.pulls()[0]?.number ?? 0)).toMatchObject([{ filename: FILE }]);
    expect(
      (await here.shop.log('cofferdam/allow-pip')).map(({ message }) => message.split('\n')[0]).slice(1, 2),
    ).toEqual(['x']);
  });

  it('is there when it is merged, and not asked for again when people closed it', async () => {
    await asked('pip');
    const [first] = here.shop.pulls();
    await here.shop.merge(first?.number ?? 0, 'alice');
    expect(await asked('pip')).toEqual({ kind: 'there' });
    await asked('a.docs.test');
    const second = here.shop.pulls().find(({ state }) => state === 'open');
    await here.shop.update(second?.number ?? 0, { state: 'closed' });
    expect(await asked('a.docs.test')).toMatchObject({ kind: 'closed', pull: { number: second?.number } });
    expect(here.shop.pulls()).toHaveLength(2);
  });

  it('asked for with more methods is added to the pull request that is open, upon what people put there', async () => {
    const before = (await asked('a.docs.test', ['GET'])) as { pull: { number: number } };
    const { pull } = before;
    const name = 'cofferdam/allow-a.docs.test';
    const first = (await here.shop.branches()).get(name);
    const mine = await here.shop.commit({
      branch: name,
      message: 'mine',
      files: { 'note.txt': 'x\n' },
      author: 'alice',
    });
    expect(await asked('a.docs.test', ['POST'])).toMatchObject({ kind: 'widened', pull });
    expect(here.shop.pulls()).toHaveLength(1);
    const methods = '{ host: a.docs.test, methods: [ GET, POST ] }';
    expect((await here.shop.file(FILE, name))?.toString()).toBe(`egress:\n  allow:\n    - ${methods}\n`);
    expect(here.shop.pulls()[0]?.body).toContain('a.docs.test GET POST');
    expect((await here.shop.log(name)).map(({ sha }) => sha).slice(1, 3)).toEqual([mine, first]);
    expect(here.standIn.state.pushes.some(({ ref, forced }) => ref.endsWith(name) && forced)).toBe(false);
    expect(recorded).toEqual([name, name]);
    // Once: asked again, there is nothing to add.
    const last = (await here.shop.branches()).get(name);
    expect(await asked('a.docs.test', ['POST'])).toMatchObject({ kind: 'open', pull });
    expect((await here.shop.branches()).get(name)).toBe(last);
  });

  it('is not added to a pull request whose file people made invalid, nor to one that was closed', async () => {
    await asked('a.docs.test', ['GET']);
    const name = 'cofferdam/allow-a.docs.test';
    await here.shop.commit({ branch: name, message: 'mine', files: { [FILE]: 'a: [\n' }, author: 'alice' });
    const head = (await here.shop.branches()).get(name);
    expect(await asked('a.docs.test', ['POST'])).toMatchObject({ kind: 'cannot' });
    await here.shop.update(here.shop.pulls()[0]?.number ?? 0, { state: 'closed' });
    expect(await asked('a.docs.test', ['POST'])).toMatchObject({ kind: 'closed' });
    expect((await here.shop.branches()).get(name)).toBe(head);
  });

  it.each([
    ['a file that is not valid', { [FILE]: 'verfy: x\n' }, 'unknown key "verfy"'],
    ['a file that is no YAML', { [FILE]: 'a: [\n' }, 'not valid YAML'],
    ['a link', { [FILE]: { mode: '120000' as const, content: '../x' } }, 'not a plain file'],
  ])('writes nothing with %s', async (_what, files, why) => {
    await here.shop.commit({ branch: 'main', message: 'x', files });
    expect(await asked('pip')).toEqual({ kind: 'cannot', why: expect.stringContaining(why) as string });
    expect([here.shop.pulls(), recorded, [...(await here.shop.branches()).keys()]]).toEqual([[], [], ['main']]);
  });

  it('and nothing beyond what may be added', async () => {
    expect(await asked('evil.test')).toEqual({ kind: 'cannot', why: expect.stringContaining('mayAdd') as string });
    expect(here.shop.pulls()).toEqual([]);
  });
});
