import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { startRedelivery } from '../../src/main/redelivery.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { stage, type Stage } from '../github/stage.ts';

const NEVER_MS = 2 ** 31 - 1;
const log = createLogger({ level: 'silent' });

interface Hook extends AsyncDisposable {
  url: string;
  /** The GUIDs that it was given. */
  got: Set<string | undefined>;
}

async function hook(): Promise<Hook> {
  const got: Hook['got'] = new Set();
  const server = createServer((request, response) => {
    got.add(request.headers['x-github-delivery']?.toString());
    request.resume().once('end', () => response.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    got,
    [Symbol.asyncDispose]: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}

/** Something happened while nobody listened. Its GUIDs. */
async function missed(here: Stage): Promise<string[]> {
  here.standIn.setWebhook({ url: 'http://127.0.0.1:9/' });
  await here.shop.openIssue({ title: 'T' });
  await here.standIn.webhooks.idle();
  const guids = here.standIn.deliveries.map(({ guid }) => guid);
  expect(guids).not.toEqual([]);
  return guids;
}

it.each([
  ['at the start', { soonMs: NEVER_MS, everyMs: NEVER_MS }, 0],
  ['a little later, when the server did not listen yet', { soonMs: 20, everyMs: NEVER_MS }, 1],
  ['again and again, when it was away later', { soonMs: NEVER_MS, everyMs: 20 }, 3],
])('asks for what nobody took: %s', async (_name, times, before) => {
  await using here = await stage();
  await using server = await hook();
  const guids = await missed(here);
  let asked = 0;
  const github = {
    async redeliverFailed(since: Date): Promise<number> {
      // The server comes when this many looks were in vain.
      if (asked === before) here.standIn.setWebhook({ url: server.url });
      asked += 1;
      return here.github.redeliverFailed(since);
    },
  };
  using asking = startRedelivery({ github, log, ...times });
  await here.standIn.waitFor(() => guids.every((guid) => server.got.has(guid)));
  asking[Symbol.dispose]();
  expect(asked).toBeGreaterThan(before);
  await here.standIn.webhooks.idle();
});

it('goes on when GitHub did not answer', async () => {
  await using here = await stage();
  await using server = await hook();
  const guids = await missed(here);
  here.standIn.setWebhook({ url: server.url });
  here.standIn.fault({ operationId: 'apps/list-webhook-deliveries', status: 404 });
  using asking = startRedelivery({ github: here.github, log, soonMs: NEVER_MS, everyMs: 20 });
  await here.standIn.waitFor(() => guids.every((guid) => server.got.has(guid)));
  asking[Symbol.dispose]();
  await here.standIn.webhooks.idle();
});
