/**
 * Trust: every value read here was written by the sandbox. Unknown or malformed updates are ignored, texts are cut,
 * counts are capped. Nothing is neutralised: whoever shows a message or puts it into Markdown does that.
 */
import { cap, isObject } from './text.ts';
import type { Json } from './text.ts';
import { printedMore, toolInput, toolOutput } from './tool.ts';

/** What the agent says while it works: prose and hints, never facts. Fits the port of the same name. */
export type AgentMessage =
  | { kind: 'text'; text: string }
  | { kind: 'thought'; text: string }
  | ToolMessage
  | { kind: 'plan'; entries: { content: string; status: string }[] };

/** A tool call as it stands. Input and output are texts for people, cut; each is there when it is new. */
export interface ToolMessage {
  kind: 'tool';
  id: string;
  title: string;
  status: string;
  toolKind?: string;
  input?: string;
  output?: string;
}

/** How the agent ended. Says nothing about the work: the diff does. Fits the port of the same name. */
export interface AgentOutcome {
  /** What the agent gave (`end_turn` and its kin), or `error`, `idle`, `cancelled`, `lost` (the streams ended). */
  stop: string;
  /** What it said last, cut, as it came. */
  summary: string;
  error?: string;
  /** Messages beyond the caps and lines that were not the protocol's: read, but not reported. */
  dropped?: number;
}

export interface MessageLimits {
  /** Messages handed on; more are counted only. */
  maxReported: number;
  /** UTF-16 units of the summary. */
  maxSummary: number;
}

const MESSAGE_LIMITS: MessageLimits = { maxReported: 5_000, maxSummary: 16_384 };

/** Text is handed on in pieces of about this size: agents send it word by word. */
const PIECE = 4_096;
const MAX_TITLE = 500;
const MAX_PLAN_ENTRIES = 50;
const MAX_TOOLS = 1_000;

export interface Reporter {
  /** A `session/update` notification's parameters. */
  update(params: unknown): void;
  text(text: string): void;
  /** Hands on what is still held back: nothing more comes. */
  flush(): void;
  summary(): string;
  dropped(): number;
}

interface Tool {
  title: string;
  status: string;
  toolKind: string | undefined;
  input: string | undefined;
  /** Handed on when the call has ended: agents repeat what a command printed so far, again and again. */
  output: string | undefined;
}

/** A change of one of these is worth a message; of the output only at the end. */
const VISIBLE_EARLY = ['title', 'status', 'toolKind', 'input'] as const;
const VISIBLE = [...VISIBLE_EARLY, 'output'] as const;
const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled']);

/** Turns the agent's updates into few and small messages, and keeps its last text as the summary. */
export function createReporter(options: {
  onMessage: (message: AgentMessage) => void;
  limits?: MessageLimits;
}): Reporter {
  const limits = options.limits ?? MESSAGE_LIMITS;
  const tools = new Map<string, Tool>();
  let pending: { kind: 'text' | 'thought'; text: string } | undefined;
  let lastPlan = '';
  let summary = '';
  /** The next text begins a new summary: something else was said or done since the last one. */
  let fresh = true;
  let reported = 0;
  let dropped = 0;

  function report(message: AgentMessage): void {
    if (reported >= limits.maxReported) {
      dropped += 1;
      return;
    }
    reported += 1;
    options.onMessage(message);
  }

  function hand(): void {
    if (pending !== undefined && pending.text !== '') report({ kind: pending.kind, text: pending.text.toWellFormed() });
    pending = undefined;
  }

  /** What a command had printed when it was cut off is said, too. */
  function flush(): void {
    hand();
    for (const [id, tool] of tools)
      if (!ENDED.has(tool.status) && tool.output !== undefined) handTool(id, tool, tool, true);
    tools.clear();
  }

  function prose(kind: 'text' | 'thought', text: string): void {
    if (pending?.kind !== kind) hand();
    pending ??= { kind, text: '' };
    for (let at = 0; at < text.length; at += PIECE) {
      pending = { kind, text: pending.text + text.slice(at, at + PIECE) };
      if (pending.text.length >= PIECE) {
        hand();
        pending = { kind, text: '' };
      }
    }
  }

  function say(text: string): void {
    if (fresh && text.trim() !== '') {
      summary = '';
      fresh = false;
    }
    if (!fresh && summary.length < limits.maxSummary) summary += text.slice(0, limits.maxSummary - summary.length);
    prose('text', text);
  }

  function tool(update: Json): void {
    const id = readText(update['toolCallId'], 200);
    if (id === undefined) return;
    const before = tools.get(id);
    const now: Tool = {
      title: readText(update['title'], MAX_TITLE) ?? before?.title ?? '',
      status: readWord(update['status']) ?? before?.status ?? 'pending',
      toolKind: readWord(update['kind']) ?? before?.toolKind,
      input: toolInput(update) ?? before?.input,
      output: toolOutput(update) ?? printedMore(before?.output, update),
    };
    const [oldest] = tools.keys();
    if (before === undefined && tools.size >= MAX_TOOLS && oldest !== undefined) tools.delete(oldest);
    tools.set(id, now);
    const ended = ENDED.has(now.status);
    const seen = ended ? VISIBLE : VISIBLE_EARLY;
    if (before !== undefined && seen.every((key) => before[key] === now[key])) return;
    hand();
    fresh = true;
    handTool(id, now, before, ended);
  }

  function handTool(id: string, now: Tool, before: Tool | undefined, over: boolean): void {
    const { title, status, toolKind, input, output } = now;
    const message: ToolMessage = { kind: 'tool', id, title, status };
    if (toolKind !== undefined) message.toolKind = toolKind;
    if (input !== undefined && input !== before?.input) message.input = input;
    if (output !== undefined && over) message.output = output;
    report(message);
  }

  function plan(update: Json): void {
    const list = Array.isArray(update['entries']) ? update['entries'].slice(0, MAX_PLAN_ENTRIES) : [];
    const entries = list.filter(isObject).map((entry) => ({
      content: readText(entry['content'], MAX_TITLE) ?? '',
      status: readWord(entry['status']) ?? 'pending',
    }));
    const text = JSON.stringify(entries);
    if (text === lastPlan) return;
    lastPlan = text;
    hand();
    report({ kind: 'plan', entries });
  }

  function update(params: unknown): void {
    const body = isObject(params) ? params['update'] : undefined;
    if (!isObject(body)) return;
    const content = isObject(body['content']) ? body['content']['text'] : undefined;
    switch (body['sessionUpdate']) {
      case 'agent_message_chunk':
        if (typeof content === 'string') say(content);
        break;
      case 'agent_thought_chunk':
        if (typeof content === 'string') prose('thought', content);
        break;
      case 'tool_call':
      case 'tool_call_update':
        tool(body);
        break;
      case 'plan':
        plan(body);
    }
  }

  return { update, text: say, flush, summary: () => summary.trim().toWellFormed(), dropped: () => dropped };
}

function readText(value: unknown, length: number): string | undefined {
  return typeof value === 'string' ? cap(value, length) : undefined;
}

/** The protocol's own words (statuses, kinds) and those of later versions; anything else is not one. */
function readWord(value: unknown): string | undefined {
  return typeof value === 'string' && /^[a-z_]{1,32}$/.test(value) ? value : undefined;
}
