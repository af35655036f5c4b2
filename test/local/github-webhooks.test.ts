import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createNodeMiddleware, Probot } from 'probot';
import { expect, test } from 'vitest';
import { startStandIn } from '../../src/local/github/stand-in.ts';
import { signatureOf, stage, temporaryDir } from './github-support.ts';

const REPO = { owner: 'octo-owner', repo: 'shop' };

test('every delivery is signed over its exact bytes and carries a GUID of its own', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo });
  await shop.openIssue({ title: 'ünïcode 🦺', body: '"quotes" </script>' });
  shop.comment(1, { body: 'hello' });
  await here.standIn.webhooks.idle();
  const { received } = here.receiver;
  expect(received.map((one) => one.event)).toEqual(['installation', 'issues', 'issue_comment']);
  for (const one of received) expect(one.signature).toBe(signatureOf(here.standIn.app.webhookSecret, one.body));
  expect(new Set(received.map((one) => one.guid)).size).toBe(3);
  expect(received[0]?.headers['user-agent']).toMatch(/^GitHub-Hookshot\//);
});

test('deliveries can be held, reversed and doubled, and a redelivery keeps its GUID', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo, installed: true });
  await here.standIn.webhooks.idle();
  here.standIn.webhooks.hold();
  await shop.openIssue({ title: 'one' });
  await shop.openIssue({ title: 'two' });
  here.standIn.webhooks.release({ order: 'reversed', copies: 2 });
  await here.standIn.webhooks.idle();
  const numbers = here.events('issues').map((one) => (one.payload['issue'] as { number: number }).number);
  expect(numbers).toEqual([2, 2, 1, 1]);
  const [first, second] = here.events('issues');
  expect(first?.guid).toBe(second?.guid);

  const logged = here.standIn.deliveries.find((one) => one.event === 'issues');
  await here.appOctokit.rest.apps.redeliverWebhookDelivery({ delivery_id: logged?.id ?? 0 });
  await here.standIn.webhooks.idle();
  expect(here.receiver.received.at(-1)?.guid).toBe(logged?.guid);
  expect(here.standIn.deliveries.at(-1)).toMatchObject({ redelivery: true, guid: logged?.guid, statusCode: 200 });
});

test('a receiver that fails or is away is in the log, and its deliveries can be sent again', async () => {
  await using here = await stage();
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo });
  await here.standIn.webhooks.idle();
  here.receiver.answers.push(503);
  await shop.openIssue({ title: 'one' });
  await here.standIn.webhooks.idle();
  expect(here.standIn.deliveries.at(-1)).toMatchObject({ event: 'issues', statusCode: 503 });
  await here.receiver.close();
  await shop.openIssue({ title: 'two' });
  await here.standIn.webhooks.idle();
  const missed = here.standIn.deliveries.at(-1);
  expect(missed).toMatchObject({ event: 'issues', statusCode: 0, status: 'failed to connect to host' });
});

test('only subscribed events of installed repositories are sent', async () => {
  await using here = await stage({ app: { events: ['issues'] } });
  const shop = await here.standIn.createRepository({ owner: REPO.owner, name: REPO.repo });
  const other = await here.standIn.createRepository({ owner: REPO.owner, name: 'other', installed: false });
  await shop.openIssue({ title: 'seen' });
  shop.comment(1, { body: 'not seen' });
  await other.openIssue({ title: 'not seen' });
  shop.setSuspended(true);
  await shop.openIssue({ title: 'not seen either' });
  await here.standIn.webhooks.idle();
  expect(here.receiver.received.map((one) => `${one.event} ${String(one.payload['action'])}`)).toEqual([
    'installation created',
    'issues opened',
    'installation suspend',
  ]);
});

test('a real Probot app answers through it', async () => {
  await using dir = await temporaryDir();
  const standIn = await startStandIn({ dir: dir.path });
  const probot = new Probot({
    appId: standIn.app.id,
    privateKey: standIn.app.privateKeyPem,
    secret: standIn.app.webhookSecret,
    baseUrl: `${standIn.url}/api/v3`,
    logLevel: 'fatal',
  });
  const middleware = await createNodeMiddleware(
    (app) => {
      app.on('issues.labeled', async (context) => {
        await context.octokit.rest.issues.createComment(
          context.issue({ body: `labelled by ${context.payload.sender.login}` }),
        );
      });
    },
    { probot, webhooksPath: '/api/github/webhooks' },
  );
  const server = createServer((request, response) => void middleware(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  standIn.setWebhook({ url: `http://127.0.0.1:${port}/api/github/webhooks` });
  const shop = await standIn.createRepository({
    owner: REPO.owner,
    name: REPO.repo,
    collaborators: { alice: 'write' },
  });
  await shop.openIssue({ title: 'one' });
  await shop.addLabel(1, 'agent', 'alice');
  const comment = await standIn.waitFor(() => shop.comments(1)[0], { timeoutMs: 20_000, what: 'the comment' });
  expect(comment).toMatchObject({ body: 'labelled by alice', author: 'cofferdam[bot]', viaApp: true });
  await standIn.webhooks.idle();
  await standIn.stop();
  await new Promise((resolve) => server.close(resolve));
  expect(standIn.violations).toEqual([]);
});

test('a kept stand-in goes on where it was', async () => {
  await using dir = await temporaryDir();
  const first = await startStandIn({ dir: dir.path, keep: true });
  const shop = await first.createRepository({ owner: REPO.owner, name: REPO.repo, files: { a: 'b' } });
  await shop.openIssue({ title: 'kept' });
  await first.stop();
  const second = await startStandIn({ dir: dir.path, keep: true });
  const again = second.repo(REPO.owner, REPO.repo);
  expect(again.thread(1).title).toBe('kept');
  expect((await again.file('a'))?.toString()).toBe('b');
  expect(second.app.privateKeyPem).toBe(first.app.privateKeyPem);
  await second.stop();
});

test('waiting ends with a reason', async () => {
  await using dir = await temporaryDir();
  const standIn = await startStandIn({ dir: dir.path });
  await expect(standIn.waitFor(() => false, { timeoutMs: 50, what: 'the comment' })).rejects.toThrow(
    'the comment: not within 50 ms',
  );
  const ending = AbortSignal.abort();
  await expect(standIn.waitFor(() => false, { signal: ending, what: 'the comment' })).rejects.toThrow(
    'the wait was ended',
  );
  await standIn.stop();
});
