import type { AuditEvent } from '../../domain/audit.ts';
import { field, numberAt, textAt, textsAt } from './field.ts';

/** A process that gVisor's kernel reported: a hint from the sandbox, not the host's own sight. */
export interface ProcessFact {
  role: string;
  pid: number;
  parent: number | undefined;
  command: string;
  from: number;
  to?: number;
  /** Exit code, or the signal that ended it. */
  end?: string;
  failed: boolean;
}

export interface ProcessStory {
  /** In the order of their starts. */
  processes: ProcessFact[];
  /** Processes beyond those that are kept one by one. */
  more: number;
  connects: number;
  opens: number;
  /** Reports that the kernel or its collector lost, as far as they were counted. */
  gaps: number;
  /** Did the record of every sandbox end without a gap? Undefined: there is none, or it goes on. */
  complete: boolean | undefined;
}

const MAX_PROCESSES = 2_000;
const MAX_COMMAND = 300;

/** The record of processes, from `process.*` and `kernel.*` of the sandboxes. */
export function createProcesses(): { take: (event: AuditEvent) => void; story: ProcessStory } {
  const story: ProcessStory = { processes: [], more: 0, connects: 0, opens: 0, gaps: 0, complete: undefined };
  const running = new Map<string, ProcessFact>();

  function start({ data, mono }: AuditEvent): void {
    if (story.processes.length >= MAX_PROCESSES) {
      story.more += 1;
      return;
    }
    const argv = textsAt(data, 'process.command_args').join(' ');
    const shown =
      argv === '' ? (textAt(data, 'process.executable.path') ?? textAt(data, 'process.command') ?? '') : argv;
    const process: ProcessFact = {
      role: textAt(data, 'role') ?? '',
      pid: numberAt(data, 'process.pid') ?? 0,
      parent: numberAt(data, 'process.parent_pid'),
      command: shown.length > MAX_COMMAND ? `${shown.slice(0, MAX_COMMAND)}…` : shown,
      from: mono,
      failed: false,
    };
    story.processes.push(process);
    running.set(`${process.role}|${process.pid}`, process);
  }

  function exit({ data, mono }: AuditEvent): void {
    const found = running.get(`${textAt(data, 'role') ?? ''}|${numberAt(data, 'process.pid') ?? 0}`);
    if (found === undefined) return;
    const code = numberAt(data, 'process.exit.code');
    const signal = numberAt(data, 'process.exit.signal');
    found.to = mono;
    found.end = signal === undefined ? `exit ${code ?? '?'}` : `signal ${signal}`;
    found.failed = signal !== undefined || code !== 0;
  }

  const times = (event: AuditEvent): number => numberAt(event.data, 'count') ?? 1;
  return {
    story,
    take(event) {
      switch (event.type) {
        case 'process.start': {
          start(event);
          return;
        }
        case 'process.exit': {
          exit(event);
          return;
        }
        case 'process.burst':
          story.more += numberAt(event.data, 'starts') ?? times(event);
          return;
        case 'kernel.connect':
          story.connects += times(event);
          return;
        case 'kernel.open':
          story.opens += times(event);
          return;
        case 'kernel.gap':
          story.gaps += Math.max(1, times(event));
          return;
        case 'kernel.end':
          story.complete = (story.complete ?? true) && field(event.data, 'complete') === true;
      }
    },
  };
}
