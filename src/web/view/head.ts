/** The top of a run's page: what it is, how it stands, and the figures. */
import { allAttempts } from '../../audit/story/network.ts';
import type { RunStory } from '../../audit/story/story.ts';
import { formatUsd } from '../../domain/ids.ts';
import { html, type Markup, type Part } from '../html.ts';
import { toGitHub } from './github-link.ts';
import { currentStep, damaged, repositoryOf, stateOf, titleOf, type RunView } from './run-view.ts';
import { badge, bytes, clock, count, moment, plural, reasonWords, stateWords, stepWords, type Tone } from './words.ts';

function origin(view: RunView): Markup {
  const { record, story } = view;
  const manifest = story?.outline.manifest;
  const repository = repositoryOf(view);
  const source = record?.request.source ?? manifest?.thread;
  const pull = record?.pull ?? (manifest !== undefined ? pullOf(view) : undefined);
  return html`<p class="crumbs">
    <a href="/runs">Runs</a>
    ${repository !== undefined && html`<span aria-hidden="true">/</span> ${toGitHub(view, `${view.githubOrigin}/${repository}`, repository)}`}
    ${source !== undefined && html`<span aria-hidden="true">/</span> ${toGitHub(view, source.url, `#${source.number}`)}`}
    ${pull !== undefined && html`<span aria-hidden="true">→</span> ${toGitHub(view, pull.url, `pull request #${pull.number}`)}`}
  </p>`;
}

function pullOf(view: RunView): { number: number; url: string } | undefined {
  const number = view.story?.outline.pull;
  const repository = repositoryOf(view);
  if (number === undefined || repository === undefined) return undefined;
  return { number, url: `${view.githubOrigin}/${repository}/pull/${number}` };
}

function byline(view: RunView): Markup {
  const { story, record, runId } = view;
  const manifest = story?.outline.manifest;
  const who = manifest?.requester ?? record?.request.actor.login;
  const parts: Part[] = [
    who !== undefined && html`asked for by <b>${who}</b>`,
    manifest?.agent !== undefined && html`agent <b>${manifest.agent}</b>`,
    manifest?.model !== undefined && html`model <b>${manifest.model}</b>`,
    story?.startedAt !== undefined
      ? html`began ${moment(story.startedAt)}`
      : record !== null && html`asked ${moment(record.request.requestedAt)}`,
    html`run <code>${runId}</code>`,
  ].filter((part) => part !== false);
  return html`<p class="byline">
    ${parts.map((part, index) => [index > 0 && html` <span aria-hidden="true">·</span> `, part])}
  </p>`;
}

/** One sentence on how it stands. */
function verdict(view: RunView): Markup {
  const state = stateOf(view);
  const { story } = view;
  if (state === 'queued') {
    const ahead = view.ahead ?? 0;
    return html`Waits for a worker; ${ahead === 0 ? 'it is the next one' : `${plural(ahead, 'run')} before it`}.`;
  }
  const outcome = story?.outline.outcome;
  if (outcome === undefined) {
    const step = currentStep(view);
    return step === '' ? html`Begins.` : html`Now: <b>${stepWords(step)}</b>.`;
  }
  const reason = outcome.reason === undefined ? '' : `Ended early: ${reasonWords(outcome.reason)}. `;
  const error = outcome.error;
  return html`${reason}${error === undefined ? sentence(state) : html`<b>${error.code}</b>: ${error.message}`}`;
}

function sentence(state: string): string {
  switch (state) {
    case 'succeeded':
      return 'The change was made by the host from the final tree and verified in a second sandbox.';
    case 'unverified':
      return 'A change was made; no command to verify it was configured.';
    case 'verify_failed':
      return 'A change was made, but verification failed.';
    case 'no_change':
      return 'The agent ended without a change.';
    case 'held':
      return 'The change waits for a person before it is pushed.';
    default:
      return '';
  }
}

interface Figure {
  name: string;
  value: Part;
  note: Part;
  /** 0 to 1 of a limit. */
  share?: number;
  tone?: Tone;
}

function shareTone(share: number): Tone {
  return share >= 0.95 ? 'bad' : share >= 0.8 ? 'warn' : 'good';
}

