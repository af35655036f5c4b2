import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createAuditReader } from '../../src/audit/read.ts';
import { loadSigningKey, pinnedKey } from '../../src/audit/seal.ts';
import { RunId } from '../../src/domain/ids.ts';
import { createAnnouncedKeys } from '../../src/queue/announced-keys.ts';
import { createRunEvents, type RunEvents, type StreamLog } from '../../src/queue/events.ts';
import { createShortLived } from '../../src/queue/short-lived.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { directory, openLog, putAll, RUN_ID, WHOLE_RUN } from '../audit/run-log.ts';
import { startRedisServer, type RedisServer } from '../queue/redis-server.ts';
import { pagesStage } from '../web/stage.ts';

let server: RedisServer;
let prefixes = 0;
const log = createLogger({ level: 'silent' });

beforeAll(async () => {
  server = await startRedisServer();
});
afterAll(() => server.stop());

async function open(
  bounds: { maxLines?: number; maxWaiting?: number } = {},
): Promise<{ events: RunEvents; prefix: string }> {
  const prefix = `e${prefixes++}`;
  return { events: createRunEvents({ redis: await server.open(), prefix, log, ...bounds }), prefix };
}

async function linesOf(stream: StreamLog): Promise<string[]> {
  const pieces: Buffer[] = [];
  for await (const { bytes } of stream.read('')) pieces.push(Buffer.from(bytes));
  return Buffer.concat(pieces).toString('utf8').split('\n').slice(0, -1);
}

async function opened(events: RunEvents, runId = RUN_ID): Promise<StreamLog> {
  const stream = await events.open(runId);
  if (stream === null) throw new Error('no stream');
  return stream;
}

it('carries the exact lines, in order, to another process', async () => {
  await using dir = await directory();
  const { events, prefix } = await open();
  const stored: string[] = [];
  const file = await openLog(dir, RUN_ID, (line) => {
    stored.push(line);
    events.publish(RUN_ID, line);
  });
  await putAll(file, WHOLE_RUN);
  await file.seal();
  await events.settled();
  const other = createRunEvents({ redis: await server.open(), prefix, log });
  const stream = await opened(other);
  const read = await linesOf(stream);
  expect(read).toEqual(stored);
  const reader = createAuditReader({ partial: true });
  reader.feed(Buffer.from(read.map((line) => `${line}\n`).join('')));
  expect(reader.reading()).toMatchObject({ lines: stored.length, irregular: 0, skipped: 0 });
  expect(await other.open(RunId.parse('rbbbbbbbbbbbb'))).toBeNull();
});

it('goes on after a mark, and says when there is more', async () => {
  const { events } = await open();
  events.publish(RUN_ID, 'one');
  await events.settled();
  const stream = await opened(events);
  let mark = '';
  for await (const piece of stream.read('')) mark = piece.mark;
  const woken = stream.changed(mark, new AbortController().signal);
  events.publish(RUN_ID, 'two');
  await woken;
  const more: string[] = [];
  for await (const { bytes } of stream.read(mark)) more.push(Buffer.from(bytes).toString());
  expect(more).toEqual(['two\n']);
  const gone = new AbortController();
  const waiting = stream.changed('99999999999999-0', gone.signal);
  gone.abort();
  await waiting;
});

it('is bounded: a slow or lost Redis holds nobody up, and the newest lines stay', async () => {
  const { events } = await open({ maxLines: 100, maxWaiting: 1_000 });
  for (let index = 0; index < 50_000; index += 1) events.publish(RUN_ID, `line ${index}`);
  events.publish(RUN_ID, 'x'.repeat(100_000));
  await events.settled();
  const kept = await linesOf(await opened(events));
  expect(kept.length).toBeLessThan(1_000);
  expect(kept.at(-1)).toBe('line 999');
  const lost = await server.open();
  const broken = createRunEvents({ redis: lost, prefix: 'broken', log });
  lost.disconnect();
  broken.publish(RUN_ID, 'nobody hears this');
  await broken.settled();
});

it('shows a run on a server that does not see the worker’s disk, and says what is missing', async () => {
  await using dir = await directory();
  await using elsewhere = await directory();
  const { events } = await open();
  let dropped = 0;
  const file = await openLog(dir, RUN_ID, (line) => {
    // The first lines were trimmed.
    if (dropped < 20) dropped += 1;
    else events.publish(RUN_ID, line);
  });
  await putAll(file, WHOLE_RUN);
  await file.seal();
  await events.settled();
  await events.attach(RUN_ID, 'patch', 'diff --git a/x b/x\n+y\n');
  await events.attach(RUN_ID, 'seal', '{}');
  await using pages = await pagesStage(elsewhere, { logs: events });
  const page = await (await pages.get(`/runs/${RUN_ID}`)).text();
  expect(page).toContain('Succeeded');
  expect(page).toContain('the first 20 events are not here');
  expect(page).toContain('Download the patch');
  expect(await (await pages.get(`/runs/${RUN_ID}/check`)).text()).toContain('Only part of the record is here');
});

it('checks the signature of a record that came from a worker with the keys that workers announced', async () => {
  await using dir = await directory();
  await using elsewhere = await directory();
  const { events, prefix } = await open();
  const file = await openLog(dir, RUN_ID, (line) => events.publish(RUN_ID, line));
  await putAll(file, WHOLE_RUN);
  await file.seal();
  await events.settled();
  await events.attach(RUN_ID, 'seal', await readFile(`${file.file}.seal`, 'utf8'));
  // The server's own disk has a key, too: that of another host.
  await loadSigningKey(elsewhere.path);
  const keys = createAnnouncedKeys({ redis: await server.open(), prefix });
  await using pages = await pagesStage(elsewhere, { logs: events, announced: () => keys.all() });
  const check = async (): Promise<string> => (await pages.get(`/runs/${RUN_ID}/check`)).text();
  expect(await check()).toContain('its signature was not checked');
  await keys.announce('other host', (await pinnedKey(elsewhere.path)) ?? '');
  expect(await check()).toContain('the seal was not signed by this key');
  await keys.announce('host', (await pinnedKey(dir.path)) ?? '');
  const valid = await check();
  expect(valid).toContain('its signature is valid');
  expect(valid).toContain('those that the workers sent through Redis');
  // The host has a new key: what it signed before is checked with the old one by hand.
  await keys.announce('host', (await pinnedKey(elsewhere.path)) ?? '');
  expect(await check()).toContain('the seal was not signed by this key');
});

it('keeps small values for a time, and hands some out once', async () => {
  const redis = await server.open();
  const store = createShortLived({ redis, prefix: 's' });
  await store.put('a', 'value', 60);
  expect([await store.get('a'), await store.get('b')]).toEqual(['value', null]);
  expect([await store.take('a'), await store.take('a')]).toEqual(['value', null]);
  await store.put('c', 'value', 60);
  expect(await redis.ttl('s:short:c')).toBeGreaterThan(0);
  await store.remove('c');
  expect(await store.get('c')).toBeNull();
});
