/** CRA-001: the gateway's process is killed while connections go through it. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connectTo, clientHello, policyOf } from '../gateway/hermetic.ts';
import { openGateway } from '../gateway/process.ts';

const TUNNELS = 20;

/** The children of this process that run the gateway. */
async function gatewayPids(): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
      return line.includes('gateway-process.ts') && status.includes(`\nPPid:\t${process.pid}\n`) ? [Number(pid)] : [];
    }),
  );
  return found.flat();
}

test('CRA-001 kill -9 of the gateway with 20 live tunnels: all are closed, nothing is served any more, the death is a record', async () => {
  await using undo = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'cra-'));
  undo.defer(() => rm(dir, { recursive: true, force: true }));
  const upstream = new Set<Socket>();
  const server = createServer((socket) => {
    upstream.add(socket);
    socket.on('data', () => socket.write('answer')).on('error', () => undefined);
    socket.once('close', () => upstream.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.defer(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const { gateway, socket, events } = await openGateway(
    dir,
    policyOf([{ host: 'localhost', ports: [port], allowPrivate: true, passThrough: true }]),
  );
  undo.defer(() => gateway.close());
  const tunnels = await Promise.all(
    Array.from({ length: TUNNELS }, async () => {
      const tunnel = await connectTo(socket, `localhost:${port}`);
      expect(tunnel.status).toBe(200);
      tunnel.raw.send(clientHello({ names: ['localhost'] }));
      expect((await tunnel.raw.until((bytes) => bytes.includes('answer'))).toString()).toContain('answer');
      return tunnel.raw;
    }),
  );
  expect(upstream.size).toBe(TUNNELS);

  const pids = await gatewayPids();
  expect(pids).toHaveLength(1);
  process.kill(pids[0] ?? 0, 'SIGKILL');
  await Promise.all(tunnels.map((tunnel) => tunnel.finish()));
  expect(tunnels.map(({ ended }) => ended)).toEqual(Array(TUNNELS).fill(true));
  expect(await gateway.closed).toMatchObject({ expected: false });
  expect(events.map(({ type }) => type)).toContain('gateway.lost');
  expect((await connectTo(socket, `localhost:${port}`)).status).toBe(0);
  await gateway.close();
  expect(await gatewayPids()).toEqual([]);
  await expect(readdir(gateway.socketDir)).rejects.toThrow('ENOENT');
});
