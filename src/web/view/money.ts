import type { SpendingStory } from '../../audit/story/spending.ts';
import { formatUsd } from '../../domain/ids.ts';
import { html, type Markup } from '../html.ts';
import type { RunView } from './run-view.ts';
import { clock, count, plural } from './words.ts';

const WIDTH = 400;
const HEIGHT = 190;
const LEFT = 6;
const TOP = 22;
const BOTTOM = 164;
const MAX_DRAWN = 400;

/** Fewer points, the last one always among them. */
function thinned<T>(points: readonly T[]): T[] {
  const step = Math.ceil(points.length / MAX_DRAWN);
  return points.filter((_, index) => index % step === 0 || index === points.length - 1);
}

/** Money over time: what is settled as an area, what is set aside for open calls above it, the cap as a line. */
function chart(spending: SpendingStory, elapsedMs: number): Markup {
  const top = spending.cap ?? Math.max(1, ...spending.points.map((point) => point.spent + point.held));
  const x = (at: number): string => (LEFT + (at / Math.max(1, elapsedMs)) * (WIDTH - 2 * LEFT)).toFixed(1);
  const y = (money: number): string => (BOTTOM - (Math.min(money, top) / Math.max(1, top)) * (BOTTOM - TOP)).toFixed(1);
  const points = thinned(spending.points);
  const line = (height: (point: (typeof points)[number]) => number): string =>
    points.map((point) => `H ${x(point.at)} V ${y(height(point))}`).join(' ');
  const closed = `H ${x(elapsedMs)} V ${BOTTOM} Z`;
  const begin = `M ${LEFT} ${BOTTOM}`;
  return html`<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="money-chart">
    <title id="money-chart">
      ${formatUsd(spending.spent)} spent${spending.cap === undefined ? '' : ` of ${formatUsd(spending.cap)}`} in
      ${plural(spending.turns, 'model call')}
    </title>
    ${[0.25, 0.5, 0.75].map((share) => html`<line class="grid" x1="${LEFT}" x2="${WIDTH - LEFT}" y1="${y(top * share)}" y2="${y(top * share)}" />`)}
    <path class="held" d="${begin} ${line((point) => point.spent + point.held)} ${closed}" />
    <path class="spent" d="${begin} ${line((point) => point.spent)} ${closed}" />
    ${spending.cap !== undefined && html`<line class="cap" x1="${LEFT}" x2="${WIDTH - LEFT}" y1="${y(top)}" y2="${y(top)}" /><text class="cap" x="${WIDTH - LEFT}" y="${TOP - 7}" text-anchor="end">cap ${formatUsd(spending.cap)}</text>`}
    <line class="axis" x1="${LEFT}" x2="${WIDTH - LEFT}" y1="${BOTTOM}" y2="${BOTTOM}" />
    <text class="note" x="${LEFT}" y="${HEIGHT - 8}">0:00</text>
    <text class="note" x="${WIDTH - LEFT}" y="${HEIGHT - 8}" text-anchor="end">${clock(elapsedMs)}</text>
  </svg>`;
}

export function moneyPart(view: RunView): Markup {
  const { story } = view;
  const spending = story?.spending;
  const calls = spending?.calls ?? [];
  return html`<section id="money" data-part class="card" aria-labelledby="money-title">
    <header>
      <h2 id="money-title">Money</h2>
      ${calls.length > 0 && html`<a class="end" href="?show=model#activity" data-soft>${plural(calls.length, 'call')}</a>`}
    </header>
    ${spending === undefined || story === undefined || calls.length === 0 ? html`<p class="quiet pad">No model was called.</p>` : chart(spending, story.elapsedMs)}
    <p class="legend">
      <span class="key spent"></span>settled <span class="key held"></span>worst case, set aside before each call
    </p>
    ${spending !== undefined && spending.turns > 0 && html`<p class="quiet pad">${count(spending.inputTokens)} tokens in, ${count(spending.outputTokens)} out${spending.refused > 0 && `; ${plural(spending.refused, 'call')} refused`}</p>`}
  </section>`;
}
