/**
 * One sandbox's events made into few lines. Each start and exit of a program has a line of its own while they come at a
 * human pace; what floods is counted exactly and told once a window. Windows grow with the number of lines already
 * written, so that no sandbox, however it behaves, makes an audit file grow without end.
 *
 * Pure but for the clock that is handed in; everything that is remembered has a bound.
 */
import { constants } from 'node:os';
import { MAX_ARGUMENTS, MAX_TEXT, type GapReason } from '../../domain/events/process.ts';
import type { KernelAddress, KernelEvent } from './event.ts';
import type { KernelEntry } from './entry.ts';
import type { Packet } from './packet.ts';
import { createProcessTable, nameOf } from './process-table.ts';
import { Window } from './window.ts';

/** Lines for single starts and exits: so many at once, and so many more a second. */
const BURST = 400;
const PER_SECOND = 40;
/** From so many lines on a window lasts so long; beyond the last number no single line is made any more. */
const WINDOWS = [
  { from: 0, ms: 1_000 },
  { from: 2_000, ms: 10_000 },
  { from: 8_000, ms: 60_000 },
] as const;
const SINGLE_LINES = 8_000;
/** Characters of arguments in one line. */
const LINE_CHARS = 8_192;

interface Start {
  pid: number;
  argv: string[];
  argc: number;
  cwd?: string;
  binary?: string;
  parent?: number | undefined;
  byHost?: true;
}

export class Digest {
  readonly #container: string;
  readonly #processes = createProcessTable();
  readonly #window = new Window();
  readonly #totals = { starts: 0, exits: 0, connects: 0, opens: 0, missed: 0 };
  #dropped = 0;
  #whole = true;
  #written = 0;
  #ready: KernelEntry[] = [];
  #windowAt: number;
  #tokens = BURST;
  #tokensAt: number;

  /** `container` is whose events these are, as the host knows it. */
  constructor(container: string, startedMs: number) {
    this.#container = container;
    this.#windowAt = startedMs;
    this.#tokensAt = startedMs;
  }

  take(packet: Packet, nowMs: number): void {
    if (packet.dropped !== undefined) this.#headerCount(packet.dropped);
    if (!packet.ok) this.gap('garbled', 1, packet.why);
    else if (packet.container !== this.#container) this.gap('foreign', 1);
    else this.#event(packet.event, nowMs);
  }

  /** A command that the host is about to start: gVisor reports its children, but not itself. */
  launched(argv: readonly string[]): void {
    this.#processes.expect(argv);
  }

  /** Something that was missed. */
  gap(reason: GapReason, count: number, detail?: string): void {
    this.#whole = false;
    if (reason === 'dropped') this.#totals.missed += count;
    this.#window.gap(reason, count, detail);
  }

  /** A new connection of the same sandbox counts its dropped events from zero. */
  reattached(): void {
    this.#dropped = 0;
  }

  /** The lines that are due; all of them with `force`. */
  lines(nowMs: number, force = false): KernelEntry[] {
    if (force || nowMs - this.#windowAt >= windowMs(this.#written)) {
      this.#windowAt = nowMs;
      this.#ready.push(...this.#window.close());
    }
    const due = this.#ready;
    this.#ready = [];
    this.#written += due.length;
    return due;
  }

  /** The last lines. `counted`: the number of dropped events is known up to the end. */
  end(counted: boolean): KernelEntry[] {
    const lines = this.lines(this.#windowAt, true);
    lines.push({ type: 'kernel.end', data: { ...this.#totals, complete: this.#whole && counted } });
    return lines;
  }

  /**
   * The header counts from the connection's beginning. gVisor makes it before it tries to hand the event over, so one that had to be
   * tried again comes behind younger ones, with its older count.
   */
  #headerCount(dropped: number): void {
    if (dropped <= this.#dropped) return;
    this.gap('dropped', dropped - this.#dropped);
    this.#dropped = dropped;
  }

  #event(event: KernelEvent, nowMs: number): void {
    if (event.kind === 'container') {
      const { argv, argc, cwd } = event;
      this.#start({ pid: 1, argv, argc, cwd, byHost: true }, nowMs);
      return;
    }
    const root = this.#processes.root(event);
    if (root !== undefined) {
      const argv = root.slice(0, MAX_ARGUMENTS).map((argument) => argument.slice(0, MAX_TEXT));
      this.#start({ pid: event.pid, argv, argc: root.length, byHost: true }, nowMs);
    }
    switch (event.kind) {
      case 'clone':
        this.#processes.clone(event);
        break;
      case 'exec':
        this.#processes.exec(event.pid);
        this.#start({ ...event, parent: this.#processes.parent(event.pid) }, nowMs);
        break;
      case 'execve':
        // The event of a start comes just before; when it was too large for the socket, only this one is left.
        if (event.errno === 0 && !this.#processes.execSeen(event.pid)) this.gap('start_unseen', 1, nameOf(event.comm));
        break;
      case 'exit':
        this.#exit(event, nowMs);
        break;
      case 'open':
        if (event.write) this.#open(event);
        break;
      case 'connect':
        this.#connect(event);
        break;
      case 'socket':
        this.#socket(event);
        break;
      case 'entry':
        break;
      case 'other':
        this.gap('garbled', 1, 'type');
    }
  }

  #start(what: Start, nowMs: number): void {
    this.#totals.starts += 1;
    const single = this.#single(nowMs);
    this.#processes.reported(what.pid, single);
    if (!single) {
      const file = what.binary ?? what.argv[0] ?? '';
      this.#window.start(nameOf(file.slice(file.lastIndexOf('/') + 1)));
      return;
    }
    const argv = withinLine(what.argv);
    this.#ready.push({
      type: 'process.start',
      data: {
        'process.pid': what.pid,
        ...(what.parent === undefined ? {} : { 'process.parent_pid': what.parent }),
        ...(what.binary === undefined ? {} : { 'process.executable.path': what.binary }),
        'process.command_args': argv,
        ...(what.argc === argv.length ? {} : { 'process.args_count': what.argc }),
        ...(what.cwd === undefined ? {} : { cwd: what.cwd }),
        ...(what.byHost === undefined ? {} : { byHost: true }),
      },
    });
  }

  /** Only of programs: a shell's forks, which start none, are not told. */
  #exit({ pid, comm, status }: Extract<KernelEvent, { kind: 'exit' }>, nowMs: number): void {
    const reported = this.#processes.exit(pid);
    if (reported === undefined) return;
    this.#totals.exits += 1;
    if (!reported || !this.#single(nowMs)) {
      this.#window.exit();
      return;
    }
    const signal = status & 0x7f;
    const how = signal === 0 ? { 'process.exit.code': (status >> 8) & 0xff } : { 'process.exit.signal': signal };
    this.#ready.push({
      type: 'process.exit',
      data: { 'process.pid': pid, 'process.command': nameOf(comm), ...how },
    });
  }

