import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** A server that is measured: its process, and where it listens. */
export interface Program {
  pid: number;
  stop(): Promise<void>;
}

/** Starts a server and waits until it listens on the port. Rejects with its last words when it does not. */
export async function startProgram(options: {
  command: readonly [string, ...string[]];
  env: Record<string, string>;
  cwd: string;
  port: number;
  /** Tenths of a second. */
  tries?: number;
}): Promise<Program> {
  const [file, ...args] = options.command;
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: options.cwd, env: options.env });
  let lastWords = '';
  child.stderr.on('data', (chunk: Buffer) => (lastWords = (lastWords + chunk.toString()).slice(-1000)));
  child.on('error', (error) => (lastWords = error.message));
  const stop = (): Promise<void> => end(child);
  for (let tried = 0; tried < (options.tries ?? 200); tried++) {
    if (await listens(options.port)) return { pid: child.pid ?? 0, stop };
    if (child.exitCode !== null || child.pid === undefined) break;
    await delay(100);
  }
  await stop();
  throw new Error(`it does not listen: ${lastWords.trim().replaceAll('\n', '; ')}`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return;
  const gone = once(child, 'exit');
  if (child.exitCode === null) child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await gone;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
