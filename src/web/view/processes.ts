/** The processes of the sandboxes as a tree. They are the kernel's word from inside, so they are marked as hints. */
import type { ProcessFact, ProcessStory } from '../../audit/story/processes.ts';
import { html, type Markup, type Part } from '../html.ts';
import type { RunView } from './run-view.ts';
import { count, duration, plural } from './words.ts';

const MAX_SHOWN = 400;
const MAX_DEPTH = 24;

function line(process: ProcessFact): Markup {
  const took = process.to === undefined ? 'running' : duration(process.to - process.from);
  return html`<code>${process.command}</code> <span class="quiet end-of">${process.end} ${took}</span>`;
}

/** Each process below the one that started it; a parent that is not known makes a root. */
function tree(processes: readonly ProcessFact[]): Markup {
  const latest = new Map<string, ProcessFact>();
  const children = new Map<ProcessFact | undefined, ProcessFact[]>();
  for (const process of processes) {
    const parent = process.parent === undefined ? undefined : latest.get(`${process.role}|${process.parent}`);
    const among = children.get(parent);
    if (among === undefined) children.set(parent, [process]);
    else among.push(process);
    latest.set(`${process.role}|${process.pid}`, process);
  }
  const draw = (of: ProcessFact | undefined, depth: number): Part => {
    const below = depth > MAX_DEPTH ? [] : (children.get(of) ?? []);
    if (below.length === 0) return false;
    return html`<ul>
      ${below.map((process) => html`<li class="${process.failed ? 'failed' : ''}">${line(process)} ${draw(process, depth + 1)}</li>`)}
    </ul>`;
  };
  return html`<div class="tree" tabindex="0" role="region" aria-label="Processes">${draw(undefined, 0)}</div>`;
}

function whole({ complete, gaps }: ProcessStory): string {
  if (gaps > 0) return `The record has gaps: ${plural(gaps, 'report')} or more are missing.`;
  return complete === true
    ? 'The record of processes is without a gap.'
    : 'The record goes on, or its end was not reported.';
}

export function processesPart(view: RunView): Markup {
  const story = view.story?.processes;
  const processes = story?.processes ?? [];
  if (story === undefined || (processes.length === 0 && story.complete === undefined))
    return html`<section id="processes" data-part class="card" aria-labelledby="processes-title">
      <header><h2 id="processes-title">Processes</h2></header>
      <p class="quiet pad">No process record.</p>
    </section>`;
  return html`<section id="processes" data-part class="card" aria-labelledby="processes-title">
    <header>
      <h2 id="processes-title">Processes</h2>
      <span class="quiet">reported by the sandbox's kernel: hints</span>
    </header>
    <p class="quiet pad">
      ${plural(processes.length + story.more, 'process', 'processes')}, ${plural(story.connects, 'connect')},
      ${plural(story.opens, 'file opened', 'files opened')} for writing. ${whole(story)}
    </p>
    <details data-keep="tree">
      <summary>Process tree</summary>
      ${tree(processes.slice(0, MAX_SHOWN))}
      ${processes.length > MAX_SHOWN && html`<p class="quiet pad">and ${count(processes.length - MAX_SHOWN)} more in the audit file</p>`}
    </details>
  </section>`;
}
