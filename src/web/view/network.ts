/** The way out: a map of what passed the gateway and what ended there, and the same as a table. */
import { allAttempts, attempts, type HostFact, type NetworkStory } from '../../audit/story/network.ts';
import type { RunStory } from '../../audit/story/story.ts';
import { html, type Markup } from '../html.ts';
import type { RunView } from './run-view.ts';
import { bytes, clock, count, plural } from './words.ts';

interface Lane {
  name: string;
  note: string;
  kind: 'through' | 'service' | 'stopped';
  weight: number;
}

const MAX_LANES = { through: 9, stopped: 8 };
const MAX_ROWS = 200;
const LANE = 26;
const WALL = 300;
const NAME = 360;
const RIGHT = 800;

function reasons(host: HostFact): string {
  return Object.keys(host.reasons).join(', ');
}

function shownName(host: HostFact): string {
  return host.port === 0 ? host.host : `${host.host}:${host.port}`;
}

function lanes(story: RunStory): Lane[] {
  const { hosts } = story.network;
  const through = hosts
    .filter((host) => host.allowed + host.requests > 0)
    .sort((a, b) => b.bytesIn + b.bytesOut - a.bytesIn - a.bytesOut);
  const stopped = hosts.filter((host) => attempts(host) > 0).sort((a, b) => attempts(b) - attempts(a));
  const services: Lane[] = [
    {
      name: 'model',
      note: plural(story.spending.turns, 'call'),
      kind: 'service' as const,
      weight: story.spending.turns,
    },
    {
      name: 'git mirror on the host',
      note: plural(story.types.get('git.request') ?? 0, 'request'),
      kind: 'service' as const,
      weight: story.types.get('git.request') ?? 0,
    },
  ].filter((lane) => lane.weight > 0);
  return [
    ...services,
    ...through.slice(0, MAX_LANES.through).map((host) => ({
      name: shownName(host),
      note: `${bytes(host.bytesIn)} in, ${bytes(host.bytesOut)} out`,
      kind: 'through' as const,
      weight: host.bytesIn + host.bytesOut,
    })),
    ...stopped.slice(0, MAX_LANES.stopped).map((host) => ({
      name: shownName(host),
      note: `${count(attempts(host))} × ${reasons(host)}`,
      kind: 'stopped' as const,
      weight: attempts(host),
    })),
  ];
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

function drawLane(lane: Lane, y: number, middle: number): Markup {
  const width = lane.kind === 'through' ? Math.min(9, 1.5 + Math.log10(1 + lane.weight / 1_000) * 1.6) : 2;
  const end = lane.kind === 'stopped' ? WALL - 9 : NAME - 14;
  const curve = `M 104 ${middle} C 190 ${middle}, 190 ${y}, ${WALL - 40} ${y} L ${end} ${y}`;
  return html`<g class="lane ${lane.kind}">
    <title>${lane.name}: ${lane.note}</title>
    <path d="${curve}" stroke-width="${width.toFixed(1)}" />
    ${lane.kind === 'stopped' ? html`<path class="cross" d="M ${WALL - 13} ${y - 5} l 10 10 m 0 -10 l -10 10" />` : html`<circle cx="${NAME - 12}" cy="${y}" r="3.5" />`}
    <text x="${NAME}" y="${y + 4}">${cut(lane.name, 38)}</text>
    <text class="note" x="${RIGHT - 6}" y="${y + 4}" text-anchor="end">${cut(lane.note, 30)}</text>
  </g>`;
}

function map(story: RunStory): Markup {
  const all = lanes(story);
  if (all.length === 0) return html`<p class="quiet pad">Nothing left the sandbox, and nothing tried to.</p>`;
  const height = Math.max(4, all.length) * LANE + 36;
  const middle = height / 2;
  return html`<svg class="map" viewBox="0 0 ${RIGHT} ${height}" role="img" aria-labelledby="map-title">
      <title id="map-title">What left the sandbox and what the gateway stopped; the table below says the same.</title>
      ${all.map((lane, index) => drawLane(lane, 28 + index * LANE, middle))}
      <rect class="box" x="8" y="${middle - 24}" width="96" height="48" rx="8" />
      <text class="label" x="56" y="${middle + 4}" text-anchor="middle">sandbox</text>
      <rect class="wall" x="${WALL - 3}" y="16" width="6" height="${height - 24}" rx="3" />
      <text class="label" x="${WALL}" y="11" text-anchor="middle">gateway</text>
    </svg>
    <ul class="lanes">
      ${all.map(inWords)}
    </ul>`;
}

/** The same lane where the map would be too small to read: on a phone. */
function inWords({ kind, name, note }: Lane): Markup {
  const stopped = kind === 'stopped';
  return html`<li class="${kind}">
    <span aria-hidden="true">${stopped ? '✕' : '→'}</span
    ><span class="for-readers">${stopped ? 'stopped' : 'passed'}</span> <code>${name}</code>
    <span class="quiet">${note}</span>
  </li>`;
}

function row(host: HostFact): Markup {
  const tried = attempts(host);
  const went = host.allowed + host.requests > 0;
  const word = tried > 0 && went ? 'both' : tried > 0 ? 'denied' : went ? 'allowed' : 'self-test';
  const why = went ? host.rules.join('; ') : reasons(host);
  return html`<tr class="${word}">
    <th scope="row"><code>${shownName(host)}</code></th>
    <td>
      <span class="dot" aria-hidden="true"></span>${word === 'self-test' ? 'refused, as the self-test expects' : word}
    </td>
    <td class="number">${count(went ? host.allowed || host.requests : host.denied)}</td>
    <td class="number">${bytes(host.bytesIn)}</td>
    <td class="number">${bytes(host.bytesOut)}</td>
    <td>${why}${went && tried > 0 && ` (denied ${count(tried)} ×: ${reasons(host)})`}</td>
    <td class="number">${clock(host.firstMs)}</td>
  </tr>`;
}

function table(network: NetworkStory): Markup {
  const rank = (host: HostFact): number => (attempts(host) > 0 ? 0 : host.allowed + host.requests > 0 ? 1 : 2);
  const hosts = [...network.hosts]
    .sort((a, b) => rank(a) - rank(b))
    .filter((host) => host.allowed + host.requests + host.denied > 0);
  return html`<div class="scroll" tabindex="0" role="group" aria-label="All hosts">
    <table>
      <thead>
        <tr>
          <th scope="col">Host</th>
          <th scope="col">Decision</th>
          <th scope="col">Times</th>
          <th scope="col">In</th>
          <th scope="col">Out</th>
          <th scope="col">Rule or reason</th>
          <th scope="col">First</th>
        </tr>
      </thead>
      <tbody>
        ${hosts.slice(0, MAX_ROWS).map(row)}
      </tbody>
    </table>
    ${hosts.length > MAX_ROWS && html`<p class="quiet">and ${count(hosts.length - MAX_ROWS)} more hosts in the audit file</p>`}
  </div>`;
}

export function networkPart(view: RunView): Markup {
  const { story } = view;
  const rules = story?.outline.manifest?.rules ?? [];
  const denied = story === undefined ? 0 : allAttempts(story.network);
  return html`<section id="network" data-part class="card" aria-labelledby="network-title">
    <header>
      <h2 id="network-title">Network</h2>
      <span class="quiet">one way out, denied unless a rule allows it</span>
      ${denied > 0 && html`<a class="end" href="?show=denied#activity" data-soft>${count(denied)} denied</a>`}
    </header>
    ${story === undefined ? html`<p class="quiet pad">Not begun.</p>` : map(story)}
    ${
      story !== undefined &&
      html`<details data-keep="hosts">
        <summary>All hosts as a table</summary>
        ${table(story.network)}
      </details>`
    }
    <details data-keep="rules">
      <summary>Policy in force: ${plural(rules.length, 'rule')}</summary>
      <div class="scroll" tabindex="0" role="group" aria-label="Rules">
        <table>
          <thead>
            <tr>
              <th scope="col">Host</th>
              <th scope="col">Ports</th>
              <th scope="col">Methods</th>
              <th scope="col">Paths</th>
              <th scope="col">TLS</th>
              <th scope="col">From</th>
            </tr>
          </thead>
          <tbody>
            ${rules.slice(0, MAX_ROWS).map(
              (rule) =>
                html`<tr>
                  <th scope="row"><code>${rule.host}</code></th>
                  <td>${rule.ports}</td>
                  <td>${rule.methods || 'all'}</td>
                  <td>${rule.paths || 'all'}</td>
                  <td>${rule.passThrough ? 'passed through' : 'looked into'}</td>
                  <td>${rule.source}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </details>
  </section>`;
}
