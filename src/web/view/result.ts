/** What came of the run: verification, files, diff, isolation. Facts of the host, and the agent's last words marked as such. */
import { html, type Markup } from '../html.ts';
import type { RunView } from './run-view.ts';
import { count, duration, plural, printed } from './words.ts';

export function verificationPart(view: RunView): Markup {
  const outline = view.story?.outline;
  const checks = outline?.checks ?? [];
  const wanted = outline?.manifest?.verify ?? [];
  const empty = wanted.length === 0 ? 'No command is configured.' : `To come: ${wanted.join(', ')}`;
  return html`<section id="verification" data-part class="card" aria-labelledby="verification-title">
    <header>
      <h2 id="verification-title">Verification</h2>
      <span class="quiet">in a second fresh sandbox</span>
    </header>
    ${checks.length === 0 && html`<p class="quiet pad">${empty}</p>`}
    <ul class="checks">
      ${checks.map((check, index) => {
        const ok = check.exitCode === 0;
        return html`<li class="${ok ? 'ok' : 'failed'}">
          <details data-keep="c${index}">
            <summary>
              <span class="icon ${ok ? 'ok' : 'failed'}" aria-hidden="true">${ok ? '✓' : '✕'}</span>
              <code>${check.command}</code>
              <span class="quiet">exit ${check.exitCode}, ${duration(check.durationMs)}</span>
            </summary>
            <pre tabindex="0" role="region" aria-label="Output">${printed(check.tail)}</pre>
          </details>
        </li>`;
      })}
    </ul>
    ${outline !== undefined && outline.checksRun > checks.length && html`<p class="quiet pad">and ${count(outline.checksRun - checks.length)} more, ${count(outline.checksFailed)} of all failed</p>`}
  </section>`;
}

export function filesPart(view: RunView): Markup {
  const outline = view.story?.outline;
  const files = outline?.files ?? [];
  const shown = files.slice(0, 100);
  return html`<section id="files" data-part class="card" aria-labelledby="files-title">
    <header>
      <h2 id="files-title">Files</h2>
      <span class="quiet">${files.length === 0 ? 'none changed' : plural(files.length, 'file')}</span>
    </header>
    <ul class="files">
      ${shown.map((file) => html`<li><span class="sort">${file.status}</span> <code>${file.path}</code> ${file.protectedClass !== undefined && html`<span class="tag bad">${file.protectedClass}</span>`} <span class="plus">+${count(file.additions)}</span> <span class="minus">−${count(file.deletions)}</span></li>`)}
    </ul>
    ${files.length > shown.length && html`<p class="quiet pad">and ${count(files.length - shown.length)} more</p>`}
    ${outline?.commit !== undefined && html`<p class="quiet pad">Commit <code>${outline.commit}</code></p>`}
    ${
      outline?.agentEnd !== undefined &&
      outline.agentEnd.summary !== '' &&
      html`<details data-keep="summary">
        <summary>The agent's last words</summary>
        <p class="prose said">${printed(outline.agentEnd.summary)}</p>
      </details>`
    }
  </section>`;
}

const MAX_DIFF_LINES = 3_000;

function diffLine(line: string): Markup {
  const sort =
    line.startsWith('+') && !line.startsWith('+++')
      ? 'add'
      : line.startsWith('-') && !line.startsWith('---')
        ? 'del'
        : line.startsWith('@@')
          ? 'hunk'
          : '';
  return html`<span class="${sort}">${line} </span>`;
}

/** A change whose patch is not here: it was larger than what servers share, or it is gone. */
function noDiff({ story }: RunView): Markup {
  const { commit, outcome } = story?.outline ?? {};
  if (commit === undefined || outcome === undefined) return html`<section id="diff" data-part hidden></section>`;
  return html`<section id="diff" data-part class="card" aria-labelledby="diff-title">
    <header><h2 id="diff-title">Diff</h2></header>
    <p class="quiet pad">
      This server does not have the patch: it is larger than what hosts share, or was not kept. Commit
      <code>${commit}</code> has the change.
    </p>
  </section>`;
}

/** The diff as it was kept, one block for each file. */
export function diffPart(view: RunView): Markup {
  const { patch, runId } = view;
  if (patch === null) return noDiff(view);
  const lines = patch.replace(/\n$/, '').split('\n');
  const shown = lines.slice(0, MAX_DIFF_LINES);
  const blocks: string[][] = [];
  for (const line of shown) {
    if (line.startsWith('diff --git ') || blocks.length === 0) blocks.push([]);
    blocks.at(-1)?.push(line);
  }
  return html`<section id="diff" data-part class="card" aria-labelledby="diff-title">
    <header>
      <h2 id="diff-title">Diff</h2>
      <a class="end" href="/runs/${runId}/change.patch" download>Download the patch</a>
    </header>
    ${blocks.map(
      (block, index) =>
        html`<details open data-keep="d${index}">
          <summary><code>${block[0]?.replace(/^diff --git a\/.* b\//, '') ?? ''}</code></summary>
          <pre class="diff" tabindex="0" role="region" aria-label="Changes of one file">
${block.slice(1).map(diffLine)}</pre>
        </details>`,
    )}
    ${lines.length > shown.length && html`<p class="quiet pad">The diff has ${count(lines.length)} lines; the rest is in the patch.</p>`}
    ${view.story?.outline.patchCut === true && html`<p class="pad"><b>The patch is cut.</b> It ends before the change does: the change is larger than this host keeps. The commit has all of it.</p>`}
  </section>`;
}

export function isolationPart(view: RunView): Markup {
  const outline = view.story?.outline;
  const tests = outline?.selfTests ?? [];
  return html`<section id="isolation" data-part class="card" aria-labelledby="isolation-title">
    <header>
      <h2 id="isolation-title">Isolation</h2>
      <span class="quiet">proved before anything of the task ran</span>
    </header>
    ${tests.length === 0 && html`<p class="quiet pad">Not proved yet.</p>`}
    ${tests.map((test, index) => {
      const good = test.checks.filter((check) => check.ok).length;
      return html`<details data-keep="t${index}">
        <summary>
          <span class="icon ${test.ok ? 'ok' : 'failed'}" aria-hidden="true">${test.ok ? '✓' : '✕'}</span> Sandbox
          <b>${test.role}</b>: ${good} of ${test.checks.length} checks
        </summary>
        <table class="receipt">
          <tbody>
            ${test.checks.map(
              (check) =>
                html`<tr class="${check.ok ? 'ok' : 'failed'}">
                  <th scope="row">${check.name}</th>
                  <td>${check.ok ? '✓' : '✕'}</td>
                  <td><code>${check.observed}</code></td>
                </tr>`,
            )}
          </tbody>
        </table>
      </details>`;
    })}
    ${outline !== undefined && outline.destroyed.length > 0 && html`<p class="quiet pad">Destroyed: ${outline.destroyed.join(', ')}</p>`}
  </section>`;
}
