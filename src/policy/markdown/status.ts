import type { RunId } from '../../domain/ids.ts';
import type { Limits } from '../../domain/policy.ts';
import type { Actor, Command, FrozenText, PatchFacts, RunCause, RunResult, Usage } from '../../domain/run.ts';
import type { AgentConfiguration } from '../../domain/shown.ts';
import { formatUsd } from '../../domain/ids.ts';
import { assemble, type Section } from './assemble.ts';
import {
  details,
  duration,
  failure,
  filesList,
  headline,
  limitsTable,
  network,
  stepWords,
  undelivered,
  verification,
} from './facts.ts';
import { heldDiff, heldSections } from './held.ts';
import { nextSteps } from './next-steps.ts';
import { block, code, link, words } from './outside.ts';
import { prose } from './prose.ts';

/** First line of the one status comment of a thread, by which it is found again. */
export const STATUS_MARKER = '<!-- cofferdam:status -->';

/** What was found in the texts that the agent sees and a reader of GitHub does not. */
export interface HiddenNote {
  /** `issue`, `comment 12`: ours. */
  where: string;
  kind: string;
  count: number;
  sample: string;
}

export interface StatusFacts {
  runId: RunId;
  actor: Pick<Actor, 'login'>;
  command: Command;
  /** What began it without a command. */
  cause?: RunCause | undefined;
  runUrl?: string | undefined;
  agent?: string | undefined;
  model?: string | undefined;
  limits?: Limits | undefined;
  /** Files of the default branch that configure the agent. */
  configuration?: AgentConfiguration['files'] | undefined;
  texts: FrozenText[];
  hidden: HiddenNote[];
  /** First word of a command; default `/agent`. */
  prefix?: string | undefined;
  /** Who let a held result go. */
  approvedBy?: string | undefined;
  /** The pull request from a fork that it builds upon. */
  upon?: number | undefined;
  phase:
    | { name: 'queued'; ahead: number; behind?: string | undefined }
    | {
        name: 'running';
        step: string;
        steps: { step: string; durationMs: number }[];
        elapsedMs: number;
        usage: Usage;
        egress: RunResult['egress'];
      }
    | {
        name: 'done';
        result: RunResult;
        elapsedMs: number;
        audit?: { count: number; head: string } | undefined;
        /** What could not be written to GitHub. */
        trouble?: string | undefined;
        /** For a held result: would GitHub take workflow files from this installation? */
        mayPushWorkflows?: boolean | undefined;
      };
}

/** The status comment: one per thread, edited in place. */
export function statusComment(facts: StatusFacts): string {
  const { phase } = facts;
  const sections: (Section | undefined)[] = [
    { text: `${STATUS_MARKER}\n${titleOf(facts)}` },
    { text: asked(facts) },
    uponNote(facts),
  ];
  if (phase.name === 'queued') sections.push({ text: [queued(phase), ...ceilings(facts.limits)].join(' ') });
  if (phase.name === 'running') sections.push(...running(facts, phase));
  if (phase.name === 'done') sections.push(...done(facts, phase));
  sections.push(seen(facts), hiddenList(facts.hidden));
  return assemble(sections);
}

const MARKS: Partial<Record<RunResult['state'], string>> = { partial: '🟡', held: '✋', needs_input: '✋' };

function prefixOf({ prefix }: StatusFacts): string {
  return prefix ?? '/agent';
}

function isPlan({ command }: StatusFacts): boolean {
  return command.flags['plan'] === 'true';
}

function titleOf(facts: StatusFacts): string {
  const { phase } = facts;
  if (phase.name === 'queued') return '### ⏳ Cofferdam has this in its queue';
  if (phase.name === 'running') return `### ⏳ Cofferdam is working: ${stepWords(phase.step)}`;
  const good = phase.result.state === 'succeeded' || phase.result.state === 'unverified';
  if (isPlan(facts) && phase.result.state === 'no_change') return '### 📋 A plan; nothing was changed';
  const mark = MARKS[phase.result.state] ?? (good ? '🚀' : '😕');
  return `### ${mark} ${headline(phase.result)}`;
}

