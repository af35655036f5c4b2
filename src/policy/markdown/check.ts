import type { RunId } from '../../domain/ids.ts';
import type { Limits } from '../../domain/policy.ts';
import type { RunResult } from '../../domain/run.ts';
import type { Remark } from '../diff/remarks.ts';
import { assemble, type Section } from './assemble.ts';
import {
  details,
  duration,
  failure,
  filesList,
  headline,
  limitsTable,
  network,
  policyLines,
  stepWords,
  verification,
  verificationTails,
} from './facts.ts';
import { heldDiff, heldSections } from './held.ts';
import { block, code, link, plainLine } from './outside.ts';
import { remarksList } from './remarks.ts';
import { agentWords, auditLine } from './status.ts';

/** What a new pull request got besides its text. */
export interface Asked {
  labels: readonly string[];
  /** Logins, and slugs of teams. */
  reviewers: readonly string[];
  /** Labels and names that GitHub did not take. */
  refused: readonly string[];
}

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
  /** What to look at in the change. */
  remarks?: readonly Remark[] | undefined;
  steps: { step: string; durationMs: number }[];
  asked?: Asked | undefined;
}

/** Title of the check run: one line, plain. */
export function checkTitle(result: RunResult): string {
  return plainLine(headline(result), 120);
}

/** How much of each part the summary shows, so that all of them together fit whatever the run was like; the text has more. */
const SHOWN = { files: 30, commands: 8, hosts: 8, remarks: 10 } as const;

/** The evidence in short: what the host saw. Every part has its own bound, and nothing is ever left out of it. */
export function checkSummary(facts: CheckFacts): string {
  const { result, audit } = facts;
  const prefix = facts.prefix ?? '/agent';
  const why = failure(result, prefix);
  const remarks = remarksList(facts.remarks ?? [], SHOWN.remarks);
  const { commands, files, hosts } = SHOWN;
  return assemble(
    [
      { text: `**${headline(result)}**${facts.runUrl === undefined ? '' : ` · ${link('run page', facts.runUrl)}`}` },
      why === undefined ? undefined : { text: why },
      ...heldSections(result, { prefix }),
      remarks === undefined ? undefined : { text: `## Look at first\n\n${remarks}` },
      { text: `## Verification\n\n${verification(result.verification, { tails: false, max: commands })}` },
      { text: `## Files\n\n${filesList(result.files, files)}${result.patchCut === true ? PATCH_CUT : ''}` },
      { text: `## Network\n\n${network(result.egress, { rules: false, max: hosts })}` },
      { text: `## Limits used\n\n${limitsTable({ ...facts, usage: result.usage })}` },
      facts.steps.length === 0 ? undefined : { text: `## Steps\n\n${steps(facts)}` },
      { text: `## Isolation\n\n${isolation(facts)}` },
      audit === undefined ? undefined : { text: `## Audit\n\n${auditText(facts, audit)}` },
    ],
    MAX_SUMMARY,
  );
}

const PATCH_CUT =
  '\n\n**The patch on the run page is cut**: the change is larger than the host keeps. The commit has all of it.';

const MAX_SUMMARY = 65_000;

/** The details: the self-test's receipt, all files, ends of outputs, lines of policy, the agent's words last. Undefined: there are none. */
export function checkText(facts: CheckFacts): string | undefined {
  const { result, receipt } = facts;
  const rules = policyLines(result.egress);
  const tails = verificationTails(result.verification);
  const sections: (Section | undefined)[] = [
    heldDiff(result),
    facts.asked === undefined ? undefined : { text: askedText(facts.asked), optional: true },
    receipt === undefined ? undefined : { text: details(receiptLine(receipt), receiptTable(receipt)), optional: true },
    tails.length === 0 ? undefined : { text: tails.join('\n\n'), optional: true },
    rules === undefined ? undefined : { text: rules, optional: true },
    result.files.length <= SHOWN.files
      ? undefined
      : { text: details('More of the files', filesList(result.files)), optional: true },
    agentWords(result.agentSummary, { maxChars: 8_000, maxLines: 120 }),
  ];
  const text = assemble(sections);
  return text === '' ? undefined : text;
}

function askedText({ labels, reviewers, refused }: Asked): string {
  const rows: [string, readonly string[]][] = [
    ['Labels', labels],
    ['Asked for a review', reviewers],
    ['Not taken by GitHub (no such collaborator, or a missing permission)', refused],
  ];
  return rows
    .filter(([, names]) => names.length > 0)
    .map(
      ([what, names]) =>
        `- ${what}: ${names
          .slice(0, 30)
          .map((name) => code(name, { max: 110 }))
          .join(', ')}`,
    )
    .join('\n');
}

/** What a check run says while the run goes on. */
export function runningSummary(facts: { runId: RunId; runUrl?: string | undefined; step: string }): string {
  const page = facts.runUrl === undefined ? '' : ` · ${link('run page', facts.runUrl)}`;
  return `Run \`${facts.runId}\` is ${stepWords(facts.step)}${page}. The status comment shows its progress.`;
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

type Receipt = NonNullable<CheckFacts['receipt']>;

function receiptLine({ ok, checks }: Receipt): string {
  const good = checks.filter((check) => check.ok).length;
  return ok
    ? `✅ Self-test: ${good} of ${checks.length} checks`
    : `❌ Self-test failed: ${good} of ${checks.length} checks`;
}

function isolation({ receipt, result }: CheckFacts): string {
  if (receipt === undefined) return 'The sandbox was not started.';
  const record = result.processRecord === undefined ? [] : [PROCESS_RECORD[result.processRecord], ''];
  const failed = receipt.checks.filter((check) => !check.ok).slice(0, 5);
  const names = failed.map((check) => code(check.name, { max: 60 })).join(', ');
  const head = receipt.ok
    ? `${receiptLine(receipt)}: before the agent started, the sandbox proved its isolation from inside (see below).`
    : `${receiptLine(receipt)}, so nothing ran in the sandbox: ${names}.`;
  return [...record, head].join('\n');
}

function receiptTable({ checks }: Receipt): string {
  const rows = checks
    .slice(0, 30)
    .map(
      (check) =>
        `| ${code(check.name, { max: 60, table: true })} | ${check.ok ? '✅' : '❌'} | ${code(check.observed, { max: 120, table: true })} |`,
    );
  return ['| Check | | observed |', '|---|---|---|', ...rows].join('\n');
}

function steps(facts: CheckFacts): string {
  const rows = facts.steps
    .slice(0, 30)
    .map(({ step, durationMs }) => `| ${stepWords(step)} | ${duration(durationMs)} |`);
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