  #open(event: Extract<KernelEvent, { kind: 'open' }>): void {
    const file = fullPath(event);
    if (file === '/dev/null' || file === '/dev/tty') return;
    if (event.errno === 0) this.#totals.opens += 1;
    this.#window.open({ pid: event.pid, command: nameOf(event.comm) }, file, event.errno === 0);
  }

  #connect({ pid, comm, fd, address: to, errno }: Extract<KernelEvent, { kind: 'connect' }>): void {
    // A look for a local service that is not there, as every look-up of a user's name makes.
    if (to.family === 'unix' && errno === 2) return;
    this.#totals.connects += 1;
    const { address, port } = peerOf(to);
    const transport = to.family === 'unix' ? 'unix' : this.#processes.transport(pid, fd);
    this.#window.count({
      type: 'kernel.connect',
      data: {
        'process.pid': pid,
        'process.command': nameOf(comm),
        'network.peer.address': address,
        ...(port === undefined ? {} : { 'network.peer.port': port }),
        ...(transport === undefined ? {} : { 'network.transport': transport }),
        outcome: outcomeOf(errno),
        count: 1,
      },
    });
  }

  #socket({ pid, comm, fd, domain, type, errno }: Extract<KernelEvent, { kind: 'socket' }>): void {
    const transport = transportOf(domain, type);
    if (transport === undefined) return;
    if (errno === 0) this.#processes.socket(pid, fd, transport === 'packet' ? 'other' : transport);
    if (transport === 'tcp') return;
    this.#window.count({
      type: 'kernel.socket',
      data: {
        'process.pid': pid,
        'process.command': nameOf(comm),
        'network.transport': transport,
        outcome: outcomeOf(errno),
        count: 1,
      },
    });
  }

  /** Whether one more start or exit may have a line of its own. */
  #single(nowMs: number): boolean {
    if (this.#written + this.#ready.length >= SINGLE_LINES) return false;
    this.#tokens = Math.min(BURST, this.#tokens + (Math.max(0, nowMs - this.#tokensAt) / 1000) * PER_SECOND);
    this.#tokensAt = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** As many arguments as one line takes; the last may be cut. */
function withinLine(argv: readonly string[]): string[] {
  let left = LINE_CHARS;
  return argv.flatMap((argument) => {
    if (left <= 0) return [];
    const kept = argument.slice(0, left);
    left -= kept.length + 1;
    return [kept];
  });
}

function windowMs(written: number): number {
  return WINDOWS.findLast(({ from }) => written >= from)?.ms ?? WINDOWS[0].ms;
}

function fullPath(event: { path: string; directory: string; cwd: string }): string {
  const { path, directory, cwd } = event;
  if (path.startsWith('/')) return path;
  const base = directory === '' ? cwd : directory;
  return `${base.endsWith('/') ? base : `${base}/`}${path.replace(/^(?:\.\/)+/, '')}`.slice(0, MAX_TEXT);
}

const ERRORS = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

function outcomeOf(errno: number): string {
  return errno === 0 ? 'ok' : (ERRORS.get(errno) ?? 'error');
}

function peerOf(address: KernelAddress): { address: string; port?: number } {
  if (address.family === 'unix') return { address: address.path };
  if (address.family === 'inet') return { address: address.ip, port: address.port };
  return { address: `family ${address.number}` };
}

/** Undefined for what stays on this machine by its nature: Unix and netlink sockets. */
function transportOf(domain: number, type: number): 'tcp' | 'udp' | 'raw' | 'packet' | 'other' | undefined {
  if (domain === 17) return 'packet';
  if (domain === 1 || domain === 16) return undefined;
  if (domain !== 2 && domain !== 10) return 'other';
  return type === 1 ? 'tcp' : type === 2 ? 'udp' : type === 3 ? 'raw' : 'other';
}
