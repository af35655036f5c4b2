/** The record itself: what is known of it, how to check it, and what was frozen. */
import { describeReading } from '../../audit/read.ts';
import { html, type Markup } from '../html.ts';
import type { RunView } from './run-view.ts';
import { bytes, moment, plural } from './words.ts';

function downloads(view: RunView): Markup {
  const { runId } = view;
  return html`<ul class="downloads">
    <li><a href="/runs/${runId}/audit.jsonl" download>Audit file</a></li>
    ${view.seal !== null && html`<li><a href="/runs/${runId}/audit.seal" download>Seal</a></li>`}
    ${view.patch !== null && html`<li><a href="/runs/${runId}/change.patch" download>Patch</a></li>`}
    <li><a href="/runs/${runId}/events">All events</a></li>
    <li><a href="/runs/${runId}/check">Check the record</a></li>
  </ul>`;
}

function hash(name: string, value: string | undefined): Markup | false {
  return (
    value !== undefined &&
    html`<div>
      <dt>${name}</dt>
      <dd><code class="hash">${value}</code></dd>
    </div>`
  );
}

function chainWords(view: RunView): Markup {
  const { reading } = view;
  if (reading === undefined) return html`<p class="quiet pad">No line is written yet.</p>`;
  const odd = describeReading(reading, view.over, view.seal);
  const whole = odd.length === 0;
  return html`<p class="pad chain ${whole ? 'good' : 'bad'}">
      <span aria-hidden="true">${whole ? '✓' : '!'}</span> ${plural(reading.lines, 'line')}, ${bytes(reading.bytes)}:
      ${whole ? 'each follows from the one before' : 'not as it was written'}${view.seal !== null ? ', sealed' : view.over ? ', without a seal' : ', growing'}.
    </p>
    ${
      !whole &&
      html`<ul class="pad">
        ${odd.map((one) => html`<li>${one}</li>`)}
      </ul>`
    }`;
}

export function recordPart(view: RunView): Markup {
  const { story, reading, runId } = view;
  const outline = story?.outline;
  return html`<section id="record" data-part class="card" aria-labelledby="record-title">
    <header>
      <h2 id="record-title">Record</h2>
      <span class="quiet">a hash chain, written outside the sandbox</span>
    </header>
    ${chainWords(view)}
    <dl class="facts pad">
      ${reading !== undefined && reading.lines > 0 && hash('Head', `sha256:${reading.head}`)}
      ${hash('Checkpoint in the commit', outline?.checkpoint)} ${hash('Diff', outline?.diffHash)}
    </dl>
    ${downloads(view)}
    <details data-keep="how">
      <summary>How to check it yourself</summary>
      <p class="pad">
        Download the audit file and the seal into one directory; the installation's public key is with its operator.
      </p>
      <pre tabindex="0">cofferdam verify ${runId}.jsonl --key audit.pem.pub</pre>
    </details>
    ${outline?.manifest !== undefined && frozen(view)}
  </section>`;
}

function frozen(view: RunView): Markup {
  const manifest = view.story?.outline.manifest;
  if (manifest === undefined) return html``;
  return html`<details data-keep="task">
      <summary>Frozen task</summary>
      ${manifest.task !== undefined && html`<pre tabindex="0" role="region" aria-label="Task">${manifest.task}</pre>`}
      ${
        manifest.texts.length > 0 &&
        html`<div class="scroll" tabindex="0" role="group" aria-label="Texts">
          <table>
            <thead>
              <tr>
                <th scope="col">Text</th>
                <th scope="col">By</th>
                <th scope="col">Edited</th>
                <th scope="col">Hash</th>
              </tr>
            </thead>
            <tbody>
              ${manifest.texts.map(
                (text) =>
                  html`<tr>
                    <th scope="row">${text.kind}</th>
                    <td>${text.author}${text.mayWrite === false && html` <span class="tag">no write access</span>`}</td>
                    <td>${moment(text.updatedAt)}</td>
                    <td><code class="hash">${text.sha256}</code></td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>`
      }
    </details>
    <details data-keep="digests">
      <summary>Frozen inputs</summary>
      <dl class="facts pad">
        ${hash('Base', manifest.base)}${hash('Branch', manifest.branch)}
        ${manifest.digests.map(([name, value]) => hash(name, value))}
        ${manifest.versions.map(([name, value]) => hash(name, value))}
      </dl>
    </details>`;
}