function asked(facts: StatusFacts): string {
  const { command, actor } = facts;
  const flags = Object.entries(command.flags)
    .filter(([name]) => name !== 'plan')
    .map(([name, value]) => ` --${name} ${value}`);
  const page = facts.runUrl === undefined ? '' : `, ${link('run page', facts.runUrl)}`;
  if (facts.cause === 'ci') {
    return `CI failed; in the name of ${code(actor.login, { max: 60 })}, who last had me work on this; run \`${facts.runId}\`${page}.`;
  }
  return `Asked by ${code(actor.login, { max: 60 })} with ${code(`${command.verb}${flags.join('')}`, { max: 160 })}; run \`${facts.runId}\`${page}.`;
}

function uponNote({ upon, phase, command }: StatusFacts): Section | undefined {
  const open = phase.name !== 'done' && command.flags['plan'] !== 'true';
  if (upon === undefined || !open) return undefined;
  return {
    text: 'This pull request comes from a fork, to which I cannot push: the result will be a pull request of its own that builds upon this one, or a patch.',
  };
}

function queued(phase: { ahead: number; behind?: string | undefined }): string {
  if (phase.behind !== undefined)
    return `It begins when run ${code(phase.behind, { max: 40 })} on the same branch is over.`;
  if (phase.ahead === 0) return 'It is the next one.';
  return `${phase.ahead} ${phase.ahead === 1 ? 'run begins' : 'runs begin'} before it.`;
}

/** Before the repository's file was read: it may only lower them. */
function ceilings(limits: Limits | undefined): string[] {
  if (limits === undefined) return [];
  const { maxCost, timeoutMs, maxTurns } = limits;
  const caps = `at most ${formatUsd(maxCost)}, ${duration(timeoutMs)} and ${maxTurns} model calls`;
  return [`It may take ${caps}, or less where the repository's file says so.`];
}

type Running = Extract<StatusFacts['phase'], { name: 'running' }>;

function running(facts: StatusFacts, phase: Running): Section[] {
  const steps = phase.steps
    .slice(-20)
    .map(({ step, durationMs }) => `- ✅ ${stepWords(step)} (${duration(durationMs)})`);
  return [
    { text: [...steps, `- ⏳ ${stepWords(phase.step)}`].join('\n') },
    ...limitsSection(facts, { usage: phase.usage, elapsedMs: phase.elapsedMs }),
    ...(phase.egress.length === 0 ? [] : [{ text: details('Network so far', network(phase.egress)), optional: true }]),
    { text: `\`${prefixOf(facts)} stop\` ends it.` },
  ];
}

/** How an agent is told to begin its question. */
const ASKS = /^[ \t]*\**NEEDS INPUT:\**[ \t]*/m;

type Done = Extract<StatusFacts['phase'], { name: 'done' }>;

function done(facts: StatusFacts, phase: Done): (Section | undefined)[] {
  const { result } = phase;
  const prefix = prefixOf(facts);
  const why = failure(result, prefix);
  const kept = undelivered(result, facts.runUrl === undefined ? undefined : `the ${link('run page', facts.runUrl)}`);
  const pull =
    result.pull === undefined
      ? undefined
      : `Result: ${link(`pull request ${result.pull.number}`, result.pull.url)}${facts.upon === undefined ? '' : ', which builds upon this one and brings its commits along; to this one, from a fork, I cannot push'}`;
  const checks = result.verification.length > 0 || result.files.length > 0;
  // What a person came for: the question, the plan, or why there is nothing.
  const first = result.state === 'needs_input' || result.state === 'no_change';
  const summary = result.state === 'needs_input' ? result.agentSummary?.replace(ASKS, '') : result.agentSummary;
  const said = agentWords(summary, { maxChars: 4_000, maxLines: 60 });
  const next = nextSteps(result, { prefix, plan: isPlan(facts) });
  const ran = result.state !== 'refused' || result.files.length > 0 || result.egress.length > 0;
  return [
    why === undefined ? undefined : { text: why },
    kept === undefined ? undefined : { text: kept },
    pull === undefined ? undefined : { text: pull },
    ...patchSections(result.patch),
    ...heldSections(result, { prefix, mayPushWorkflows: phase.mayPushWorkflows }),
    heldDiff(result),
    facts.approvedBy === undefined
      ? undefined
      : { text: `It was held, and ${code(facts.approvedBy, { max: 60 })} let exactly this commit be published.` },
    first ? (said ?? { text: 'The agent did not say why.' }) : undefined,
    next === undefined ? undefined : { text: next },
    result.files.length === 0 ? undefined : { text: details('Files', filesList(result.files)), optional: true },
    checks
      ? { text: details('Verification', verification(result.verification, { tails: false })), optional: true }
      : undefined,
    ran ? { text: details('Network', network(result.egress)), optional: true } : undefined,
    ...(ran ? limitsSection(facts, { usage: result.usage, elapsedMs: phase.elapsedMs }) : []),
    first ? undefined : said,
    phase.audit === undefined ? undefined : { text: auditLine(phase.audit) },
    phase.trouble === undefined
      ? undefined
      : { text: `⚠️ The check run could not be written: ${code(phase.trouble, { max: 400 })}` },
  ];
}

