import type { RunId } from '../../domain/ids.ts';
import type { Limits } from '../../domain/policy.ts';
import type { RunResult } from '../../domain/run.ts';
import { assemble } from './assemble.ts';
import { duration, failure, filesList, headline, limitsTable, network, verification } from './facts.ts';
import { heldSections } from './held.ts';
import { block, code, link, plainLine } from './outside.ts';
import { agentWords, auditLine } from './status.ts';

export interface CheckFacts {
  runId: RunId;
  result: RunResult;
  elapsedMs: number;
  /** First word of a command; default `/agent`. */
  prefix?: string | undefined;
  limits: Limits;
  agent: string;
  model?: string | undefined;
  runUrl?: string | undefined;
  audit?: { count: number; head: string; file?: string | undefined } | undefined;
  /** The sandbox's self-test. */
  receipt?: { ok: boolean; checks: { name: string; ok: boolean; observed: string }[] } | undefined;
  steps: { step: string; durationMs: number }[];
}

/** Title of the check run: one line, plain. */
export function checkTitle(result: RunResult): string {
  return plainLine(headline(result), 120);
}

/** The evidence: what the host saw, with the agent's words last. */
export function checkSummary(facts: CheckFacts): string {
  const { result, audit } = facts;
  const why = failure(result);
  return assemble([
    { text: `**${headline(result)}**${facts.runUrl === undefined ? '' : ` · ${link('run page', facts.runUrl)}`}` },
    why === undefined ? undefined : { text: why },
    ...heldSections(result, { prefix: facts.prefix ?? '/agent' }),
    { text: `## Verification\n\n${verification(result.verification, { tails: true })}`, optional: true },
    { text: `## Files\n\n${filesList(result.files)}`, optional: true },
    { text: `## Network\n\n${network(result.egress)}`, optional: true },
    { text: `## Limits used\n\n${limitsTable({ ...facts, usage: result.usage })}` },
    { text: `## Isolation\n\n${isolation(facts)}`, optional: true },
    facts.steps.length === 0 ? undefined : { text: `## Steps\n\n${steps(facts)}`, optional: true },
    audit === undefined ? undefined : { text: `## Audit\n\n${auditText(facts, audit)}` },
    agentWords(result.agentSummary, { maxChars: 8_000, maxLines: 120 }),
  ]);
}

/** What a check run says while the run goes on. */
export function runningSummary(facts: { runId: RunId; runUrl?: string | undefined; step: string }): string {
  const page = facts.runUrl === undefined ? '' : ` · ${link('run page', facts.runUrl)}`;
  return `Run \`${facts.runId}\` is at step \`${facts.step}\`${page}. The status comment shows its progress.`;
}

/** What stays on the commit that a follow-up began from. */
export function supersededSummary(facts: { runId: RunId; head: string }): string {
  return `Run \`${facts.runId}\` added commit ${facts.head} to this branch; its result is the check run there.`;
}

const PROCESS_RECORD = {
  complete: 'Process record: gVisor’s kernel reported every start of a program, and nothing was missed.',
  gaps: 'Process record: **with gaps**; the audit file says where and how many events are missing.',
  none: '**No process record**: this host’s gVisor cannot keep one, and the operator’s policy allows that.',
} as const;

function isolation({ receipt, result }: CheckFacts): string {
  if (receipt === undefined) return 'The sandbox was not started.';
  const record = result.processRecord === undefined ? [] : [PROCESS_RECORD[result.processRecord], ''];
  const rows = receipt.checks
    .slice(0, 30)
    .map(
      (check) =>
        `| ${code(check.name, { max: 80, table: true })} | ${check.ok ? '✅' : '❌'} | ${code(check.observed, { max: 160, table: true })} |`,
    );
  const head = receipt.ok
    ? 'Before the agent started, the sandbox proved from inside:'
    : 'The self-test of the sandbox failed; nothing ran in it:';
  return [...record, head, '', '| Check | | observed |', '|---|---|---|', ...rows].join('\n');
}

function steps(facts: CheckFacts): string {
  const rows = facts.steps
    .slice(0, 30)
    .map(({ step, durationMs }) => `| ${step.replace('_', ' ')} | ${duration(durationMs)} |`);
  return ['| Step | time |', '|---|---|', ...rows].join('\n');
}

function auditText({ result }: CheckFacts, audit: NonNullable<CheckFacts['audit']>): string {
  const file = audit.file === undefined ? `${result.runId}.jsonl` : audit.file;
  return [
    auditLine(audit),
    '',
    'To check it offline:',
    '',
    block(`cofferdam verify ${file}`, { maxChars: 300, maxLines: 1, language: 'sh' }),
  ].join('\n');
}
