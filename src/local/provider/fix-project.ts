import { toolCall } from './tools.ts';
import type { Deed } from './tools.ts';
import type { Reply, Script, ScriptCall } from './script.ts';

/** One step of the plan. Paths may be relative to the agent's working directory. */
export type Step =
  | { read: string }
  | { write: { path: string; content: string } }
  | { edit: { path: string; before: string; after: string } }
  | { run: string }
  | { say: string };

export interface FixProjectOptions {
  /** The plan, or a function that picks one by the request (its `texts` hold the task). */
  steps: Step[] | ((call: ScriptCall) => Step[]);
  /** Where relative paths start; by default it is read out of the agent's own prompt. */
  cwd?: string;
  /** The answer to requests without tools, which ask for a title. */
  title?: string;
}

/**
 * A model that works through a plan with the agent's real tools, chosen by name and schema. It keeps no state of its
 * own: how far it is, it reads from the conversation, so that retries and several runs at a time do not confuse it.
 */
export function fixProject(options: FixProjectOptions): Script {
  return (call): Reply => {
    if (!call.main) return { text: options.title ?? 'Fix the failing test' };
    const steps = typeof options.steps === 'function' ? options.steps(call) : options.steps;
    const deeds = steps.flatMap((step, at) => ('say' in step ? [] : [{ step, at }]));
    const next = deeds[call.rounds];
    const from = call.rounds === 0 ? 0 : (deeds[Math.min(call.rounds, deeds.length) - 1]?.at ?? -1) + 1;
    const said = steps
      .slice(from, next?.at)
      .flatMap((step) => ('say' in step ? [step.say] : []))
      .join('\n');
    if (next === undefined) return { text: said === '' ? 'Done.' : said };
    const deed = toDeed(next.step, options.cwd ?? workingDirectory(call.texts));
    const wanted = toolCall(deed, call.tools);
    if (wanted === undefined) {
      return { text: `I have no tool to ${deed.kind}: only ${call.tools.map((tool) => tool.name).join(', ')}.` };
    }
    return { text: said, calls: [wanted] };
  };
}

function toDeed(step: Exclude<Step, { say: string }>, cwd: string | undefined): Deed {
  const at = (path: string): string => (path.startsWith('/') || cwd === undefined ? path : `${cwd}/${path}`);
  if ('read' in step) return { kind: 'read', path: at(step.read) };
  if ('write' in step) return { kind: 'write', path: at(step.write.path), content: step.write.content };
  if ('edit' in step) {
    return { kind: 'edit', path: at(step.edit.path), before: step.edit.before, after: step.edit.after };
  }
  return { kind: 'run', command: step.run };
}

/** Agents tell the model where they work, each in its own words. */
function workingDirectory(texts: string[]): string | undefined {
  for (const text of texts) {
    const found = /(?:<cwd>|working directory(?: is)?:?\s+)\s*["'`]?(\/[^\s"'`<]+)/i.exec(text)?.[1];
    if (found !== undefined) return found.replace(/[.,;]$/, '');
  }
  return undefined;
}
