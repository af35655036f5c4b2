/** The provider's connection is opened while the worker works; what is promised before a call goes out holds for it, too. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { LlmWorkerPort } from '../../src/gateway/llm/port.ts';
import { call, openLane } from './llm-fixture.ts';
import type { Lane } from './llm-fixture.ts';

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

interface Provider {
  url: string;
  connections: number;
  requests: number;
  /** Bytes of requests on all connections. */
  bytes(): number;
  /** Resolves at the first connection; with `breaks`, after that was closed by the provider. */
  met: Promise<void>;
}

/** Answers every call; with `breaks` it closes its first connection before a byte came. */
async function provider(breaks = false): Promise<Provider> {
  const met = Promise.withResolvers<undefined>();
  let bytes = 0;
  const server = createServer((_request, response) => {
    made.requests += 1;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ usage: { input_tokens: 1, output_tokens: 1 } }));
  });
  server.on('connection', (socket) => {
    made.connections += 1;
    socket.on('data', (chunk: Buffer) => (bytes += chunk.length));
    if (breaks && made.connections === 1) socket.once('close', () => met.resolve(undefined)).end();
    else met.resolve(undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const made: Provider = { url, connections: 0, requests: 0, bytes: () => bytes, met: met.promise };
  return made;
}

async function lane(at: Provider, reserve: (ask: LlmWorkerPort) => LlmWorkerPort['reserve']): Promise<Lane> {
  const opened = await openLane({ baseUrl: at.url, ask: (port) => ({ ...port, reserve: reserve(port) }) });
  undo.push(() => opened.stop());
  return opened;
}

test('a call that waits for its grant has a connection, and not a byte of it is on the way', async () => {
  const at = await provider();
  const seen: number[] = [];
  const opened = await lane(at, (port) => async (asked) => {
    await at.met;
    seen.push(at.connections, at.bytes(), at.requests);
    return port.reserve(asked);
  });
  expect((await call(opened, 'anthropic', false)).status).toBe(200);
  expect(seen).toEqual([1, 0, 0]);
  expect([at.connections, at.requests]).toEqual([1, 1]);
  expect(at.bytes()).toBeGreaterThan(0);
});

test('one that the provider closed meanwhile is replaced: the call is made once', async () => {
  const at = await provider(true);
  const opened = await lane(at, (port) => async (asked) => {
    await at.met;
    return port.reserve(asked);
  });
  expect((await call(opened, 'anthropic', false)).status).toBe(200);
  expect([at.connections, at.requests]).toEqual([2, 1]);
  await opened.quiet();
  expect(opened.settlements).toMatchObject([{ outcome: 'usage' }]);
});

test('a refused call sends nothing, and who asks again opens no connection', async () => {
  const at = await provider();
  const opened = await lane(at, () => async () => {
    // Only the first has one to wait for.
    if (opened.events.length === 0) await at.met;
    return { ok: false, reason: 'llm_budget', say: 'nothing is left' };
  });
  for (let n = 0; n < 3; n += 1) expect((await call(opened, 'anthropic', false)).status).toBe(400);
  expect([at.connections, at.requests, at.bytes()]).toEqual([1, 0, 0]);
});