/** A result that could not become a pull request. */
function patchSections(patch: PatchFacts | undefined): Section[] {
  if (patch === undefined) return [];
  const { why, text, cut, base } = patch;
  const where = cut ? 'Beginning of the patch (all of it is on the run page)' : 'The patch';
  return [
    {
      text: `**The result is a patch**, since no pull request could be made of it: ${code(why, { max: 600 })}. It applies to ${code(base, { max: 64 })} with \`git apply\`.`,
    },
    { text: details(where, block(text, { maxChars: 20_000, maxLines: 500, language: 'diff' })) },
  ];
}

function limitsSection(facts: StatusFacts, used: { usage: Usage; elapsedMs: number }): Section[] {
  const { limits, agent, model, configuration = [] } = facts;
  if (limits === undefined || agent === undefined) return [];
  return [
    { text: limitsTable({ ...used, limits, agent, model }) },
    ...(configuration.length === 0 ? [] : [{ text: agentFiles(configuration) }]),
  ];
}

const MAX_AGENT_FILES = 10;

/** With the hash that an operator would allow. */
function agentFiles(files: AgentConfiguration['files']): string {
  const lines = files.slice(0, MAX_AGENT_FILES).map(({ path, sha256, allowed }) => {
    return `- ${allowed ? 'read' : 'off'}: ${code(path, { max: 200 })}${sha256 === null ? '' : ` \`${sha256}\``}`;
  });
  const more = files.length - lines.length;
  return details(
    `Configuration of the agent in this repository: ${files.some(({ allowed }) => allowed) ? 'some is read' : 'off'}`,
    [...lines, ...(more === 0 ? [] : [`- and ${more} more`])].join('\n'),
  );
}

/** What the agent says, apart from the facts and marked as what it is. */
export function agentWords(
  summary: string | undefined,
  size: { maxChars: number; maxLines: number },
): Section | undefined {
  if (summary === undefined || summary.trim() === '') return undefined;
  const said = prose(summary, size)
    .split('\n')
    .map((line) => (line === '' ? '>' : `> ${line}`))
    .join('\n');
  return { text: `**In the agent's own words** (nobody checked them):\n\n${said}`, optional: true };
}

export function auditLine(audit: { count: number; head: string }): string {
  return `Audit: ${audit.count} events, head ${code(audit.head, { max: 80 })}.`;
}

/** Which texts the agent was given, so that a person can tell an edit from what was asked. */
function seen({ texts }: StatusFacts): Section | undefined {
  if (texts.length === 0) return undefined;
  const lines = texts.map((text) => {
    const note = text.authorMayWrite === false ? ', **has no write access**; whoever asked vouches for it' : '';
    return `- ${words(text.kind)}${text.id === undefined ? '' : ` ${text.id}`} by ${code(text.author, { max: 60 })} as of ${code(text.updatedAt, { max: 40 })}, ${code(text.sha256.slice(0, 23), { max: 30 })}${note}`;
  });
  return { text: details('What the agent was given', lines.slice(0, 60).join('\n')), optional: true };
}

function hiddenList(hidden: HiddenNote[]): Section | undefined {
  if (hidden.length === 0) return undefined;
  const lines = hidden
    .slice(0, 20)
    .map(
      (note) =>
        `- ${words(note.where)}: ${note.count} × ${words(note.kind.replaceAll('_', ' '))}, ${code(note.sample, { max: 160 })}`,
    );
  return {
    text: ['⚠️ **Hidden content found** in these texts (the agent was shown it unhidden):', '', ...lines].join('\n'),
  };
}
