import { formatUsd } from '../../domain/ids.ts';
import type { Limits } from '../../domain/policy.ts';
import type { ChangedFile, CommandFact, EgressEntryFact, RunResult, Usage } from '../../domain/run.ts';
import type { EndReason, FinalState } from '../../domain/final-state.ts';
import type { DenyReason } from '../../domain/decision.ts';
import { errorRow } from '../../domain/errors.ts';
import { classOf, type DenialClass } from '../egress/report.ts';
import { block, code, words } from './outside.ts';

/** What the host saw, as Markdown. Each part stands for itself and has a bounded size. */

export function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  return minutes % 60 === 0 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

const STEPS: Record<string, string> = {
  mirror: 'fetching the repository',
  spec: 'reading the settings',
  gateway: 'starting the gateway',
  sandbox: 'starting the sandbox',
  self_test: 'testing the sandbox',
  clone: 'cloning',
  setup: 'running the set-up commands',
  agent: 'running the agent',
  harvest: 'looking at the change',
  verify: 'verifying the change',
  publish: 'publishing',
  destroy: 'removing the sandbox',
  seal: 'sealing the record',
  report: 'reporting',
};

/** What a step does, for people. */
export function stepWords(step: string): string {
  return STEPS[step] ?? step.replaceAll('_', ' ');
}

const HEADLINES: Record<FinalState, string> = {
  succeeded: 'Done, verified',
  unverified: 'Done, not verified: no `verify` command is configured',
  verify_failed: 'Done, but verification fails',
  no_change: 'Ended without a change',
  partial: 'Partial work: the run ended early',
  timed_out: 'Out of time, nothing to deliver',
  over_budget: 'Over budget, nothing to deliver',
  held: 'Held: waits for a person',
  needs_input: 'Waits for an answer',
  cancelled: 'Stopped',
  refused: 'Refused',
  failed: 'Failed',
};

const REASONS: Record<EndReason, string> = {
  max_cost: 'the cost limit was reached',
  max_turns: 'the limit of model calls was reached',
  timeout: 'the time limit was reached',
  disk: 'the disk limit was reached',
  oom: 'the memory limit was reached',
  pids: 'the process limit was reached',
  stopped: 'somebody stopped it',
  shutdown: 'its worker was shut down',
  portal_lost: 'the sandbox ended by itself',
  gateway_lost: 'the gateway ended, and with it all network',
  record_lost: 'the record of its processes was lost',
  idle: 'the agent was silent for too long',
};

/** One line that says how it ended. Holds no outside text. */
export function headline(result: Pick<RunResult, 'state' | 'reason'>): string {
  const reason = result.reason === undefined ? '' : ` (${REASONS[result.reason]})`;
  return `${HEADLINES[result.state]}${reason}`;
}

/** Why it failed and what to do about it. `prefix`: first word of a command. */
export function failure(result: RunResult, prefix: string): string | undefined {
  const { error } = result;
  if (error === undefined) return undefined;
  const advice = errorRow(error.code).advice.replaceAll('/agent', prefix);
  return `**Why:** ${code(error.message, { max: 600 })} (\`${error.code}\`, ${code(error.op, { max: 60 })})\n\n**What to do:** ${advice}`;
}

/** Where the change is when it did not get to GitHub; undefined: it did, it waits, or there is none. */
export function undelivered(result: RunResult, page: string | undefined): string | undefined {
  const { state, files, pull, held, patch, runId } = result;
  if (state !== 'failed' && state !== 'refused') return undefined;
  if (files.length === 0 || pull !== undefined || held !== undefined || patch !== undefined) return undefined;
  const where = page === undefined ? `the worker's host, as \`${runId}.patch\` beside the audit file` : page;
  return result.patchCut === true
    ? `**The first part of the change** is on ${where}; all of it is larger than what is kept.`
    : `**The change is not lost:** its patch is on ${where}.`;
}

export function limitsTable(options: {
  usage: Usage;
  limits: Limits;
  elapsedMs: number;
  agent: string;
  model?: string | undefined;
}): string {
  const { usage, limits } = options;
  const model = options.model === undefined ? '' : ` with ${code(options.model, { max: 120, table: true })}`;
  return [
    '| Limit | used | of |',
    '|---|---|---|',
    `| Cost | ${formatUsd(usage.cost)} | ${formatUsd(limits.maxCost)} |`,
    `| Time | ${duration(options.elapsedMs)} | ${duration(limits.timeoutMs)} |`,
    `| Model calls | ${usage.turns} | ${limits.maxTurns} |`,
    '',
    `Agent ${code(options.agent, { max: 60 })}${model}; ${usage.inputTokens} tokens in, ${usage.outputTokens} out.`,
  ].join('\n');
}

const MAX_FILES = 100;

export function filesList(files: ChangedFile[], max = MAX_FILES): string {
  if (files.length === 0) return 'No file changed.';
  const added = files.reduce((sum, file) => sum + file.additions, 0);
  const deleted = files.reduce((sum, file) => sum + file.deletions, 0);
  const shown = files.slice(0, max).map((file) => {
    const mark = file.protectedClass === undefined ? '' : `, **protected: ${words(file.protectedClass)}**`;
    return `- ${code(file.path, { max: 120 })} ${file.status.replace('_', ' ')}, +${file.additions} −${file.deletions}${mark}`;
  });
  const more = files.length > max ? [`- and ${files.length - max} more`] : [];
  return [`${plural(files.length, 'file')} changed, +${added} −${deleted}:`, '', ...shown, ...more].join('\n');
}

const MAX_COMMANDS = 20;

