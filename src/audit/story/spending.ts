import type { AuditEvent } from '../../domain/audit.ts';
import { numberAt, textAt } from './field.ts';

/** One call of a model. Money in micro-dollars. */
export interface ModelCall {
  id: string;
  seq: number;
  from: number;
  model: string;
  /** The worst case that was set aside before the call went out. */
  granted: number;
  outcome: string;
  cost?: number;
  inputTokens?: number;
  outputTokens?: number;
  cachedTokens?: number;
  ms?: number;
  status?: number;
}

/** Money at one moment: settled, and set aside for calls that are under way. */
export interface SpendingPoint {
  at: number;
  spent: number;
  held: number;
}

export interface SpendingStory {
  cap: number | undefined;
  maxTurns: number | undefined;
  spent: number;
  held: number;
  turns: number;
  inputTokens: number;
  outputTokens: number;
  refused: number;
  calls: ModelCall[];
  points: SpendingPoint[];
}

const MAX_CALLS = 5_000;
const MAX_POINTS = 2_000;

/** Money from `llm.reserve`, `llm.settle`, `llm.recover` and refused calls. */
export function createSpending(): { take: (event: AuditEvent) => void; story: SpendingStory } {
  const open = new Map<string, ModelCall>();
  const story: SpendingStory = {
    cap: undefined,
    maxTurns: undefined,
    spent: 0,
    held: 0,
    turns: 0,
    inputTokens: 0,
    outputTokens: 0,
    refused: 0,
    calls: [],
    points: [],
  };

  function mark(at: number): void {
    story.points.push({ at, spent: story.spent, held: story.held });
    if (story.points.length > MAX_POINTS) story.points = story.points.filter((_, index) => index % 2 === 0);
  }

  function reserve({ data, seq, mono }: AuditEvent): void {
    const call: ModelCall = {
      id: textAt(data, 'callId') ?? '',
      seq,
      from: mono,
      model: textAt(data, 'model') ?? '',
      granted: numberAt(data, 'granted') ?? 0,
      outcome: 'running',
    };
    open.set(call.id, call);
    if (story.calls.length < MAX_CALLS) story.calls.push(call);
    story.held += call.granted;
    mark(mono);
  }

  function settle({ data, mono }: AuditEvent): void {
    const id = textAt(data, 'callId') ?? '';
    const call = open.get(id);
    open.delete(id);
    const cost = numberAt(data, 'cost') ?? 0;
    const [input, cacheRead, output] = ['input', 'cacheRead', 'output'].map((key) => numberAt(data, 'usage', key) ?? 0);
    const written = (numberAt(data, 'usage', 'cacheWrite') ?? 0) + (numberAt(data, 'usage', 'cacheWrite1h') ?? 0);
    story.held = Math.max(0, story.held - (call?.granted ?? 0));
    story.spent = numberAt(data, 'runCost') ?? story.spent + cost;
    story.turns = numberAt(data, 'turns') ?? story.turns + 1;
    story.inputTokens += (input ?? 0) + (cacheRead ?? 0) + written;
    story.outputTokens += output ?? 0;
    if (call !== undefined) {
      call.outcome = textAt(data, 'outcome') ?? 'settled';
      call.cost = cost;
      call.inputTokens = (input ?? 0) + (cacheRead ?? 0) + written;
      call.cachedTokens = cacheRead ?? 0;
      call.outputTokens = output ?? 0;
      call.ms = Math.round(numberAt(data, 'ms') ?? mono - call.from);
      const status = numberAt(data, 'status');
      if (status !== undefined) call.status = status;
    }
    mark(mono);
  }

  return {
    story,
    take(event) {
      if (event.type === 'llm.reserve') reserve(event);
      else if (event.type === 'llm.settle') settle(event);
      else if (event.type === 'llm.refuse') story.refused += 1;
      else if (event.type === 'llm.recover') {
        story.spent += numberAt(event.data, 'cost') ?? 0;
        story.held = 0;
        mark(event.mono);
      }
    },
  };
}
