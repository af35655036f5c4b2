// Ends or lists processes inside the sandbox. Trust: it sees what its user may see, and everything it reads about a process
// is that process's own word.
//
//   processes.ts end NAME=VALUE    TERM, then KILL, to all whose environment has the variable
//   processes.ts list              one line of JSON for each process but init, the portal and this one

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

function list(): void {
  for (const pid of pids()) {
    const parent = Number(/^PPid:\s*(\d+)/m.exec(read(pid, 'status'))?.[1] ?? 0);
    const uid = Number(/^Uid:\s*(\d+)/m.exec(read(pid, 'status'))?.[1] ?? -1);
    const argv = read(pid, 'cmdline').split('\0').slice(0, 8);
    if (pid === 1 || argv.includes('/opt/cofferdam/portal/main.ts')) continue;
    process.stdout.write(`${JSON.stringify({ pid, parent, uid, argv: argv.map((a) => a.slice(0, 200)) })}\n`);
  }
}

const [command, mark] = process.argv.slice(2);
if (command === 'end' && mark !== undefined) await end(mark);
else if (command === 'list') list();
else process.exitCode = 64;