/** The commands that the host ran in a fresh sandbox, and how they ended. */
export function verification(facts: CommandFact[], options: { tails: boolean; max?: number }): string {
  if (facts.length === 0) {
    return 'Nothing was run: the repository configures no `verify` command in `.github/cofferdam.yml`.';
  }
  const rows = facts
    .slice(0, options.max ?? MAX_COMMANDS)
    .map(
      (fact) =>
        `| ${code(fact.command, { max: 120, table: true })} | ${fact.exitCode === 0 ? '✅ 0' : `❌ ${fact.exitCode}`} | ${duration(fact.durationMs)} |`,
    );
  const table = [
    'Run by Cofferdam in a second, fresh sandbox, without the agent:',
    '',
    '| Command | exit code | time |',
    '|---|---|---|',
    ...rows,
  ];
  const left = facts.length - rows.length;
  const more = left > 0 ? ['', `and ${plural(left, 'more command')}.`] : [];
  return [...table, ...more, ...(options.tails ? verificationTails(facts).flatMap((tail) => ['', tail]) : [])].join(
    '\n',
  );
}

/** The ends of what failed commands printed, each to be opened. */
export function verificationTails(facts: CommandFact[]): string[] {
  const failed = facts.filter((fact) => fact.exitCode !== 0).slice(0, 3);
  return failed.map((fact) =>
    details(
      `End of the output of command ${facts.indexOf(fact) + 1}`,
      block(fact.tail, { maxChars: 4_000, maxLines: 60, tail: true }),
    ),
  );
}

const MAX_HOSTS = 20;

const CLASSES: [DenialClass, string][] = [
  ['suspicious', 'Refused, and no honest client does this'],
  ['needed', 'Refused'],
  ['telemetry', 'Refused, only reports home'],
];

/** What the gateway let through and what not, by its class; for a denied host the line of the policy that would let it through, once. */
export function network(egress: EgressEntryFact[], options: { rules?: boolean; max?: number } = {}): string {
  const allowed = merged(egress.filter((entry) => entry.allow));
  const denied = merged(egress.filter((entry) => !entry.allow));
  if (allowed.length + denied.length === 0) return 'No connection was made or refused.';
  const max = options.max ?? MAX_HOSTS;
  const lines = allowed.length > 0 ? [`Reached: ${hosts(allowed, max)}.`] : [];
  for (const [name, words] of CLASSES) {
    const those = denied.filter((entry) => classOf(entry, (entry.reason ?? 'malformed') as DenyReason) === name);
    if (those.length > 0) lines.push(`${words}: ${hosts(those, max)}.`);
  }
  if (denied.length === 0) lines.push('Nothing was refused.');
  const rules = options.rules === false ? undefined : policyLines(egress);
  return [...lines, ...(rules === undefined ? [] : [rules])].join('\n\n');
}

/** What an operator would add, to be opened; undefined when no line would change anything. */
export function policyLines(egress: EgressEntryFact[]): string | undefined {
  const denied = merged(egress.filter((entry) => !entry.allow));
  const rules = [...new Set(denied.map((entry) => policyLine(entry)).filter((line) => line !== undefined))];
  if (rules.length === 0) return undefined;
  return details(
    'What an operator would add to <code>egress.allow</code> to let these through',
    block(rules.slice(0, MAX_HOSTS).join('\n'), { maxChars: 4_000, maxLines: MAX_HOSTS, language: 'yaml' }),
  );
}

function hosts(entries: EgressEntryFact[], max: number): string {
  const shown = entries.slice(0, max).map((entry) => {
    const reason = entry.allow ? '' : words((entry.reason ?? '').slice(0, 40).replaceAll('_', ' '));
    return `${hostLine(entry)} ${reason}`.trim();
  });
  const left = entries.length - shown.length;
  return `${shown.join(', ')}${left > 0 ? ` and ${left} more` : ''}`;
}

/** One for each host, port and reason, the most frequent first. */
function merged(entries: EgressEntryFact[]): EgressEntryFact[] {
  const sums: EgressEntryFact[] = [];
  // By the host itself: a key of all three would write each name out again, and names may be long.
  const places = new Map<string, Map<string, number>>();
  for (const entry of entries) {
    const ofHost = places.get(entry.host) ?? new Map<string, number>();
    places.set(entry.host, ofHost);
    const key = `${entry.port} ${entry.reason ?? ''}`;
    const place = ofHost.get(key) ?? sums.length;
    ofHost.set(key, place);
    const known = sums[place];
    sums[place] = known === undefined ? entry : { ...known, count: known.count + entry.count };
  }
  return sums.sort((left, right) => right.count - left.count);
}

/** Names are the agent's choice: shown as code, and not so long that they carry a file. */
function hostLine(entry: EgressEntryFact): string {
  return `${code(entry.port === 0 ? entry.host : `${entry.host}:${entry.port}`, { max: 80 })} ×${entry.count}`;
}

const HOST = /^(?=.{1,80}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]*$/;

/** Only for plain names that a line could let through; an address or a failed look-up has none. */
function policyLine(entry: EgressEntryFact): string | undefined {
  const allowable = entry.reason === 'not_allowed' || entry.reason === 'port_not_allowed';
  if (!allowable || !HOST.test(entry.host)) return undefined;
  const ports = entry.port === 0 || entry.port === 443 ? '' : `, ports: [${entry.port}]`;
  return `- { host: "${entry.host}"${ports}, methods: [GET, HEAD] }`;
}

/** A part that opens on a click. GitHub reads the summary as HTML: it is one of ours, never outside text. */
export function details(summary: string, body: string): string {
  return `<details><summary>${summary}</summary>\n\n${body}\n\n</details>`;
}
