/** INJ-002: who asks, by which way, with what: what comes of it, and that nothing else is written to GitHub. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import type { Role } from '../../src/local/github/state.ts';
import { ended, install, oneCommit, type Installation } from '../github/installation.ts';
import { eventually } from '../queue/redis-server.ts';
import { deliver, sign } from '../webhook/deliveries.ts';

const egress = [
  { host: 'a.docs.test', port: 443, allow: false, reason: 'not_allowed', count: 1, bytesIn: 0, bytesOut: 0 },
];

let one: Installation;
let shop: RepositoryHandle;
let fork: RepositoryHandle;
/** The payload of a click, as the stand-in sends one. */
let click: { [key: string]: unknown };

beforeAll(async () => {
  const made = new Set<number>();
  one = await install({
    concurrency: 4,
    mayAdd: [{ host: '*.docs.test', methods: ['GET'] }],
    execute: async (request, publisher, signal) => {
      const { text } = request.command;
      if (text === 'hang') {
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        return { state: 'cancelled' };
      }
      if (text !== 'make' || made.has(request.source.number)) return ended(request, publisher, { state: 'no_change' });
      made.add(request.source.number);
      return oneCommit(one.here, { state: 'verify_failed', egress })(request, publisher, signal);
    },
  });
  shop = one.here.shop;
  fork = await shop.fork('eve');
  const issue = await shop.openIssue({ title: 'first', author: 'alice' });
  shop.comment(issue.number, { body: '/agent make', author: 'alice' });
  await one.settle();
  const [check] = shop.checkRuns();
  shop.clickAction(check?.id ?? 0, 'retry', 'alice');
  await one.settle();
  const sent = one.here.standIn.deliveries.find(({ action }) => action === 'requested_action');
  click = JSON.parse(sent?.request ?? '{}') as typeof click;
});
afterAll(() => one[Symbol.asyncDispose]());

interface Threads {
  name: string;
  issue: () => Promise<number>;
  /** A pull request of this App, made for the person of the row, and the run that made it. */
  own: { number: number; branch: string; head: string; run: string };
  topic: number;
  gift: number;
  /** A run of alice on `topic` that only a stop ends. */
  hanging: () => Promise<string>;
}

async function prepare(name: string): Promise<Threads> {
  const issue = async () => (await shop.openIssue({ title: `for ${name}`, author: 'alice' })).number;
  const asked = await issue();
  const asker = name.endsWith('[bot]') ? 'alice' : name;
  const role = shop.repository.collaborators[asker] ?? 'none';
  shop.setRole(asker, 'write');
  shop.comment(asked, { body: '/agent make', author: asker });
  await one.settle();
  shop.setRole(asker, role);
  const pull = shop.pulls().at(-1);
  const branch = `of-${name.replace(/\W/g, '')}`;
  await shop.commit({ message: 'm', branch, files: { 'b.txt': `${name}\n` }, author: 'bob' });
  const topic = await shop.openPull({ title: 't', head: branch, base: 'main', author: 'bob' });
  await fork.commit({ message: 'm', branch, files: { 'c.txt': `${name}\n` }, author: 'eve' });
  const gift = await shop.openPull({ title: 'g', head: `eve:${branch}`, base: 'main', author: 'eve' });
  await one.settle();
  const number = pull?.number ?? 0;
  const run = one.begun.at(-1)?.runId ?? '';
  return {
    name,
    issue,
    own: { number, branch: pull?.pull.headRef ?? '', head: pull?.pull.headSha ?? '', run },
    topic: topic.number,
    gift: gift.number,
    async hanging() {
      const before = one.begun.length;
      shop.comment(topic.number, { body: '/agent hang', author: 'alice' });
      await eventually(() => one.begun.length > before, 'it hangs');
      return one.begun.at(-1)?.runId ?? '';
    },
  };
}

/** A click as GitHub would send it, whoever that is: the stand-in itself asks for write access before it sends one. */
async function clicks(person: string, options: { run: string; identifier: string; number: number }): Promise<void> {
  const { login, id, type } = one.here.standIn.createUser(person, person.endsWith('[bot]') ? { type: 'Bot' } : {});
  const { check_run: check, sender, ...rest } = click as Record<'check_run' | 'sender', Record<string, unknown>>;
  const body = JSON.stringify({
    ...rest,
    sender: { ...sender, login, id, type },
    requested_action: { identifier: options.identifier },
    check_run: { ...check, external_id: options.run, pull_requests: [{ number: options.number }] },
  });
  const headers = { 'x-hub-signature-256': sign(body, one.secret) };
  expect((await deliver(one.url, { event: 'check_run', body, id: randomUUID(), headers })).status).toBe(202);
}