function figure({ name, value, note, share, tone = 'plain' }: Figure): Markup {
  const width = `${Math.min(100, Math.max(0.5, (share ?? 0) * 100)).toFixed(1)}%`;
  return html`<div class="figure ${tone}">
    <dt>${name}</dt>
    <dd>
      <span class="value">${value}</span> <span class="note">${note}</span>
      ${
        share !== undefined &&
        html`<svg class="bar" aria-hidden="true">
          <rect class="track" width="100%" height="100%" rx="2" />
          <rect class="fill ${shareTone(share)}" width="${width}" height="100%" rx="2" />
        </svg>`
      }
    </dd>
  </div>`;
}

function figures(view: RunView, story: RunStory): Markup {
  const { spending, network, outline, elapsedMs } = story;
  const timeout = outline.manifest?.timeoutMs;
  const live = !view.over && outline.outcome === undefined;
  const denied = allAttempts(network);
  const hosts = network.hosts.filter((host) => host.allowed + host.requests > 0).length;
  const { checksRun, checksFailed: failed } = outline;
  const plus = outline.files.reduce((sum, file) => sum + file.additions, 0);
  const minus = outline.files.reduce((sum, file) => sum + file.deletions, 0);
  const ticking = live && html` data-elapsed="${Math.round(elapsedMs)}"`;
  const all: Figure[] = [
    {
      name: 'Time',
      value: html`<span class="clock" ${ticking}>${clock(elapsedMs)}</span>`,
      note: timeout === undefined ? '' : `of ${clock(timeout)}`,
      ...(timeout === undefined ? {} : { share: elapsedMs / timeout }),
    },
    {
      name: 'Money',
      value: formatUsd(spending.spent),
      note: spending.cap === undefined ? 'no model' : `of ${formatUsd(spending.cap)}`,
      ...(spending.cap === undefined ? {} : { share: spending.spent / spending.cap }),
    },
    {
      name: 'Model calls',
      value: count(spending.turns),
      note: spending.maxTurns === undefined ? '' : `of ${count(spending.maxTurns)}`,
      ...(spending.maxTurns === undefined ? {} : { share: spending.turns / spending.maxTurns }),
    },
    {
      name: 'Network',
      value: denied === 0 ? 'nothing denied' : `${count(denied)} denied`,
      note: `${plural(hosts, 'host')} allowed, ${bytes(network.bytesIn + network.bytesOut)}`,
      tone: denied === 0 ? 'good' : 'bad',
    },
    {
      name: 'Change',
      value: outline.commit === undefined ? '–' : plural(outline.files.length, 'file'),
      note:
        outline.commit === undefined
          ? 'none yet'
          : html`<span class="plus">+${plus}</span> <span class="minus">−${minus}</span>`,
    },
    {
      name: 'Verification',
      value: checksRun === 0 ? '–' : failed === 0 ? 'passed' : `${failed} failed`,
      note: checksRun === 0 ? 'not run' : plural(checksRun, 'command'),
      tone: checksRun === 0 ? 'plain' : failed === 0 ? 'good' : 'bad',
    },
  ];
  return html`<dl class="figures">${all.map(figure)}</dl>`;
}

/** Title, state, figures. */
export function head(view: RunView): Markup {
  const state = stateOf(view);
  return html`<section id="head" data-part aria-labelledby="title">
    ${origin(view)}
    <div class="headline">
      <h1 id="title">${titleOf(view)}</h1>
      ${badge(state)}
    </div>
    ${byline(view)}
    <p class="verdict ${stateWords(state).tone}">${verdict(view)}</p>
    ${damaged(view) && html`<p class="verdict bad" role="alert"><b>The record of this run is not as it was written</b>: <a href="#record">what does not fit</a>. What is shown here is what could be read.</p>`}
    ${view.story !== undefined && figures(view, view.story)}
  </section>`;
}

/** What a screen reader is told when it changes. */
export function announcement(view: RunView): Markup {
  const state = stateOf(view);
  const step = currentStep(view);
  const words = state === 'running' && step !== '' ? `Running: ${stepWords(step)}` : stateWords(state).words;
  return html`<p id="announcement" data-part class="for-readers" role="status">${words}</p>`;
}
