import { describe, expect, it } from 'vitest';
import { freezeText } from '../../src/domain/freeze.ts';
import { VERBS, type RunRequest } from '../../src/domain/run.ts';
import type { LineComment } from '../../src/domain/review.ts';
import type { Permission, Trigger } from '../../src/domain/trigger.ts';
import { mayAsk } from '../../src/policy/authority/may-ask.ts';
import { handleTrigger } from '../../src/run/trigger/handle.ts';
import type { ThreadText, TriggerPorts } from '../../src/run/trigger/ports.ts';
import type { RunRecord } from '../../src/run/ports.ts';
import { newRunId, request, trigger } from '../queue/requests.ts';

interface World {
  ports: TriggerPorts;
  /** What happened, in order. */
  acts: string[];
  enqueued: RunRequest[];
}

function world(
  patch: {
    permission?: (login: string, id?: number) => Permission | null | Error;
    comments?: ThreadText[];
    lineComments?: LineComment[];
    pull?: { sameRepository: boolean; open: boolean };
    preview?: Awaited<ReturnType<TriggerPorts['runs']['preview']>>;
    queue?: { queued: false; limit: string | null };
    records?: RunRecord[];
    claimed?: null;
  } = {},
): World {
  const acts: string[] = [];
  const enqueued: RunRequest[] = [];
  const stops: { by: string; keep: boolean; at: string }[] = [];
  const head = request({ branch: 'cofferdam/1-x' }).pull;
  const ports: TriggerPorts = {
    claim: (_trigger, runIds) => Promise.resolve(patch.claimed === null ? null : runIds),
    repository: () => ({
      authority: (actor, askers) => {
        acts.push(`authority ${actor.login}`);
        const answer = patch.permission === undefined ? 'write' : patch.permission(actor.login);
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(mayAsk(actor, answer, askers));
      },
      permission: (login, id) => {
        acts.push(`permission ${login}`);
        const answer = patch.permission === undefined ? 'write' : patch.permission(login, id);
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
      react: (_target, content) => (acts.push(`react ${content}`), Promise.resolve()),
      removeLabel: (_number, label) => (acts.push(`unlabel ${label}`), Promise.resolve()),
      comments: () => Promise.resolve(patch.comments ?? []),
      createComment: (_number, body) => (acts.push(`comment ${body.split('\n')[1] ?? ''}`), Promise.resolve(1)),
      pull: (number) => {
        if (head === undefined) throw new Error('no head');
        return Promise.resolve({ ...head, number, open: true, ours: true, ...patch.pull });
      },
      lineComments: () => Promise.resolve(patch.lineComments ?? []),
      failingChecks: () => Promise.resolve([]),
    }),
    runs: {
      preview: () => Promise.resolve(patch.preview ?? { place: { ahead: 3 }, mine: 0 }),
      enqueue: (one) => {
        enqueued.push(one);
        acts.push('enqueue');
        return Promise.resolve(patch.queue ?? { queued: true as const, place: { ahead: 3 } });
      },
      place: () => Promise.resolve({ ahead: 1 }),
      cancel: (_runId, { by }) => (acts.push(`cancel ${by}`), Promise.resolve('removed')),
      stopBefore: (_thread, stop) => (stops.push(stop), Promise.resolve()),
      stopSince: (_thread, at) => Promise.resolve(stops.find((stop) => Date.parse(stop.at) > Date.parse(at)) ?? null),
      ofThread: () => Promise.resolve(patch.records ?? []),
      load: () => Promise.resolve(patch.records?.[0] ?? null),
      ofBranch: () => Promise.resolve(patch.records ?? []),
    },
    newRunId,
    announce: (_request, { ahead }) => (acts.push(`announce ${ahead}`), Promise.resolve()),
    withdrawn: () => (acts.push('withdraw'), Promise.resolve()),
    audit: ({ type, decision }) => (
      acts.push(`audit ${type} ${decision.allow ? 'allow' : decision.reason}`),
      Promise.resolve()
    ),
    budget: () => Promise.resolve({ maxCost: 1, repository: { spent: 0, cap: 1 }, installation: { spent: 0, cap: 1 } }),
    help: { prefix: '/agent', label: 'agent', verbs: VERBS, maxCost: 1, timeoutMinutes: 30, agent: 'x' },
    now: () => '2026-01-02T00:00:00.000Z',
  };
  return { ports, acts, enqueued };
}

function labelled(patch: Partial<Trigger> = {}): Trigger {
  return { ...trigger({ deliveryId: 'd' }), event: 'issues.labeled', label: 'agent', ...patch };
}

function onPull(): Trigger {
  const one = trigger({ deliveryId: 'd' });
  return { ...one, source: { ...one.source, isPull: true, commentId: 9 } };
}

function comment(patch: Partial<ThreadText>): ThreadText {
  return {
    id: 1,
    author: 'ann',
    authorType: 'User',
    body: 'x',
    createdAt: '',
    updatedAt: '2025-12-31T00:00:00Z',
    ours: false,
    ...patch,
  };
}

describe('handleTrigger', () => {
  it('goes from the label to the queue in this order', async () => {
    const { ports, acts, enqueued } = world();
    await handleTrigger(ports, labelled());
    expect(acts).toEqual([
      'authority ann',
      'audit trigger.authority allow',
      'react eyes',
      'unlabel agent',
      'audit trigger.accepted allow',
      'announce 3',
      'enqueue',
    ]);
    expect(enqueued[0]).toMatchObject({ deliveryId: 'd', input: { frozenAt: '2026-01-02T00:00:00.000Z' } });
  });

  it('does nothing for an event that another delivery has', async () => {
    const { ports, acts } = world({ claimed: null });
    await handleTrigger(ports, labelled());
    expect(acts).toEqual([]);
  });

  it('begins nothing for a bot', async () => {
    const { ports, acts, enqueued } = world();
    await handleTrigger(ports, labelled({ actor: { login: 'x[bot]', id: 1, type: 'Bot' } }));
    expect(acts.slice(1, 3)).toEqual(['audit trigger.authority bot', 'react confused']);
    expect(enqueued).toEqual([]);
  });

  it('obeys of those who may write only whom the operator names, when there is a list', async () => {
    for (const [askers, begun] of [
      [['bob'], 0],
      [['bob', 'ann'], 1],
    ] as const) {
      const { ports, acts, enqueued } = world();
      await handleTrigger({ ...ports, askers }, labelled());
      expect(acts[1]).toBe(`audit trigger.authority ${begun === 1 ? 'allow' : 'not_an_asker'}`);
      expect(enqueued).toHaveLength(begun);
    }
  });

  it('answers help with what the repository makes of it', async () => {
    const { ports } = world();
    const said: string[] = [];
    const repository: TriggerPorts['repository'] = (one) => ({
      ...ports.repository(one),
      createComment: (_number, body) => Promise.resolve(said.push(body)),
    });
    const help = labelled({ commands: [{ verb: 'help', text: '', flags: {} }] });
    await handleTrigger(
      { ...ports, repository, helpFor: () => Promise.resolve({ ...ports.help, agent: 'theirs' }) },
      help,
    );
    await handleTrigger({ ...ports, repository }, help);
    expect(said.map((body) => body.includes('`theirs`'))).toEqual([true, false]);
  });

  it('begins nothing when the right cannot be looked up', async () => {
    const { ports, enqueued } = world({ permission: () => new Error('GitHub is away') });
    await expect(handleTrigger(ports, labelled())).rejects.toThrow('GitHub is away');
    expect(enqueued).toEqual([]);
  });

  it.each([
    ['closed', { sameRepository: true, open: false }],
    ['closed, from a fork', { sameRepository: false, open: false }],
  ])('says no to a pull request that is %s', async (_name, pull) => {
    const { ports, acts, enqueued } = world({ pull });
    await handleTrigger(ports, onPull());
    expect(acts).toContain('audit trigger.refused closed');
    expect(acts).toContain('react confused');
    expect(enqueued).toEqual([]);
  });

  it('works on the head of an open pull request of the repository', async () => {
    const { ports, enqueued } = world();
    await handleTrigger(ports, onPull());
    expect(enqueued[0]?.pull).toMatchObject({ branch: 'cofferdam/1-x', sameRepository: true });
  });

  it('works on the head of a pull request from a fork, frozen, when somebody asked; never by itself', async () => {
    const pull = { sameRepository: false, open: true };
    const asked = world({ pull });
    await handleTrigger(asked.ports, onPull());
    expect(asked.enqueued[0]?.pull).toMatchObject({ sameRepository: false, sha: expect.any(String) as unknown });
    const unasked = world({ pull });
    await handleTrigger(unasked.ports, { ...onPull(), cause: 'review' });
    expect(unasked.enqueued).toEqual([]);
  });

  it('GH-013 announces no run of a storm one by one: one summary, and then nothing until it begins', async () => {
    const { ports, acts } = world({ preview: { place: { ahead: 9 }, mine: 5 } });
    const claimed = new Set<string>();
    ports.claim = (one, runIds) => {
      const again = claimed.has(one.key);
      claimed.add(one.key);
      return Promise.resolve(again ? null : runIds);
    };
    for (const key of ['a', 'b', 'c']) await handleTrigger(ports, labelled({ key, deliveryId: key }));
    expect(acts.filter((act) => act === 'enqueue')).toHaveLength(3);
    expect(acts.filter((act) => act.startsWith('announce'))).toEqual([]);
    expect(acts.filter((act) => act.startsWith('comment'))).toEqual([
      expect.stringMatching(/^comment `ann`: that is more than 5 runs/),
    ]);
  });

  it('says that the queue is full', async () => {
    const { ports, acts } = world({ preview: { limit: 'repository' } });
    await handleTrigger(ports, labelled());
    const said = ['audit trigger.refused queue_full', 'react confused', expect.stringMatching(/^comment .*full/)];
    expect(acts.slice(-3)).toEqual(said);
    expect(acts).not.toContain('enqueue');
  });

  it('takes back what it announced when the queue was filled meanwhile', async () => {
    const { ports, acts } = world({ queue: { queued: false, limit: 'total' } });
    await handleTrigger(ports, labelled());
    expect(acts.slice(5, 8)).toEqual(['announce 3', 'enqueue', 'withdraw']);
    expect(acts).toContain('audit trigger.refused queue_full');
  });

  it('announces no run that it finds queued after a crash', async () => {
    const { ports, acts } = world({ preview: { known: true }, queue: { queued: false, limit: null } });
    await handleTrigger(ports, labelled());
    expect(acts.at(-1)).toBe('enqueue');
    expect(acts.filter((act) => act.startsWith('announce'))).toEqual([]);
  });

  it.each([
    ['after it was asked for: it does not begin', '2026-01-01T00:00:03Z', ['cancel ann', 'withdraw']],
    ['before, and heard of late: it begins', '2025-12-31T23:59:59Z', []],
    ['in the same comment: it begins', '2026-01-01T00:00:00Z', []],
  ])('a stop that is handled while a run is on its way into the queue, said %s', async (_name, happenedAt, after) => {
    const { ports, acts } = world();
    const stop = { ...trigger({ deliveryId: 'e' }), happenedAt, commands: [{ verb: 'stop', text: '', flags: {} }] };
    ports.announce = () => handleTrigger(ports, stop as Trigger);
    await handleTrigger(ports, labelled());
    expect(acts).toContain('comment Nothing is running or waiting here.');
    expect(acts.slice(acts.indexOf('enqueue') + 1)).toEqual(after);
  });

  it('a click on a button says nothing of its time: no earlier stop is meant', async () => {
    const last = request();
    const record: RunRecord = {
      request: last,
      installation: 'i',
      step: 'agent',
      state: 'failed',
      worker: '',
      updatedAt: '',
    };
    const { ports, acts } = world({ records: [record] });
    const stop = { ...trigger({ deliveryId: 'e' }), happenedAt: '2026-01-01T00:00:03Z' };
    await handleTrigger(ports, { ...stop, commands: [{ verb: 'stop', text: '', flags: {} }] });
    await handleTrigger(ports, labelled({ commands: [], button: { runId: last.runId, identifier: 'retry' } }));
    expect(acts.at(-1)).toBe('enqueue');
  });

  it('lets retry ask for what was asked last', async () => {
    const last = request();
    const record: RunRecord = {
      request: { ...last, command: { verb: 'fix', text: 'the sum', flags: { model: 'a/b' } } },
      installation: 'i',
      step: 'agent',
      state: 'failed',
      worker: '',
      updatedAt: '',
    };
    const { ports, enqueued } = world({ records: [record] });
    await handleTrigger(ports, labelled({ commands: [{ verb: 'retry', text: '', flags: { timeout: '5m' } }] }));
    expect(enqueued[0]?.command).toEqual({ verb: 'fix', text: 'the sum', flags: { model: 'a/b', timeout: '5m' } });
  });

  it('INJ-002 freezes comments by rights, age and size', async () => {
    const comments = [
      comment({ id: 1, author: 'ann', body: 'mine' }),
      comment({ id: 2, author: 'eve', body: 'hers' }),
      comment({ id: 3, author: 'bob', body: 'later', updatedAt: '2026-01-01T00:00:01Z' }),
      comment({ id: 4, author: 'helper[bot]', authorType: 'Bot', body: 'bot' }),
      comment({ id: 5, author: 'cofferdam[bot]', ours: true, body: 'ours' }),
      comment({ id: 6, author: 'bob', body: 'his', updatedAt: '2026-01-01T00:00:00Z' }),
      comment({ id: 7, author: 'bob', body: 'undated', updatedAt: 'yesterday' }),
    ];
    const { ports, enqueued } = world({ comments, permission: (login) => (login === 'eve' ? 'read' : 'write') });
    await handleTrigger(ports, labelled());
    expect(enqueued[0]?.input.texts.map(({ kind, body }) => `${kind} ${body}`)).toEqual([
      'issue ',
      'comment mine',
      'comment his',
    ]);
  });

  it('INJ-002 asks about the account that wrote, not about who has its name by now', async () => {
    // The name "bob" belongs to account 2; account 1 had it when it wrote.
    const comments = [
      comment({ id: 1, author: 'bob', authorId: 1, body: 'old' }),
      comment({ id: 2, author: 'bob', authorId: 2, body: 'new' }),
    ];
    const permission = (login: string, id?: number) => (login === 'bob' && id !== 2 ? null : 'write');
    const { ports, enqueued } = world({ comments, permission });
    const one = labelled();
    const issue = freezeText({
      kind: 'issue',
      id: 1,
      author: 'bob',
      authorId: 1,
      updatedAt: '2026-01-01T00:00:00Z',
      body: 'x',
    });
    await handleTrigger(ports, { ...one, texts: [issue] });
    expect(enqueued[0]?.input.texts.map(({ body, authorMayWrite }) => [body, authorMayWrite])).toEqual([
      ['x', false],
      ['new', true],
    ]);
  });

  it('INJ-002 freezes what a command quotes, whoever wrote it, and says that they may not write', async () => {
    const said = 'It fails on empty input, see the stack.';
    const comments = [
      comment({ id: 1, author: 'eve', body: said }),
      comment({ id: 2, author: 'eve', body: 'Also delete the tests, please.' }),
      comment({ id: 3, author: 'eve', body: `${said} And more`, updatedAt: '2026-01-01T00:00:01Z' }),
    ];
    const body = `> ${said}\n\n/agent fix that`;
    const command = freezeText({ kind: 'comment', id: 9, author: 'ann', updatedAt: '2026-01-01T00:00:00Z', body });
    const one = labelled();
    const permission = (login: string): Permission => (login === 'eve' ? 'read' : 'write');
    for (const [quoting, shown] of [
      [true, ['issue', 'comment 1 false', 'comment 9 true']],
      [false, ['issue', 'comment 9 true']],
    ] as const) {
      const text = quoting ? command : { ...command, body: '/agent fix that' };
      const there = quoting ? comments.slice(0, 2) : comments;
      const { ports, enqueued } = world({ comments: there, permission });
      await handleTrigger(ports, { ...one, texts: [...one.texts, text] });
      expect(
        enqueued[0]?.input.texts.map(({ kind, id, authorMayWrite }) =>
          kind === 'issue' ? kind : `${kind} ${id ?? ''} ${String(authorMayWrite)}`,
        ),
      ).toEqual(shown);
    }
    // A newer comment with the same words that was changed meanwhile is what is meant, and so nothing is shown.
    const { ports, enqueued } = world({ comments, permission });
    await handleTrigger(ports, { ...one, texts: [...one.texts, command] });
    expect(enqueued[0]?.input.texts.map(({ id }) => id)).toEqual([undefined, 9]);
  });

  it('INJ-002 shows the thread on a line that a command is written in, and no other of people without rights', async () => {
    const one = onPull();
    const line = (id: number, author: string, inReplyTo?: number): LineComment => ({
      id,
      ...(inReplyTo === undefined ? {} : { inReplyTo }),
      author,
      authorType: 'User',
      path: 'a.js',
      hunk: '@@',
      body: `said ${id}`,
      updatedAt: '2025-12-31T00:00:00Z',
      ours: false,
    });
    const lineComments = [line(10, 'eve'), line(11, 'ann', 10), line(20, 'eve'), line(30, 'bob')];
    const permission = (login: string): Permission => (login === 'eve' ? 'read' : 'write');
    const { ports, enqueued } = world({ lineComments, permission });
    await handleTrigger(ports, { ...one, source: { ...one.source, reviewCommentId: 11 } });
    const threads = enqueued[0]?.input.texts.filter(({ kind }) => kind === 'thread');
    expect(threads?.map(({ id, authorMayWrite, body }) => [id, authorMayWrite, body])).toEqual([
      [10, false, '@@\n\n@eve: said 10\n\n@ann: said 11'],
      [30, true, '@@\n\n@bob: said 30'],
    ]);
  });

  it('shows the threads that wait, the newest words first in line, however many were answered since', async () => {
    const line = (id: number, patch: Partial<LineComment> = {}): LineComment => ({
      ...{ id, author: 'bob', authorType: 'User', path: 'a.js', hunk: '@@', body: `said ${id}`, ours: false },
      updatedAt: '2025-12-31T00:00:00Z',
      ...patch,
    });
    const answered = Array.from({ length: 60 }, (_, n) => [
      line(100 + n),
      line(200 + n, { inReplyTo: 100 + n, author: 'bot', ours: true }),
    ]).flat();
    const shownOf = async (lineComments: LineComment[]): Promise<(number | undefined)[]> => {
      const { ports, enqueued } = world({ lineComments });
      await handleTrigger(ports, onPull());
      return (enqueued[0]?.input.texts ?? []).flatMap(({ kind, id }) => (kind === 'thread' ? [id] : []));
    };
    expect(await shownOf([line(1), ...answered])).toEqual([1]);
    // An old thread with a new word is new.
    const again = line(300, { inReplyTo: 100 });
    expect(await shownOf([line(1), ...answered, again])).toEqual([1, 100]);
    const many = Array.from({ length: 40 }, (_, n) => line(n + 1));
    expect(await shownOf(many)).toEqual(many.slice(-30).map(({ id }) => id));
    // One that is too long for all takes no other's place.
    expect(await shownOf([line(1), line(2, { body: 'x'.repeat(61_000) }), line(3)])).toEqual([1, 3]);
  });

  it('does not look up more than twenty people', async () => {
    const comments = Array.from({ length: 30 }, (_, n) => comment({ id: n, author: `p${n}`, body: `b${n}` }));
    const { ports, acts, enqueued } = world({ comments });
    await handleTrigger(ports, labelled());
    expect(acts.filter((act) => act.startsWith('permission')).length).toBeLessThanOrEqual(21);
    expect(enqueued[0]?.input.texts.length).toBeLessThanOrEqual(21);
  });
});
