/** A result that waits for a person: what it is, why it waits, and what lets it go. */
import type { HeldFact } from '../../audit/story/outline.ts';
import type { CiRisk } from '../../domain/held.ts';
import { html, type Markup } from '../html.ts';
import { toGitHub } from './github-link.ts';
import { stateOf, type RunView } from './run-view.ts';
import { count } from './words.ts';

const MAX_FILES = 200;

const RISKS: Record<CiRisk, string> = {
  secrets: 'runs on what is pushed and uses secrets',
  write_permission: 'runs on what is pushed, with a token that may write',
  default_permission: 'runs on what is pushed and says no permissions, so that its token may write',
  self_hosted: 'runs what is pushed on a machine of your own',
  unreadable: 'cannot be read for certain',
  other_service: 'belongs to another CI service, whose secrets are not known here',
};

function riskWords(risk: string): string {
  return Object.hasOwn(RISKS, risk) ? RISKS[risk as CiRisk] : risk;
}

function files(view: RunView, held: HeldFact): Markup {
  const classes = new Map(view.story?.outline.files.map((file) => [file.path, file.protectedClass]));
  const shown = held.files.slice(0, MAX_FILES);
  return html`<ul class="files">
      ${shown.map((path) => {
        const named = classes.get(path)?.replaceAll('_', ' ');
        return html`<li>
          <code>${path}</code> ${named !== undefined && html`<span class="tag bad">${named}</span>`}
        </li>`;
      })}
    </ul>
    ${held.files.length > shown.length && html`<p class="quiet pad">and ${count(held.files.length - shown.length)} more</p>`}`;
}

/** Nothing, unless the result was held. */
export function heldPart(view: RunView): Markup {
  const held = view.story?.outline.held;
  if (held === undefined) return html`<section id="held" data-part hidden></section>`;
  const { record, patch } = view;
  const thread = record?.request.source.url ?? view.story?.outline.manifest?.thread?.url;
  const fork = view.story?.outline.manifest?.fork;
  const whole = patch === null || fork !== undefined ? 'change' : html`<a href="#diff">change</a>`;
  const waits = stateOf(view) === 'held';
  return html`<section id="held" data-part class="card held" aria-labelledby="held-title">
    <header>
      <h2 id="held-title">${waits ? 'Waits for a person' : 'Was held, and a person let it go'}</h2>
      <span class="quiet">rule <code>${held.rule}</code></span>
    </header>
    <p class="pad">${waits ? 'Nothing was pushed: these files are the reason.' : 'These files were the reason.'}</p>
    ${files(view, held)}
    ${
      held.ci.length > 0 &&
      html`<p class="pad">Code that executes in CI waits because:</p>
        <ul class="files">
          ${held.ci.map(({ file, risk }) => html`<li><code>${file}</code> ${riskWords(risk)}</li>`)}
        </ul>`
    }
    ${
      fork !== undefined &&
      html`<p class="pad">
        The commits of #${fork}, a pull request from a fork, would come along: the files are of both together, the diff
        below is of the run's own part.
      </p>`
    }
    ${
      waits &&
      html`<p class="pad">
          Whoever may write to the repository and agrees with the whole ${whole} writes this on the
          ${toGitHub(view, thread, 'issue or pull request')}:
        </p>
        <pre tabindex="0" role="region" aria-label="What lets it go">${view.prefix} publish ${held.short}</pre>
        <p class="quiet pad">That publishes exactly this commit; any other diff has another hash.</p>`
    }
  </section>`;
}
