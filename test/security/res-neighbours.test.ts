/** RES-006, NET-028, NET-029: what one run does to its gateway is nothing to another run of the same worker. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientHello, connectTo, denials, policyOf, Raw } from '../gateway/hermetic.ts';
import { openGateway, type OpenedGateway } from '../gateway/process.ts';

const undo = new AsyncDisposableStack();
/** The run that misbehaves, and its neighbour. */
let busy: OpenedGateway;
let calm: OpenedGateway;
/** Of a host that echoes, and of one that never stops sending. */
let echo: number;
let flood: number;

async function listen(serve: (socket: Socket) => void): Promise<number> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket.on('error', () => undefined));
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.defer(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

beforeAll(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'cofres-'));
  undo.defer(() => rm(dir, { recursive: true, force: true }));
  echo = await listen((socket) => socket.pipe(socket));
  const block = Buffer.alloc(65_536, 'x');
  flood = await listen((socket) => {
    const more = (): void => {
      while (socket.writable && socket.write(block));
    };
    socket.on('drain', more).once('data', more);
  });
  const policy = policyOf([{ host: 'localhost', ports: [echo, flood], allowPrivate: true, passThrough: true }]);
  [busy, calm] = await Promise.all([openGateway(dir, policy), openGateway(dir, policy)]);
  undo.defer(async () => void (await Promise.all([busy.gateway.close(), calm.gateway.close()])));
});
afterAll(() => undo.disposeAsync());

/** A tunnel that is used; false when any of it was refused or did not come back as it was sent. */
async function exchange(socket: string): Promise<boolean> {
  const hello = clientHello({ names: ['localhost'] });
  const { status, raw } = await connectTo(socket, `localhost:${echo}`);
  if (status !== 200) return false;
  raw.send(hello);
  const back = await raw.until((bytes) => bytes.length >= hello.length);
  raw.close();
  return back.equals(hello);
}

test('thousands of connections, clients that do not read and a storm of denials in one run: the other one has all of its own', async () => {
  const slow = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const { status, raw } = await connectTo(busy.socket, `localhost:${flood}`);
      expect(status).toBe(200);
      raw.socket.pause();
      return raw.send(clientHello({ names: ['localhost'] }));
    }),
  );
  const held: Raw[] = [];
  const full = (): boolean => denials(busy.events, 'too_many_connections').length > 0;
  // In portions: a socket turns away by itself what comes while some hundreds wait to be accepted.
  await expect
    .poll(
      () => {
        const open = held.filter((raw) => !raw.ended).length;
        if (open < 3_000) held.push(...Array.from({ length: 500 }, () => new Raw(busy.socket).send('CONN')));
        return full();
      },
      { timeout: 60_000, interval: 100 },
    )
    .toBe(true);
  const over = new AbortController();
  const denied = (async () => {
    for (let turn = 0; !over.signal.aborted; turn += 1) await connectTo(busy.socket, `n${turn}.evil.test:443`);
  })();

  const answers: boolean[] = [];
  for (let turn = 0; turn < 100; turn += 1) answers.push(await exchange(calm.socket));
  // Nobody of the other run had to leave first.
  expect(slow.filter((raw) => raw.ended)).toEqual([]);
  over.abort();
  await denied;
  for (const raw of [...slow, ...held]) raw.close();
  expect(answers.filter(Boolean)).toHaveLength(100);
  // The twin: once its own flood is over, the run itself goes on.
  await expect.poll(() => exchange(busy.socket), { timeout: 60_000 }).toBe(true);

  await Promise.all([busy.gateway.close(), calm.gateway.close()]);
  expect(denials(calm.events)).toEqual([]);
  expect(calm.gateway.egress().map(({ host, allow, count }) => [host, allow, count])).toEqual([
    ['localhost', true, 100],
  ]);
});
