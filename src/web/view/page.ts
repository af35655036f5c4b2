import { html, type Markup, type Part } from '../html.ts';
import { activityPart } from './activity.ts';
import { announcement, head } from './head.ts';
import { heldPart } from './held.ts';
import { moneyPart } from './money.ts';
import { networkPart } from './network.ts';
import { processesPart } from './processes.ts';
import { recordPart } from './record.ts';
import { diffPart, filesPart, isolationPart, verificationPart } from './result.ts';
import { stateOf, titleOf, type RunView } from './run-view.ts';
import { stepsPart } from './steps.ts';
import { stateWords } from './words.ts';

export interface Frame {
  title: string;
  /** Who is signed in; undefined where nobody is. */
  viewer: string | undefined;
  /** Changes with the style and the script, so that both may be kept. */
  assets: string;
  body: Markup;
  /** Where the script listens; undefined for pages that do not change. */
  live?: string | undefined;
}

/** A whole document. Nothing in it comes from elsewhere, and no script or style is written into it. */
export function frame({ title, viewer, assets, body, live }: Frame): Markup {
  const listening = live !== undefined && html` data-live="${live}"`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <link rel="stylesheet" href="/runs/-/${assets}/style.css" />
        <link rel="icon" href="/runs/-/${assets}/icon.svg" type="image/svg+xml" />
        <script type="module" src="/runs/-/${assets}/live.js"></script>
      </head>
      <body>
        <a class="skip" href="#main">To the content</a>
        <header class="top">
          <div class="wrap">
            <a class="brand" href="/runs"
              ><svg aria-hidden="true" viewBox="0 0 20 20">
                <path d="M2 13 q2.5 -3 5 0 t5 0 t6 -1 M5 3 v9 M15 3 v9 M5 5 h10" /></svg
              >Cofferdam</a
            >
            <span class="connection" id="connection" hidden></span>
            ${viewer !== undefined && html`<form class="viewer" method="post" action="/runs/-/logout"><span>${viewer}</span> <button>Sign out</button></form>`}
          </div>
        </header>
        <main id="main" ${listening}><div class="wrap">${body}</div></main>
        <footer><div class="wrap">Facts are what the host saw; what an agent says is marked as its word.</div></footer>
      </body>
    </html> `;
}

/** One part of a run's page; parts are replaced one by one while it goes on. */
interface PagePart {
  id: string;
  markup: Markup;
}

const PARTS: [string, (view: RunView) => Markup][] = [
  ['announcement', announcement],
  ['head', head],
  ['held', heldPart],
  ['steps', stepsPart],
  ['network', networkPart],
  ['money', moneyPart],
  ['activity', activityPart],
  ['verification', verificationPart],
  ['files', filesPart],
  ['isolation', isolationPart],
  ['processes', processesPart],
  ['record', recordPart],
  ['diff', diffPart],
];

export function runParts(view: RunView): PagePart[] {
  return PARTS.map(([id, part]) => ({ id, markup: part(view) }));
}

export function runTitle(view: RunView): string {
  return `${stateWords(stateOf(view)).words}: ${titleOf(view)} · Cofferdam`;
}

export function runBody(view: RunView): Markup {
  const parts = Object.fromEntries(runParts(view).map(({ id, markup }): [string, Part] => [id, markup]));
  return html`${parts['announcement']} ${parts['head']} ${parts['held']} ${parts['steps']}
    <div class="pair">${parts['network']} ${parts['money']}</div>
    <div class="columns">
      <div class="wide">${parts['activity']} ${parts['diff']}</div>
      <div class="side">
        ${parts['verification']} ${parts['files']} ${parts['isolation']} ${parts['processes']} ${parts['record']}
      </div>
    </div>`;
}
