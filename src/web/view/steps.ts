import type { StepFact } from '../../audit/story/steps.ts';
import { html, type Markup } from '../html.ts';
import type { RunView } from './run-view.ts';
import { duration, stepWords } from './words.ts';

const ICON: Record<StepFact['state'], string> = { running: '●', done: '✓', failed: '✕' };
const WORDS: Record<StepFact['state'], string> = { running: 'under way', done: 'done', failed: 'failed' };

/** Where the time went: one bar, a segment for each step. */
function timeline(steps: readonly StepFact[], elapsedMs: number): Markup {
  const total = Math.max(elapsedMs, 1);
  const segments = steps.map((step, index) => {
    const took = step.durationMs ?? Math.max(0, elapsedMs - step.from);
    const x = Math.min(100, (step.from / total) * 100);
    const width = Math.max(0.3, Math.min(100 - x, (took / total) * 100));
    return html`<rect
      class="${step.state} shade${index % 2}"
      x="${x.toFixed(2)}%"
      width="${width.toFixed(2)}%"
      height="100%"
      ><title>${stepWords(step.name)}: ${duration(took)}</title></rect
    >`;
  });
  return html`<svg class="timeline" aria-hidden="true">
    <rect class="track" width="100%" height="100%" rx="4" />
    ${segments}
  </svg>`;
}

/** The steps with their durations, in order. */
export function stepsPart(view: RunView): Markup {
  const { story } = view;
  const steps = story?.steps ?? [];
  return html`<section id="steps" data-part aria-label="Steps">
    ${steps.length > 0 && story !== undefined && timeline(steps, story.elapsedMs)}
    <ol class="steps">
      ${steps.map(
        (step) =>
          html`<li class="${step.state}" ${step.state === 'running' && html`aria-current="step"`}>
            <span class="icon" aria-hidden="true">${ICON[step.state]}</span> ${stepWords(step.name)}
            <span class="for-readers">${WORDS[step.state]}</span>
            <span class="took">${step.durationMs === undefined ? '…' : duration(step.durationMs)}</span>
          </li>`,
      )}
    </ol>
  </section>`;
}
