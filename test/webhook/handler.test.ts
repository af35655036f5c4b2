import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Trigger } from '../../src/domain/trigger.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { createWebhookHandler } from '../../src/webhook/handler.ts';
import { commented, deliver, labeled, sign } from './deliveries.ts';
import { SECRET } from './deliveries.ts';

const triggers: Trigger[] = [];
let sinkSays: 'accepted' | 'duplicate' | 'full' | Error = 'accepted';
let logged = '';
let server: Server;
let url: string;

beforeAll(async () => {
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged += chunk.toString();
      done();
    },
  });
  const handler = await createWebhookHandler({
    secret: SECRET,
    prefix: '/agent',
    label: 'agent',
    log: createLogger({ level: 'trace', destination }),
    sink: {
      enqueue(trigger) {
        if (sinkSays instanceof Error) return Promise.reject(sinkSays);
        triggers.push(trigger);
        return Promise.resolve(sinkSays);
      },
    },
  });
  server = createServer((request, response) => {
    void handler(request, response).then((taken) => {
      if (!taken) response.writeHead(404).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/github/webhooks`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  triggers.length = 0;
  sinkSays = 'accepted';
  logged = '';
});

describe('what is accepted', () => {
  it('turns a label into a trigger with the frozen text', async () => {
    const payload = labeled({ issue: { title: 'Login fails', body: 'when empty' } });
    expect(await deliver(url, { event: 'issues', body: JSON.stringify(payload), id: 'guid-1' })).toEqual({
      status: 202,
      text: '{"ok":true}',
    });
    expect(triggers).toHaveLength(1);
    expect(triggers[0]).toMatchObject({
      deliveryId: 'guid-1',
      event: 'issues.labeled',
      installationId: 77,
      actor: { login: 'ann' },
      label: 'agent',
      commands: [{ verb: 'run', text: '', flags: {} }],
      source: { title: 'Login fails', isPull: false },
      texts: [{ kind: 'issue', title: 'Login fails', body: 'when empty' }],
    });
  });

  it('turns a comment into a trigger with the thread and the comment', async () => {
    await deliver(url, { event: 'issue_comment', body: JSON.stringify(commented('/agent fix the login')) });
    expect(triggers[0]).toMatchObject({
      event: 'issue_comment.created',
      commands: [{ verb: 'fix', text: 'the login' }],
      texts: [{ kind: 'issue' }, { kind: 'comment', author: 'ann', body: '/agent fix the login' }],
    });
  });

  it('knows a pull request', async () => {
    const payload = commented('/agent fix', { issue: { pull_request: { url: 'https://example.test' } } });
    await deliver(url, { event: 'issue_comment', body: JSON.stringify(payload) });
    expect(triggers[0]).toMatchObject({ source: { isPull: true }, texts: [{ kind: 'pull' }, { kind: 'comment' }] });
  });

  it('takes a comment with a slip to the worker, which answers it', async () => {
    await deliver(url, { event: 'issue_comment', body: JSON.stringify(commented('/agent sotp')) });
    expect(triggers[0]).toMatchObject({ commands: [], problems: [{ kind: 'unknown_verb', nearest: 'stop' }] });
  });

  it('says yes to a duplicate and no when the queue is full or gone', async () => {
    const body = JSON.stringify(labeled());
    sinkSays = 'duplicate';
    expect((await deliver(url, { event: 'issues', body })).status).toBe(202);
    sinkSays = 'full';
    expect((await deliver(url, { event: 'issues', body })).status).toBe(503);
    sinkSays = new Error('redis at secret-host refused');
    const failed = await deliver(url, { event: 'issues', body });
    expect(failed).toEqual({ status: 503, text: '{"ok":false,"error":"queue"}' });
  });
});

describe('what asks for nothing', () => {
  const bot = { login: 'helper[bot]', id: 9, type: 'Bot' };
  const cases: [string, string, unknown][] = [
    ['another label', 'issues', labeled({ label: 'bug' })],
    ['a label that begins alike', 'issues', labeled({ label: 'agent:working' })],
    ['a comment without a command', 'issue_comment', commented('thanks')],
    ['a quoted command', 'issue_comment', commented('> /agent run')],
    ['a label by a bot', 'issues', labeled({ sender: bot })],
    ['a command by a bot', 'issue_comment', commented('/agent run', { user: bot })],
    [
      'a command by an app for a person',
      'issue_comment',
      commented('/agent run', { comment: { performed_via_github_app: { id: 5 } } }),
    ],
    [
      'a comment of somebody else',
      'issue_comment',
      commented('/agent run', { sender: { login: 'eve', id: 2, type: 'User' } }),
    ],
    ['an edited comment', 'issue_comment', { ...commented('/agent run'), action: 'edited' }],
    ['a deleted comment', 'issue_comment', { ...commented('/agent run'), action: 'deleted' }],
    ['a removed label', 'issues', { ...labeled(), action: 'unlabeled' }],
    ['an event that nobody asked for', 'workflow_job', labeled()],
    ['an event that does not exist', 'constructor', labeled()],
    ['no installation', 'issues', { ...labeled(), installation: null }],
    [
      'a repository with an odd name',
      'issues',
      { ...labeled(), repository: { ...(labeled()['repository'] as object), name: '../x' } },
    ],
    ['a ping', 'ping', { zen: 'x', hook_id: 1 }],
  ];
  it.each(cases)('%s', async (_name, event, payload) => {
    expect((await deliver(url, { event, body: JSON.stringify(payload) })).status).toBe(202);
    expect(triggers).toEqual([]);
  });
});

describe('what is refused', () => {
  const body = JSON.stringify(labeled());
  const sha1 = { 'x-hub-signature-256': undefined, 'x-hub-signature': `sha1=${'0'.repeat(40)}` };
  const cases: [string, number, Parameters<typeof deliver>[1]][] = [
    ['no signature', 401, { event: 'issues', body, headers: { 'x-hub-signature-256': undefined } }],
    ['sha1 only', 401, { event: 'issues', body, headers: sha1 }],
    [
      'a wrong signature',
      401,
      { event: 'issues', body, headers: { 'x-hub-signature-256': sign(body, 'other secret') } },
    ],
    [
      'a signature of other bytes',
      401,
      { event: 'issues', body, headers: { 'x-hub-signature-256': sign(`${body} `) } },
    ],
    [
      'a signature in capitals',
      401,
      { event: 'issues', body, headers: { 'x-hub-signature-256': sign(body).toUpperCase() } },
    ],
    ['an empty signature', 401, { event: 'issues', body, headers: { 'x-hub-signature-256': 'sha256=' } }],
    ['a form', 415, { event: 'issues', body, headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
    ['no event', 400, { event: 'issues', body, headers: { 'x-github-event': undefined } }],
    ['an event that is none', 400, { event: 'a b', body }],
    ['no delivery', 400, { event: 'issues', body, headers: { 'x-github-delivery': undefined } }],
    ['a delivery that is none', 400, { event: 'issues', body, id: 'a:b' }],
    ['malformed JSON', 400, { event: 'issues', body: '{"action":' }],
    ['JSON that is no object', 400, { event: 'issues', body: '[1]' }],
    ['null', 400, { event: 'issues', body: 'null' }],
    ['a number', 400, { event: 'issues', body: '5' }],
    ['an installation that is none', 400, { event: 'issues', body: '{"action":"labeled","installation":{"id":"x"}}' }],
  ];
  it.each(cases)('%s', async (_name, status, delivery) => {
    const answer = await deliver(url, delivery);
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text)).toMatchObject({ ok: false });
    expect(triggers).toEqual([]);
  });

  it('GET', async () => {
    expect((await fetch(url)).status).toBe(405);
  });

  it('leaves other paths to others', async () => {
    expect((await fetch(`${url}/x`, { method: 'POST' })).status).toBe(404);
  });

  it('a body above 25 MB, announced or not', async () => {
    const big = `{"x":"${'x'.repeat(25 * 2 ** 20)}"}`;
    expect((await deliver(url, { event: 'issues', body: big })).status).toBe(413);
    const chunk = Buffer.alloc(2 ** 20, 0x20);
    let sent = 0;
    const stream = new ReadableStream({
      pull(controller) {
        sent += 1;
        if (sent > 40) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const headers = {
      'content-type': 'application/json',
      'x-github-event': 'issues',
      'x-github-delivery': 'g',
      'x-hub-signature-256': sign(''),
    };
    const response = await fetch(url, { method: 'POST', body: stream, headers, duplex: 'half' });
    expect(response.status).toBe(413);
    expect(triggers).toEqual([]);
  });

  it('survives a sender that goes away', async () => {
    await new Promise<void>((resolve) => {
      const { port } = server.address() as AddressInfo;
      const socket = connect(port, '127.0.0.1', () => {
        socket.write(
          `POST /api/github/webhooks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-github-event: issues\r\n`,
        );
        socket.write(
          `x-github-delivery: g\r\nx-hub-signature-256: ${sign('')}\r\ncontent-length: 1000\r\n\r\n{"action"`,
        );
        setTimeout(() => socket.destroy(), 50);
      });
      socket.on('close', () => resolve());
    });
    expect((await deliver(url, { event: 'issues', body })).status).toBe(202);
  });
});

describe('GH-018 nothing of a payload is logged or answered', () => {
  it('holds at every log level and for every outcome', async () => {
    const canary = 'canary-5f3a9c';
    const payloads: [string, unknown][] = [
      ['issues', labeled({ issue: { title: canary, body: canary } })],
      ['issue_comment', commented(`/agent fix ${canary}`)],
      ['issue_comment', commented(canary)],
      ['issues', { ...labeled({ issue: { title: canary } }), installation: { id: -1 } }],
      ['issues', { ...labeled({ issue: { title: canary } }), repository: canary }],
    ];
    const answers: string[] = [];
    for (const [event, payload] of payloads) {
      answers.push((await deliver(url, { event, body: JSON.stringify(payload) })).text);
      sinkSays = new Error(canary);
    }
    answers.push((await deliver(url, { event: 'issues', body: `{"${canary}` })).text);
    expect(logged).toContain('trigger');
    expect(logged).not.toContain(canary);
    expect(answers.join()).not.toContain(canary);
  });
});

it('does not start without a secret', async () => {
  const base = {
    prefix: '/agent',
    label: 'agent',
    log: createLogger({ level: 'silent' }),
    sink: { enqueue: () => Promise.resolve('accepted' as const) },
  };
  await expect(createWebhookHandler({ ...base, secret: '' })).rejects.toMatchObject({ code: 'config' });
});
