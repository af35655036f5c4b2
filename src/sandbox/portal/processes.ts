// Ends processes inside the sandbox. Trust: it sees what its user may see, and everything it reads about a process
// is that process's own word.
//
//   processes.ts end NAME=VALUE    TERM, then KILL, to all whose environment has the variable

import { readdirSync, readFileSync } from 'node:fs';
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';

const TERM_MS = 2_000;
const KILL_MS = 5_000;
const LOOK_MS = 50;

function pids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid);
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return '';
  }
}

function marked(mark: string): number[] {
  return pids().filter((pid) => read(pid, 'environ').split('\0').includes(mark));
}

function signalAll(mark: string, signal: NodeJS.Signals): number {
  const found = marked(mark);
  for (const pid of found) {
    try {
      process.kill(pid, signal);
    } catch {
      // Gone meanwhile, or another user's.
    }
  }
  return found.length;
}

async function end(mark: string): Promise<void> {
  const started = performance.now();
  let left = signalAll(mark, 'SIGTERM');
  while (left > 0 && performance.now() - started < TERM_MS) {
    await delay(LOOK_MS);
    left = marked(mark).length;
  }
  while (left > 0 && performance.now() - started < KILL_MS) {
    left = signalAll(mark, 'SIGKILL');
    await delay(LOOK_MS);
  }
}

const [command, mark] = process.argv.slice(2);
if (command === 'end' && mark !== undefined) await end(mark);
else process.exitCode = 64;
