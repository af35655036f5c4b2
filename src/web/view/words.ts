/** Numbers and states in words. */
import { stripVTControlCharacters } from 'node:util';
import { html, type Markup } from '../html.ts';

/** `950` → `950 ms`, `61500` → `1 min 2 s`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
}

/** Time since the run began, as on a stop watch: `1:02`. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const hours = Math.floor(seconds / 3_600);
  const pad = (value: number): string => String(value).padStart(2, '0');
  const rest = `${pad(Math.floor((seconds % 3_600) / 60))}:${pad(seconds % 60)}`;
  return hours > 0 ? `${hours}:${rest}` : rest;
}

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit] ?? ''}`;
}

export function count(value: number): string {
  return value.toLocaleString('en-US');
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A moment: readable, exact in its title, and in the reader's own time where a script can do that. */
export function moment(at: string): Markup {
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return html`<span>${at}</span>`;
  const iso = time.toISOString();
  return html`<time datetime="${iso}" title="${iso}">${iso.slice(0, 16).replace('T', ' ')} UTC</time>`;
}

/** What a program printed, without what would steer a terminal. */
export function printed(text: string): string {
  return stripVTControlCharacters(text);
}

export type Tone = 'good' | 'bad' | 'warn' | 'busy' | 'plain';

const STATES: Record<string, [words: string, tone: Tone]> = {
  queued: ['Queued', 'busy'],
  running: ['Running', 'busy'],
  succeeded: ['Succeeded', 'good'],
  unverified: ['Done, not verified', 'warn'],
  verify_failed: ['Verification failed', 'bad'],
  no_change: ['No change', 'plain'],
  partial: ['Partial', 'warn'],
  timed_out: ['Timed out', 'bad'],
  over_budget: ['Over budget', 'bad'],
  held: ['Held for a person', 'warn'],
  needs_input: ['Needs an answer', 'warn'],
  cancelled: ['Cancelled', 'plain'],
  refused: ['Refused', 'bad'],
  failed: ['Failed', 'bad'],
};

export function stateWords(state: string): { words: string; tone: Tone } {
  const [words, tone] = STATES[state] ?? [state, 'plain'];
  return { words, tone };
}

const ICONS: Record<Tone, string> = { good: '✓', bad: '✕', warn: '!', busy: '●', plain: '–' };

export function badge(state: string): Markup {
  const { words, tone } = stateWords(state);
  return html`<span class="badge ${tone}"><span aria-hidden="true">${ICONS[tone]}</span> ${words}</span>`;
}

const REASONS: Record<string, string> = {
  max_cost: 'the money was used up',
  max_turns: 'the number of model calls was reached',
  timeout: 'the time was up',
  disk: 'the disk was full',
  oom: 'the memory was used up',
  pids: 'the number of processes was reached',
  stopped: 'somebody stopped it',
  shutdown: 'its worker was shut down',
  portal_lost: 'the sandbox ended',
  gateway_lost: 'the gateway process was lost',
  record_lost: 'the record of its processes was lost',
  idle: 'the agent did nothing for too long',
};

export function reasonWords(reason: string): string {
  return REASONS[reason] ?? reason;
}

const STEP_WORDS: Record<string, string> = {
  mirror: 'Fetch repository',
  spec: 'Freeze task',
  gateway: 'Open gateway',
  sandbox: 'Create sandbox',
  self_test: 'Prove isolation',
  clone: 'Clone',
  setup: 'Set up',
  agent: 'Agent works',
  harvest: 'Harvest and check',
  verify: 'Verify',
  publish: 'Publish',
  destroy: 'Destroy',
  seal: 'Seal',
  report: 'Report',
};

export function stepWords(step: string): string {
  return STEP_WORDS[step] ?? step;
}