type Outcome = 'run' | 'answer';
type Way = (person: string, at: Threads, hung: string) => Promise<unknown>;

const comment = (number: number, body: string, author: string) =>
  Promise.resolve(shop.comment(number, { body, author }));

/** Every way to ask, and what comes of it where the person may. Without the right, each is one visible no. */
const WAYS: [string, Outcome, Way][] = [
  ['label agent', 'run', async (who, at) => shop.addLabel(await at.issue(), 'agent', who)],
  ['label agent:plan', 'run', async (who, at) => shop.addLabel(await at.issue(), 'agent:plan', who)],
  ['comment on an issue', 'run', async (who, at) => comment(await at.issue(), '/agent do it', who)],
  [
    'comment on an issue of somebody without access',
    'run',
    async (who) => {
      const { number } = await shop.openIssue({ title: 'x', author: 'eve' });
      return comment(number, '/agent do it', who);
    },
  ],
  ['comment on a pull request', 'run', (who, at) => comment(at.topic, '/agent do it', who)],
  ['comment on a pull request from a fork', 'run', (who, at) => comment(at.gift, '/agent do it', who)],
  [
    'review with a command',
    'run',
    (who, at) => shop.review(at.topic, { state: 'COMMENTED', body: '/agent do it', author: who }),
  ],
  [
    'review that requests changes of our pull request',
    'run',
    (who, at) => shop.review(at.own.number, { state: 'CHANGES_REQUESTED', body: 'No.', author: who }),
  ],
  [
    'command on a line',
    'run',
    (who, at) => shop.reviewComment(at.topic, { path: 'b.txt', line: 1, body: '/agent do it', author: who }),
  ],
  ['button Retry', 'run', (who, at) => clicks(who, { run: at.own.run, identifier: 'retry', number: at.own.number })],
  [
    'button Allow host',
    'run',
    async (who, at) => {
      const check = shop.checkRuns(at.own.head).find(({ externalId }) => externalId === at.own.run);
      const identifier = check?.actions.find(({ label }) => label === 'Allow host')?.identifier ?? '';
      expect(identifier).not.toBe('');
      return clicks(who, { run: at.own.run, identifier, number: at.own.number });
    },
  ],
  [
    'button Publish',
    'answer',
    (who, at) => clicks(who, { run: at.own.run, identifier: `publish:${'0'.repeat(12)}`, number: at.own.number }),
  ],
  ['button Stop', 'answer', (who, at, hung) => clicks(who, { run: hung, identifier: 'stop', number: at.topic })],
];
const RUNS = WAYS.filter(([, outcome]) => outcome === 'run').length;

/** Calls that change something, since the one with this number. */
function writesSince(from: number): { operationId: string | null; body: unknown }[] {
  return one.here.standIn.requests
    .slice(from)
    .filter(({ method, path }) => method !== 'GET' && !path.endsWith('/access_tokens'));
}

async function askEveryWay(name: string, person: string) {
  const at = await prepare(person);
  const hung = await at.hanging();
  const from = { requests: one.here.standIn.requests.length, begun: one.begun.length, audited: one.audited.length };
  const stateOf = async () => (await one.queue.options.records.load(hung as never))?.state;
  return { name, at, hung, from, stateOf };
}

/** Alice ends what hangs; the rest is done then. */
async function release(at: Threads): Promise<void> {
  shop.comment(at.topic, { body: '/agent stop', author: 'alice' });
  await one.settle();
}

describe.each<Role>(['admin', 'maintain', 'write'])('INJ-002 with the role %s', (role) => {
  it('every way of asking is obeyed', async () => {
    const person = `p-${role}`;
    shop.setRole(person, role);
    const { at, hung, from, stateOf } = await askEveryWay(role, person);
    for (const [, , ask] of WAYS) await ask(person, at, hung);
    await one.settle();
    expect(await stateOf()).toBe('cancelled');
    expect(one.begun.slice(from.begun).map(({ actor }) => actor.login)).toEqual(Array(RUNS).fill(person));
    const decisions = one.audited.slice(from.audited).filter(({ type }) => type === 'trigger.authority');
    expect(decisions.map(({ decision }) => decision.allow)).toEqual(Array(WAYS.length).fill(true));
    const before = one.begun.length;
    await shop.reportCi({ sha: at.own.head, branch: at.own.branch, conclusion: 'failure', log: 'no' });
    await one.settle();
    expect(one.begun.slice(before)).toMatchObject([{ cause: 'ci', actor: { login: person } }]);
  });
});

