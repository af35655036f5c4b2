import type { AuditEvent } from '../../domain/audit.ts';
import { listAt, numberAt, textAt, textsAt } from './field.ts';

export type EntryKind =
  | 'message'
  | 'thought'
  | 'plan'
  | 'tool'
  | 'command'
  | 'model'
  | 'network'
  | 'denied'
  | 'git'
  | 'check'
  | 'publish'
  | 'kernel'
  | 'run';

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
  /** It had more text, which is in the audit file only: others came since. */
  cut?: boolean;
  /** Which sandbox. */
  role?: string;
  /** How often, when it is more than one event. */
  count: number;
  details: [name: string, value: string][];
}

export interface ActivityStory {
  /** In order; the first ones and the newest ones, when there are too many to keep. */
  entries: Entry[];
  /** Entries that were not kept, between the first and the newest ones. */
  dropped: number;
}

/** The phase in which a sandbox proves its isolation; what it tries then is not the task's doing. */
export const SELF_TEST = 'self_test';

const MAX_ENTRIES = 20_000;
/** Of those, the first ones: how a run began is asked for as often as how it stands. */
export const FIRST_KEPT = 2_000;
/** Entries that go at a time, so that the list is not moved for each. */
const AT_A_TIME = 1_000;
/** Characters of all longer texts together; the oldest go first. */
const MAX_TEXTS = 8 * 1_048_576;
const MAX_DETAILS = 24;
const MAX_DETAIL = 1_000;
const MAX_TITLE = 400;

export interface Activity {
  story: ActivityStory;
  add: (event: AuditEvent, entry: Partial<Entry> & Pick<Entry, 'kind' | 'title'>) => Entry;
  /** Gives an entry a longer text. */
  say: (entry: Entry, key: 'text' | 'input', text: string) => void;
}

/** The list that entries are put into. What it keeps is bounded, whatever comes. */
export function createActivity(): Activity {
  const story: ActivityStory = { entries: [], dropped: 0 };
  const entries = story.entries;
  /** Entries with longer texts, in the order in which they got them. */
  const wordy = new Set<Entry>();
  let characters = 0;

  function forget(entry: Entry): void {
    if (!wordy.delete(entry)) return;
    characters -= size(entry);
    delete entry.text;
    delete entry.input;
    entry.cut = true;
  }

  function say(entry: Entry, key: 'text' | 'input', text: string): void {
    characters += text.length - (entry[key]?.length ?? 0);
    entry[key] = text;
    // Whose text is new is the newest.
    wordy.delete(entry);
    wordy.add(entry);
    for (const oldest of wordy) {
      if (characters <= MAX_TEXTS) return;
      forget(oldest);
    }
  }

  return {
    story,
    say,
    add(event, { text, input, ...given }) {
      const entry: Entry = {
        seq: event.seq,
        at: event.at,
        from: event.mono,
        voice: event.source === 'sandbox' ? 'agent' : 'host',
        outcome: 'none',
        count: 1,
        details: [],
        ...given,
        title: shortened(given.title, MAX_TITLE),
      };
      if (entries.length >= MAX_ENTRIES) {
        story.dropped += AT_A_TIME;
        for (const old of entries.splice(FIRST_KEPT, AT_A_TIME)) forget(old);
      }
      entries.push(entry);
      if (input !== undefined) say(entry, 'input', input);
      if (text !== undefined) say(entry, 'text', text);
      return entry;
    },
  };
}

function size({ text, input }: Entry): number {
  return (text?.length ?? 0) + (input?.length ?? 0);
}

function shortened(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

/** Puts a detail into an entry, as far as there is room. */
export function detail(entry: Entry, name: string, value: string | number | undefined): void {
  if (value === undefined || entry.details.length >= MAX_DETAILS) return;
  entry.details.push([shortened(name, 60), shortened(String(value), MAX_DETAIL)]);
}

/** Remembers at most so many; the oldest are forgotten. */
export function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MAX_OPEN && oldest !== undefined) map.delete(oldest);
}

/** Of things that began and have not ended. */
const MAX_OPEN = 1_000;

/** What the agent says: messages, plans, and its tool calls, each of which is one entry however often it changes. */
export function agentTaker(activity: Activity): (event: AuditEvent) => void {
  const tools = new Map<string, Entry>();
  const { add } = activity;
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
        takeTool(event, tools, activity);
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

function takeTool(event: AuditEvent, tools: Map<string, Entry>, { add, say }: Activity): void {
  const { data } = event;
  const id = textAt(data, 'id') ?? '';
  const status = textAt(data, 'status') ?? '';
  const entry = tools.get(id) ?? add(event, { kind: 'tool', title: '', outcome: 'running' });
  remember(tools, id, entry);
  entry.title = shortened(textAt(data, 'title') ?? entry.title, MAX_TITLE);
  entry.outcome = TOOL_OUTCOME[status] ?? 'running';
  if (entry.outcome !== 'running') entry.to = event.mono;
  const kind = textAt(data, 'toolKind');
  if (kind !== undefined && !entry.details.some(([name]) => name === 'kind')) detail(entry, 'kind', kind);
  detail(entry, status, `${(event.mono / 1000).toFixed(1)} s`);
  const input = textAt(data, 'input');
  if (input !== undefined) say(entry, 'input', input);
  const output = textAt(data, 'output');
  if (output !== undefined) say(entry, 'text', output);
}

/** Commands that the host ran in a sandbox: start and end are one entry. */
export function commandTaker({ add, say }: Activity): (event: AuditEvent) => void {
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
      if (open.length > MAX_OPEN) open.shift();
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
    const code = numberAt(data, 'process.exit.code');
    best.entry.to = event.mono;
    best.entry.outcome = code === 0 ? 'ok' : 'failed';
    detail(best.entry, 'exit code', code);
    const problem = textAt(data, 'problem');
    if (problem !== undefined) detail(best.entry, 'its end was not seen', problem);
    if (data['timedOut'] === true) detail(best.entry, 'ended by', 'the time limit');
    const tail = textAt(data, 'tail');
    if (tail !== undefined) say(best.entry, 'text', tail);
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
