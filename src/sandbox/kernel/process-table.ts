import type { KernelEvent } from './event.ts';

/** Processes and sockets that are remembered; forged events can make no more. */
const MAX_PROCESSES = 16_384;
const MAX_SOCKETS = 2_048;
const MAX_EXPECTED = 64;
/** A process's name holds 15 bytes. */
const COMM = 15;

/** A name as a line carries it. */
export function nameOf(comm: string): string {
  return comm.slice(0, 64);
}

type Transport = 'tcp' | 'udp' | 'raw' | 'other';

interface Known {
  parent: number | undefined;
  /** Undefined until it runs a program; then whether that had a line of its own. */
  reported?: boolean;
  execs: number;
}

/** What is known of a sandbox's processes, as far as events need each other. */
export interface ProcessTable {
  /** A command that the host starts. */
  expect(argv: readonly string[]): void;
  /** The host's command when this is its first process's first event. */
  root(event: Extract<KernelEvent, { pid: number }>): readonly string[] | undefined;
  clone(event: Extract<KernelEvent, { kind: 'clone' }>): void;
  exec(pid: number): void;
  /** Whether a start was seen since the last time that this was asked. */
  execSeen(pid: number): boolean;
  parent(pid: number): number | undefined;
  reported(pid: number, single: boolean): void;
  /** Forgets it. Undefined when no program was seen in it; else whether its start had a line. */
  exit(pid: number): boolean | undefined;
  socket(pid: number, fd: number, transport: Transport): void;
  transport(pid: number, fd: number): Transport | undefined;
}

export function createProcessTable(): ProcessTable {
  const known = new Map<number, Known>();
  const sockets = new Map<string, Transport>();
  let expected: (readonly string[])[] = [];

  function remember(pid: number, parent: number | undefined): Known {
    let entry = known.get(pid);
    if (entry !== undefined) return entry;
    entry = { parent, execs: 0 };
    if (known.size < MAX_PROCESSES) known.set(pid, entry);
    return entry;
  }

  /** By its name; the only one that is awaited is taken whatever it is called, since a script has its file's name. */
  function takeExpected(comm: string): readonly string[] | undefined {
    const named = expected.find(([file = '']) => file.slice(file.lastIndexOf('/') + 1).slice(0, COMM) === comm);
    const found = named ?? (expected.length === 1 ? expected[0] : undefined);
    if (found !== undefined) expected = expected.filter((argv) => argv !== found);
    return found;
  }

  return {
    expect: (argv) => {
      expected = [...expected, argv].slice(-MAX_EXPECTED);
    },
    root: (event) => {
      if (known.has(event.pid) || known.size >= MAX_PROCESSES) return undefined;
      const argv = takeExpected(event.comm);
      if (argv !== undefined) remember(event.pid, undefined);
      return argv;
    },
    clone: ({ pid, child }) => {
      // A new thread has its process's own number.
      if (child !== pid) remember(child, pid);
    },
    exec: (pid) => void (remember(pid, undefined).execs += 1),
    execSeen: (pid) => {
      const entry = known.get(pid);
      if (entry === undefined || entry.execs === 0) return known.size >= MAX_PROCESSES;
      entry.execs = 0;
      return true;
    },
    parent: (pid) => known.get(pid)?.parent,
    reported: (pid, single) => void (remember(pid, undefined).reported = single),
    exit: (pid) => {
      const entry = known.get(pid);
      known.delete(pid);
      return entry?.reported;
    },
    socket: (pid, fd, transport) => {
      const key = `${pid} ${fd}`;
      sockets.delete(key);
      sockets.set(key, transport);
      const oldest = sockets.keys().next().value;
      if (sockets.size > MAX_SOCKETS && oldest !== undefined) sockets.delete(oldest);
    },
    transport: (pid, fd) => sockets.get(`${pid} ${fd}`),
  };
}
