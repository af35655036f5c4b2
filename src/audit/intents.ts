/**
 * Which effects were begun and have no outcome: each is recorded before it happens, and its outcome after. Where a worker ended
 * in between, nobody knows whether it happened, and who ends its run says so.
 */
import type { AuditEvent } from '../domain/audit.ts';

/** An effect whose outcome is not known: its line in the file, counted from 1, and its class. */
export interface OpenIntent {
  line: number;
  type: string;
}

type Event = Pick<AuditEvent, 'seq' | 'type' | 'data' | 'source'>;

interface Effect {
  /** Fields that intent and outcome have in common; of several that are the same the oldest ends first. */
  by: readonly string[];
  /** Classes that are its outcome. */
  outcomes: readonly string[];
  /** The step whose end is its outcome as well: done, or failed with the run's error. */
  step?: string;
}

/** What the host does and tells before. Of what a sandbox reports, nothing is an intent. */
const EFFECTS: Readonly<Record<string, Effect>> = {
  'sandbox.create': { by: ['role'], outcomes: ['sandbox.self_test', 'sandbox.destroyed'], step: 'self_test' },
  'sandbox.destroy': { by: ['container'], outcomes: ['sandbox.destroyed'] },
  'process.start': { by: ['role', 'process.command'], outcomes: ['process.exit'] },
  'llm.reserve': { by: ['callId'], outcomes: ['llm.settle'] },
  'git.commit': { by: [], outcomes: ['harvest.done'], step: 'harvest' },
  'git.push': { by: ['branch', 'commit'], outcomes: ['git.push_end'] },
  'publish.pull': { by: ['branch'], outcomes: ['publish.pull_end'] },
  'publish.ask': { by: ['pull'], outcomes: ['publish.ask_end'] },
  'publish.check_run': { by: ['commit'], outcomes: ['publish.check_run_end'] },
  'publish.local': { by: [], outcomes: [], step: 'publish' },
};

/** Effects under way that are told apart; a run that has more at once than this has lost count already. */
const MAX_OPEN = 10_000;

export interface Intents {
  take(event: Event): void;
  /** In the order of the file. */
  open(): OpenIntent[];
}

export function createIntents(): Intents {
  const open = new Map<string, OpenIntent[]>();
  let size = 0;

  function end(key: string): void {
    const [first, ...rest] = open.get(key) ?? [];
    if (first === undefined) return;
    size -= 1;
    if (rest.length === 0) open.delete(key);
    else open.set(key, rest);
  }

  function endAll(type: string): void {
    for (const [key, all] of open) {
      if (key.split('|', 1)[0] !== type) continue;
      size -= all.length;
      open.delete(key);
    }
  }

  return {
    take(event) {
      const { type, data, source } = event;
      if (source !== 'host') return;
      for (const [intent, { by, outcomes, step }] of Object.entries(EFFECTS)) {
        if (outcomes.includes(type)) end(keyOf(intent, by, data));
        if (type === 'run.step' && step === data['step'] && data['state'] !== 'started') endAll(intent);
      }
      const effect = EFFECTS[type];
      if (effect === undefined || size >= MAX_OPEN) return;
      const key = keyOf(type, effect.by, data);
      open.set(key, [...(open.get(key) ?? []), { line: event.seq + 1, type }]);
      size += 1;
    },
    open: () => [...open.values()].flat().sort((a, b) => a.line - b.line),
  };
}

function keyOf(type: string, by: readonly string[], data: Record<string, unknown>): string {
  const argv = data['process.command_args'];
  // A start has all arguments where its end has the first one.
  const all = Array.isArray(argv) ? { ...data, 'process.command': argv[0] as unknown } : data;
  return [type, ...by.map((name) => JSON.stringify([all[name]]))].join('|');
}
