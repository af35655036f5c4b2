import { spawn } from 'node:child_process';
import { chmod, mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { CofferdamError } from '../../domain/errors.ts';
import { commandLine, identify, isAlive } from './identity.ts';
import { findProgram } from './packages.ts';

/** A Redis of our own: reachable through one socket, by this user only. */
export interface PrivateRedis {
  /** The socket's path, which is also what ioredis takes in place of an address. */
  url: string;
  pid: number;
  /** Ends the server and waits for it. */
  stop(): Promise<void>;
}

/** A busy disk delays the first append-only file; one that cannot start ends by itself. */
const ANSWERS_MS = 60_000;

/** The server's settings, as arguments: no TCP port, nothing evicted, and on disk only what was asked for. */
function redisArguments(directory: string, appendOnly: boolean): string[] {
  const settings: Record<string, string> = {
    port: '0',
    unixsocket: path.join(directory, 'redis.sock'),
    unixsocketperm: '600',
    dir: directory,
    pidfile: path.join(directory, 'redis.pid'),
    logfile: path.join(directory, 'redis.log'),
    loglevel: 'notice',
    daemonize: 'no',
    save: '',
    appendonly: appendOnly ? 'yes' : 'no',
    // A queue must refuse rather than forget.
    'maxmemory-policy': 'noeviction',
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/**
 * Starts a Redis in a directory of its own (made 0700). It ends with this process, even when that is killed; one that an
 * earlier process left in the same directory is ended first. Errors: `redis_unavailable`, with the end of its log.
 */
export async function startRedis(options: {
  directory: string;
  appendOnly?: boolean;
  signal?: AbortSignal;
}): Promise<PrivateRedis> {
  const { directory } = options;
  const url = path.join(directory, 'redis.sock');
  const op = 'local.startRedis';
  if (Buffer.byteLength(url) > 107) {
    throw new CofferdamError('config', op, `the path ${url} is too long for a socket: choose a shorter directory`);
  }
  const program = await findProgram('redis-server');
  if (program === undefined) {
    throw new CofferdamError(
      'redis_unavailable',
      op,
      'redis-server is not installed: apt-get install redis-server, or set REDIS_URL',
    );
  }
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  await endLeftover(directory);
  const parentBound = await findProgram('setpriv');
  const prefix = parentBound === undefined ? [] : [parentBound, '--pdeathsig', 'TERM'];
  const [file = program, ...args] = [...prefix, program, ...redisArguments(directory, options.appendOnly === true)];
  const child = spawn(file, args, { stdio: 'ignore', cwd: directory, env: {} });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const answered = await Promise.race([answersPing(url, options.signal), ended.then(() => false)]);
  if (!answered || child.pid === undefined) {
    child.kill('SIGKILL');
    const log = await readFile(path.join(directory, 'redis.log'), 'utf8').catch(() => '');
    throw new CofferdamError(
      'redis_unavailable',
      op,
      `redis-server did not start:\n${log.trim().split('\n').slice(-5).join('\n')}`,
    );
  }
  // A Redis that still runs must not keep a finished process alive.
  child.unref();
  const { pid } = child;
  return { url, pid, stop: () => end(pid) };
}

async function answersPing(socket: string, signal?: AbortSignal): Promise<boolean> {
  const limit = AbortSignal.any([AbortSignal.timeout(ANSWERS_MS), ...(signal === undefined ? [] : [signal])]);
  while (!limit.aborted) {
    const client = new Redis(socket, { lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.ping();
      return true;
    } catch {
      await sleep(100);
    } finally {
      client.disconnect();
    }
  }
  return false;
}

/** Redis shows its socket in its process title, so a reused pid is not mistaken for it. */
async function endLeftover(directory: string): Promise<void> {
  const text = await readFile(path.join(directory, 'redis.pid'), 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  if (!Number.isInteger(pid)) return;
  const title = (await commandLine(pid)).join(' ');
  if (title.includes(path.join(directory, 'redis.sock'))) await end(pid);
}

/** TERM, then KILL after 10 seconds. */
async function end(pid: number): Promise<void> {
  const known = await identify(pid);
  if (known === undefined) return;
  process.kill(pid, 'SIGTERM');
  for (let tries = 0; tries < 200; tries += 1) {
    if (!(await isAlive(known))) return;
    await sleep(50);
  }
  process.kill(pid, 'SIGKILL');
}
