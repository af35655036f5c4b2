/** RES-006: a gateway whose process has no file descriptor left goes on accepting once there are some again. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { clientHello, connectTo, Raw } from '../gateway/hermetic.ts';

/** Few enough to run out of, enough for a process of Node and its own files. */
const DESCRIPTORS = 80;

test('out of file descriptors: connections are turned away, and the next ones are served', async () => {
  await using undo = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'cofres-'));
  undo.defer(() => rm(dir, { recursive: true, force: true }));
  const echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  undo.defer(() => void echo.close());
  const { port } = echo.address() as AddressInfo;

  const child = join(import.meta.dirname, '../gateway/starved.child.ts');
  const script = `ulimit -n ${DESCRIPTORS}; exec "$0" "$@"`;
  const starved = execFile('/bin/bash', ['-c', script, process.execPath, child, dir, String(port)]);
  const ended = new Promise<number | null>((resolve) => starved.once('exit', resolve));
  undo.defer(() => void starved.kill('SIGKILL'));
  const said: string[] = [];
  starved.stderr?.on('data', (text: string) => said.push(text));
  const lines = createInterface({ input: starved.stdout ?? process.stdin });
  const socket = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve);
    lines.once('close', () => reject(new Error(`no gateway: ${said.join('')}`)));
  });

  for (let round = 0; round < 3; round += 1) {
    const many = Array.from({ length: 4 * DESCRIPTORS }, () => new Raw(socket).send('CONN'));
    // Without a word and far below the limit of connections: it is the process that has no more.
    const turnedAway = () => many.filter((raw) => raw.ended && raw.received.length === 0).length;
    await expect.poll(turnedAway).toBeGreaterThan(DESCRIPTORS);
    for (const raw of many) raw.close();
    // The twin: the same gateway, once they are gone.
    const hello = clientHello({ names: ['localhost'] });
    const exchange = async (): Promise<boolean> => {
      const { status, raw } = await connectTo(socket, `localhost:${port}`);
      if (status !== 200) return false;
      const back = await raw.send(hello).until((bytes) => bytes.length >= hello.length);
      raw.close();
      return back.equals(hello);
    };
    await expect.poll(exchange).toBe(true);
  }

  starved.stdin?.end();
  expect(await ended, said.join('')).toBe(0);
});
