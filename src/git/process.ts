import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { SEARCH_PATH } from './environment.ts';

/** What one process may use. The kernel enforces it on the process and on each of its children. */
export interface ProcessLimits {
  /** Address space. */
  memoryBytes: number;
  cpuSeconds: number;
  /** Largest file it may write. */
  fileBytes: number;
}

export interface ProcessOptions {
  argv: readonly [string, ...string[]];
  env?: Readonly<Record<string, string>>;
  limits?: ProcessLimits | undefined;
  /** Descriptors of this process that it inherits, as 3 and up. */
  inherit?: readonly number[] | undefined;
}

export interface ProcessExit {
  /** Null when a signal ended it or it did not start. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Set when it could not be started. */
  error?: Error;
}

export interface RunningProcess {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Resolves when it is gone and its output was read; never rejects. */
  exited: Promise<ProcessExit>;
  /** Ends the process and all of its children at once. */
  kill(): void;
}

/**
 * Starts a process with a built environment and kernel limits, in a process group of its own. It dies with this process
 * (`setpriv --pdeathsig`), so that a killed worker leaves no git behind.
 * Preconditions: util-linux (`setpriv`, `prlimit`), which Debian calls essential.
 */
export function startProcess(options: ProcessOptions): RunningProcess {
  const wrap = ['--pdeathsig', 'KILL', '--', ...limitArgs(options.limits), ...options.argv];
  const child = spawn('setpriv', wrap, {
    cwd: '/',
    env: options.env ?? { PATH: SEARCH_PATH, LC_ALL: 'C' },
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe', ...(options.inherit ?? [])],
  }) as ChildProcessWithoutNullStreams;
  // A process that stops reading early (or never started) must not become an unhandled EPIPE.
  child.stdin.on('error', () => undefined);
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    exited: exitOf(child),
    kill: () => {
      killGroup(child);
    },
  };
}

function limitArgs(limits: ProcessLimits | undefined): string[] {
  if (!limits) return [];
  return [
    'prlimit',
    `--as=${limits.memoryBytes}`,
    `--cpu=${limits.cpuSeconds}`,
    `--fsize=${limits.fileBytes}`,
    '--core=0',
    '--',
  ];
}

function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      resolve({ code: null, signal: null, error });
    });
    child.once('close', (code, signal) => {
      resolve({ code, signal });
    });
  });
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}