function counted(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

describe.each<[string, Role, boolean]>([
  ['triage', 'triage', false],
  ['read', 'read', false],
  ['no role', 'none', false],
  // GitHub's permission endpoint knows neither a suspended account nor the old name of a renamed one.
  ['write access before the account was suspended or renamed', 'write', true],
])('INJ-002 with %s', (name, role, gone) => {
  it('every way of asking is a visible no, and nothing else is written', async () => {
    const person = `p-${gone ? 'gone' : role}`;
    shop.setRole(person, role);
    const { at, hung, from, stateOf } = await askEveryWay(name, person);
    const unknown = (times: number) => {
      if (gone) one.here.standIn.fault({ operationId: 'repos/get-collaborator-permission-level', status: 404, times });
    };
    unknown(WAYS.length);
    const open = await one.queue.line.open();
    for (const [, , ask] of WAYS) await ask(person, at, hung);
    const refused = () => one.audited.slice(from.audited).filter(({ decision }) => !decision.allow);
    await eventually(() => refused().length === WAYS.length, 'every way is refused', 60_000);
    await one.here.standIn.webhooks.idle();
    expect(refused().map(({ decision }) => decision)).toEqual(
      Array(WAYS.length).fill({ allow: false, rule: 'write access', reason: 'no_write_access' }),
    );
    expect(one.begun).toHaveLength(from.begun);
    expect(await one.queue.line.open()).toEqual(open);
    expect(await stateOf()).toBe('running');
    // A reaction for each, and one comment on each of its threads: three own issues, one of eve's, the pull requests of bob, of eve
    // and of this App, and the issue of the run whose buttons were clicked.
    const written = () => writesSince(from.requests).map(({ operationId }) => operationId ?? '');
    const expected = { reactions: WAYS.length, 'issues/create-comment': 8, 'issues/remove-label': 2 };
    await eventually(() => written().length >= WAYS.length + 10, 'everything is answered', 60_000);
    await one.here.standIn.webhooks.idle();
    expect(counted(written().map((id) => id.replace(/^reactions\/create-.*/, 'reactions')))).toEqual(expected);
    for (const { operationId, body } of writesSince(from.requests)) {
      if (operationId === 'issues/create-comment')
        expect(body).toMatchObject({ body: expect.stringContaining('Only people with write access') as string });
    }
    await release(at);

    const before = one.begun.length;
    unknown(1);
    await shop.reportCi({ sha: at.own.head, branch: at.own.branch, conclusion: 'failure', log: 'no' });
    await one.settle();
    expect(one.begun).toHaveLength(before);
    expect(shop.comments(at.own.number).map(({ body }) => body)).toContainEqual(
      expect.stringContaining('has no write access any more'),
    );
  });
});

describe.each([
  ['another App', 'helper[bot]'],
  ['this App itself', 'cofferdam[bot]'],
])('INJ-002 by %s, with every right', (name, person) => {
  it('every way of asking is met with silence', async () => {
    one.here.standIn.createUser(person, { type: 'Bot' });
    shop.setRole(person, 'admin');
    const { at, hung, from, stateOf } = await askEveryWay(name, person);
    const ways = WAYS.filter(
      ([way]) => person !== 'cofferdam[bot]' || way !== 'review that requests changes of our pull request',
    );
    for (const [, , ask] of ways) await ask(person, at, hung);
    await one.here.standIn.webhooks.idle();
    expect(writesSince(from.requests)).toEqual([]);
    expect(one.begun).toHaveLength(from.begun);
    expect(one.audited).toHaveLength(from.audited);
    expect(await stateOf()).toBe('running');
    await release(at);
  });
});

describe('INJ-002 by what is written', () => {
  const CONTENTS: [string, string, 'run' | 'silence'][] = [
    ['plain', '/agent do it', 'run'],
    ['behind other text', 'I am an admin.\n\n/agent do it', 'run'],
    ['quoted', '> /agent do it', 'silence'],
    ['in a code block', '```\n/agent do it\n```', 'silence'],
    ['indented code', 'See:\n\n    /agent do it', 'silence'],
    ['in an HTML comment', 'Hm.\n<!--\n/agent do it\n-->', 'silence'],
    ['in the middle of a line', 'please /agent do it', 'silence'],
    ['another word that begins like it', '/agentic do it', 'silence'],
  ];
  it.each(CONTENTS)(
    'a command %s counts as it should for a writer, and never for anybody else',
    async (_name, body, outcome) => {
      const begun = one.begun.length;
      const audited = one.audited.length;
      const { number } = await shop.openIssue({ title: 'x', author: 'alice' });
      shop.comment(number, { body, author: 'eve' });
      shop.comment(number, { body, author: 'alice' });
      await one.settle();
      expect(one.begun.slice(begun).map(({ actor }) => actor.login)).toEqual(outcome === 'run' ? ['alice'] : []);
      const decisions = one.audited.slice(audited).filter(({ type }) => type === 'trigger.authority');
      expect(decisions.map(({ decision }) => decision.allow).toSorted()).toEqual(
        outcome === 'run' ? [false, true] : [],
      );
      if (outcome === 'silence') expect(shop.comments(number)).toHaveLength(2);
    },
  );

  it('a command that an edit brought in begins nothing, nor does one that was deleted begin anything twice', async () => {
    const begun = one.begun.length;
    const { number } = await shop.openIssue({ title: 'x', author: 'alice' });
    const { id } = shop.comment(number, { body: 'Hm.', author: 'alice' });
    shop.editComment(id, { body: '/agent do it', author: 'alice' });
    shop.editComment(id, { body: '/agent do it', author: 'octo-owner' });
    await one.settle();
    expect(one.begun).toHaveLength(begun);
    expect(shop.comments(number)).toHaveLength(1);
  });

  it('a name that was given to somebody else since has none of its rights', async () => {
    const begun = one.begun.length;
    const { number } = await shop.openIssue({ title: 'x', author: 'alice' });
    const ids = ['Hm.', 'So.'].map((body) => shop.comment(number, { body, author: 'alice' }).id);
    await one.settle();
    const sent = one.here.standIn.deliveries.findLast(({ event }) => event === 'issue_comment');
    const payload = JSON.parse(sent?.request ?? '{}') as { sender: { id: number }; comment: object };
    for (const [account, expected] of [
      [987_654, 0],
      [payload.sender.id, 1],
    ] as const) {
      const user = { ...payload.sender, id: account };
      const comment = { ...payload.comment, id: ids[expected], user, body: '/agent do it' };
      const body = JSON.stringify({ ...payload, sender: user, comment });
      const headers = { 'x-hub-signature-256': sign(body, one.secret) };
      await deliver(one.url, { event: 'issue_comment', body, id: randomUUID(), headers });
      await one.settle();
      expect(one.begun).toHaveLength(begun + expected);
    }
  });
});

describe('INJ-002 where the operator names teams', () => {
  it.each<[string, boolean, 'active' | 'pending' | null, string | null]>([
    ['a member is obeyed', true, 'active', null],
    ['who has not accepted is not', true, 'pending', 'only people whom the operator named'],
    ['who is in no team is not', true, null, 'only people whom the operator named'],
    ['without the permission a member is told what to grant', false, 'active', '`members: read`'],
  ])('%s', async (_name, granted, standing, refusal) => {
    await using other = await install({
      askers: ['octo-owner/core'],
      ...(granted ? { permissions: { members: 'read' } } : {}),
    });
    other.here.standIn.setTeam('octo-owner', 'core', standing === null ? {} : { alice: standing });
    const { number } = await other.here.shop.openIssue({ title: 'x', author: 'alice' });
    other.here.shop.comment(number, { body: '/agent do it', author: 'alice' });
    await other.here.shop.addLabel(number, 'agent', 'alice');
    await other.settle();
    expect(other.begun).toHaveLength(refusal === null ? 2 : 0);
    const said = other.here.shop.comments(number).map(({ body }) => body);
    expect(said.filter((body) => refusal !== null && body.includes(refusal))).toHaveLength(refusal === null ? 0 : 1);
  });
});
