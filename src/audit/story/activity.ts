import type { AuditEvent } from '../../domain/audit.ts';
import { listAt, numberAt, textAt, textsAt } from './field.ts';

export const ENTRY_KINDS = [
  'message',
  'thought',
  'plan',
  'tool',
  'command',
  'model',
  'network',
  'denied',
  'git',
  'check',
  'publish',
  'kernel',
  'run',
] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** One thing that happened, for people: several events where they belong together. */
export interface Entry {
  /** Of its first event. */
  seq: number;
  at: string;
  from: number;
  to?: number;
  kind: EntryKind;
  /** `host` saw it from outside; `agent` said it. */
  voice: 'host' | 'agent';
  title: string;
  /** What a tool call was given. */
  input?: string;
  /** Longer text: what was said, what a command printed, what a tool call gave. */
  text?: string;
  outcome: 'none' | 'running' | 'ok' | 'failed' | 'denied';
  /** Which sandbox. */
  role?: string;
  /** How often, when it is more than one event. */
  count: number;
  details: [name: string, value: string][];
}

export interface ActivityStory {
  entries: Entry[];
  /** Entries that were not kept, because there are too many. */
  dropped: number;
}

/** The phase in which a sandbox proves its isolation; what it tries then is not the task's doing. */
export const SELF_TEST = 'self_test';

const MAX_ENTRIES = 20_000;
const MAX_DETAILS = 24;

export interface Activity {
  story: ActivityStory;
  add: (event: AuditEvent, entry: Partial<Entry> & Pick<Entry, 'kind' | 'title'>) => Entry;
}

/** The list that entries are put into. */
export function createActivity(): Activity {
  const story: ActivityStory = { entries: [], dropped: 0 };
  return {
    story,
    add(event, given) {
      const entry: Entry = {
        seq: event.seq,
        at: event.at,
        from: event.mono,
        voice: event.source === 'sandbox' ? 'agent' : 'host',
        outcome: 'none',
        count: 1,
        details: [],
        ...given,
      };
      if (story.entries.length < MAX_ENTRIES) story.entries.push(entry);
      else story.dropped += 1;
      return entry;
    },
  };
}

/** Puts a detail into an entry, as far as there is room. */
export function detail(entry: Entry, name: string, value: string | number | undefined): void {
  if (value !== undefined && entry.details.length < MAX_DETAILS) entry.details.push([name, String(value)]);
}

/** What the agent says: messages, plans, and its tool calls, each of which is one entry however often it changes. */
export function agentTaker({ add }: Activity): (event: AuditEvent) => void {
  const tools = new Map<string, Entry>();
  return (event) => {
    const { data } = event;
    switch (event.type) {
      case 'agent.text':
        add(event, { kind: 'message', title: 'says', text: textAt(data, 'text') ?? '' });
        return;
      case 'agent.thought':
        add(event, { kind: 'thought', title: 'thinks', text: textAt(data, 'text') ?? '' });
        return;
      case 'agent.plan':
        add(event, { kind: 'plan', title: 'plans', text: planText(data) });
        return;
      case 'agent.tool':
        takeTool(event, tools, add);
    }
  };
}

function planText(data: unknown): string {
  const marks: Record<string, string> = { completed: '✓', in_progress: '→' };
  return listAt(data, 'entries')
    .map((entry) => `${marks[textAt(entry, 'status') ?? ''] ?? '·'} ${textAt(entry, 'content') ?? ''}`)
    .join('\n');
}

const TOOL_OUTCOME: Record<string, Entry['outcome']> = { completed: 'ok', failed: 'failed', cancelled: 'failed' };

function takeTool(event: AuditEvent, tools: Map<string, Entry>, add: Activity['add']): void {
  const { data } = event;
  const id = textAt(data, 'id') ?? '';
  const status = textAt(data, 'status') ?? '';
  const entry = tools.get(id) ?? add(event, { kind: 'tool', title: '', outcome: 'running' });
  tools.set(id, entry);
  entry.title = textAt(data, 'title') ?? entry.title;
  entry.outcome = TOOL_OUTCOME[status] ?? 'running';
  if (entry.outcome !== 'running') entry.to = event.mono;
  const kind = textAt(data, 'toolKind');
  if (kind !== undefined && !entry.details.some(([name]) => name === 'kind')) detail(entry, 'kind', kind);
  detail(entry, status, `${(event.mono / 1000).toFixed(1)} s`);
  const input = textAt(data, 'input');
  if (input !== undefined) entry.input = input;
  const output = textAt(data, 'output');
  if (output !== undefined) entry.text = output;
}

/** Commands that the host ran in a sandbox: start and end are one entry. */
export function commandTaker({ add }: Activity): (event: AuditEvent) => void {
  const open: { entry: Entry; name: string }[] = [];
  return (event) => {
    const { data } = event;
    const role = textAt(data, 'role') ?? '';
    if (event.type === 'process.start') {
      const argv = textsAt(data, 'process.command_args');
      const entry = add(event, { kind: 'command', title: shownCommand(argv), role, outcome: 'running' });
      detail(entry, 'user', textAt(data, 'process.user'));
      detail(entry, 'directory', textAt(data, 'cwd'));
      detail(entry, 'arguments', JSON.stringify(argv));
      open.push({ entry, name: argv[0] ?? '' });
      return;
    }
    const durationMs = numberAt(data, 'durationMs') ?? 0;
    const name = textAt(data, 'process.command') ?? '';
    // Commands of one sandbox may overlap: it is the one that began when this end says that it began.
    const began = event.mono - durationMs;
    const candidates = open.filter((one) => one.name === name && one.entry.role === role);
    const best = candidates.sort((a, b) => Math.abs(a.entry.from - began) - Math.abs(b.entry.from - began))[0];
    if (best === undefined) return;
    open.splice(open.indexOf(best), 1);
    const code = numberAt(data, 'process.exit.code') ?? -1;
    best.entry.to = event.mono;
    best.entry.outcome = code === 0 ? 'ok' : 'failed';
    detail(best.entry, 'exit code', code);
    if (data['timedOut'] === true) detail(best.entry, 'ended by', 'the time limit');
    const tail = textAt(data, 'tail');
    if (tail !== undefined) best.entry.text = tail;
  };
}

/** `sh -c SCRIPT` is shown as the script's first line, or by the name that the host gave the script and its arguments. */
function shownCommand(argv: string[]): string {
  const [shell = '', flag, script, name] = argv;
  if (name !== undefined && /^[a-z][a-z-]*$/.test(name) && flag === '-c') return argv.slice(3).join(' ');
  const line = /\/(?:ba|da)?sh$/.test(shell) && flag === '-c' && script !== undefined ? script.trim() : argv.join(' ');
  const first = line.split('\n')[0] ?? '';
  return first.length < line.length ? `${first} …` : first;
}
