import { MAX_NAMES, MAX_PATHS, type GapReason } from '../../domain/events/process.ts';
import type { KernelEntry } from './entry.ts';

/** Things that one window tells apart; what is beyond is counted under a common name. */
const MAX_COUNTED = 128;
const MAX_OPENERS = 32;
const MAX_GAPS = 32;
const PATH_CHARS = 1024;
const BEYOND = '(others)';

interface Opened {
  pid: number;
  command: string;
  paths: Set<string>;
  count: number;
  refused: number;
}

type Counted = Extract<KernelEntry, { type: 'kernel.connect' | 'kernel.socket' }>;

/** What happened since the last lines: exact counts, a bounded number of names. */
export class Window {
  #counted = new Map<string, Counted>();
  #opened = new Map<number | typeof BEYOND, Opened>();
  #gaps = new Map<string, Extract<KernelEntry, { type: 'kernel.gap' }>>();
  #burst = { starts: 0, exits: 0, commands: new Map<string, number>(), others: 0 };

  /** `line` is what tells this apart from others; those beyond the bound are counted with its outcome only. */
  count(line: Counted): void {
    const key = keyOf(line);
    const beyond = this.#counted.size >= MAX_COUNTED && !this.#counted.has(key);
    const name = beyond ? `${BEYOND} ${line.type} ${line.data.outcome}` : key;
    const known = this.#counted.get(name);
    if (known !== undefined) known.data.count += line.data.count;
    else this.#counted.set(name, beyond ? withoutName(line) : line);
  }

  open(by: { pid: number; command: string }, path: string, done: boolean): void {
    const key = this.#opened.size < MAX_OPENERS || this.#opened.has(by.pid) ? by.pid : BEYOND;
    let opened = this.#opened.get(key);
    if (opened === undefined) {
      opened = { ...by, paths: new Set(), count: 0, refused: 0 };
      if (key === BEYOND) opened.command = BEYOND;
      this.#opened.set(key, opened);
    }
    if (done) opened.count += 1;
    else opened.refused += 1;
    if (opened.paths.size < MAX_PATHS) opened.paths.add(path.slice(0, PATH_CHARS));
  }

  start(name: string): void {
    this.#burst.starts += 1;
    const { commands } = this.#burst;
    if (commands.has(name) || commands.size < MAX_NAMES) commands.set(name, (commands.get(name) ?? 0) + 1);
    else this.#burst.others += 1;
  }

  exit(): void {
    this.#burst.exits += 1;
  }

  gap(reason: GapReason, count: number, detail: string | undefined): void {
    const key = this.#gaps.size < MAX_GAPS ? `${reason} ${detail ?? ''}` : reason;
    const known = this.#gaps.get(key);
    if (known !== undefined) known.data.count += count;
    else {
      const data = { reason, count, ...(detail === undefined ? {} : { detail }) };
      this.#gaps.set(key, { type: 'kernel.gap', data });
    }
  }

  /** The lines of what happened; the window is empty afterwards. */
  close(): KernelEntry[] {
    const { starts, exits, commands, others } = this.#burst;
    const lines: KernelEntry[] = [];
    if (starts + exits > 0) {
      const data = { starts, exits, commands: Object.fromEntries(commands), others };
      lines.push({ type: 'process.burst', data });
    }
    lines.push(...this.#counted.values());
    for (const { pid, command, paths, count, refused } of this.#opened.values()) {
      const data = { 'process.pid': pid, 'process.command': command, paths: [...paths], count, refused };
      lines.push({ type: 'kernel.open', data });
    }
    lines.push(...this.#gaps.values());
    this.#burst = { starts: 0, exits: 0, commands: new Map(), others: 0 };
    this.#counted = new Map();
    this.#opened = new Map();
    this.#gaps = new Map();
    return lines;
  }
}

/** All but the process's number and the count. */
function keyOf({ type, data }: Counted): string {
  const at = type === 'kernel.connect' ? `${data['network.peer.address']}\0${data['network.peer.port'] ?? ''}` : '';
  return `${type}\0${data['process.command']}\0${at}\0${data['network.transport'] ?? ''}\0${data.outcome}`;
}

function withoutName(line: Counted): Counted {
  if (line.type === 'kernel.socket') return { ...line, data: { ...line.data, 'process.command': BEYOND } };
  const { outcome, count } = line.data;
  const pid = line.data['process.pid'];
  const data = { 'process.pid': pid, 'process.command': BEYOND, 'network.peer.address': BEYOND, outcome, count };
  return { type: 'kernel.connect', data };
}
