import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { openRedis } from '../../src/queue/connection.ts';

/** A redis-server of the test's own, on a Unix socket, that keeps what it is told over a restart. */
export interface RedisServer {
  readonly socket: string;
  open(): Promise<Redis>;
  /** SIGKILL and start again on the same files; after `awayMs`, when that is given. */
  restart(awayMs?: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startRedisServer(): Promise<RedisServer> {
  const directory = mkdtempSync(join(tmpdir(), 'cofferdam-queue-'));
  const socket = join(directory, 's');
  const clients: Redis[] = [];
  let server = await start(directory, socket);
  async function open(): Promise<Redis> {
    const client = await openRedis(socket, { timeoutMs: 20_000 });
    clients.push(client);
    return client;
  }
  return {
    socket,
    open,
    async restart(awayMs = 0) {
      await end(server, 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, awayMs));
      server = await start(directory, socket);
    },
    async stop() {
      for (const client of clients) client.disconnect();
      await end(server, 'SIGTERM');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function start(directory: string, socket: string): Promise<ChildProcess> {
  const args = ['--port', '0', '--unixsocket', socket, '--dir', directory, '--save', '', '--appendonly', 'yes'];
  const server = spawn('redis-server', [...args, '--appendfsync', 'always'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const failed = once(server, 'error').then(([error]) => {
    throw new Error('redis-server is needed for this test; install the package redis-server', { cause: error });
  });
  await Promise.race([once(server, 'spawn'), failed]);
  return server;
}

async function end(server: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill(signal);
  await exited;
}

/** Waits until `check` holds: polls, since what it waits for happens in Redis. */
export async function eventually(check: () => boolean | Promise<boolean>, what: string, ms = 120_000): Promise<void> {
  const end_ = Date.now() + ms;
  while (!(await check())) {
    if (Date.now() > end_) throw new Error(`did not happen within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
