import type { RunId } from '../../domain/ids.ts';
import { pullMarker } from '../../domain/marker.ts';
import type { Limits } from '../../domain/policy.ts';
import type { RunResult, Source } from '../../domain/run.ts';
import { assemble } from './assemble.ts';
import { filesList, headline, limitsTable, network, verification } from './facts.ts';
import { code, link, plainLine } from './outside.ts';
import { agentWords } from './status.ts';
import { quiet } from './quiet.ts';
import { fillTemplate } from './template.ts';

export interface PullFacts {
  runId: RunId;
  source: Source;
  requester: string;
  result: RunResult;
  elapsedMs: number;
  limits: Limits;
  agent: string;
  model?: string | undefined;
  runUrl?: string | undefined;
  /** Where the base branch moved while the run worked. */
  baseMoved?: boolean | undefined;
  /** The pull request from a fork that it builds upon. */
  upon?: number | undefined;
  /** First word of a command; default `/agent`. */
  prefix?: string | undefined;
  /** Who let a held result go. */
  approvedBy?: string | undefined;
  /** The repository's pull request template. */
  template?: string | undefined;
}

/** Title of the pull request. */
export function pullTitle(title: string): string {
  return plainLine(title, 120) || 'feat: work of the agent';
}

/** Text of the pull request: the facts of the host and the agent's words, never mixed. */
export function pullBody(facts: PullFacts): string {
  const { result, source } = facts;
  const complete = result.state === 'succeeded' || result.state === 'unverified';
  const about =
    facts.upon === undefined
      ? source.isPull
        ? ''
        : `${complete ? 'Fixes' : 'For'} #${source.number}`
      : `Builds upon #${facts.upon}, a pull request from a fork, to which Cofferdam cannot push: its commits are part of this one.`;
  // As code it is kept as it is, and merged by squashing it is a message like any other.
  const words = quiet(
    agentWords(result.agentSummary, { maxChars: 12_000, maxLines: 200 })?.text ??
      'The agent said nothing about its change.',
  );
  const ours = { issue: about, what: words, testing: quiet(verification(result.verification, { tails: true })) };
  const sections = fillTemplate(facts.template ?? '', ours);
  const placed = new Set(sections.map(({ holds }) => holds));
  return assemble([
    { text: `${pullMarker(facts.runId)}\n**${headline(result)}**` },
    placed.has('issue') ? undefined : { text: about },
    placed.has('what') ? undefined : { text: `## What and why\n\n${words}`, optional: true },
    // The line that closes the issue has to be in it, however long the rest is.
    ...sections.map(({ text, holds }) => ({ text, optional: holds !== 'issue' })),
    { text: `## Files\n\n${quiet(filesList(result.files))}`, optional: true },
    placed.has('testing') ? undefined : { text: `## Verification\n\n${ours.testing}`, optional: true },
    { text: `## Limits used\n\n${limitsTable({ ...facts, usage: result.usage })}` },
    { text: `## Network\n\n${quiet(network(result.egress))}`, optional: true },
    { text: `## Not done\n\n${notDone(facts)}` },
    { text: origin(facts) },
  ]);
}

function notDone(facts: PullFacts): string {
  const { result, baseMoved } = facts;
  const lines: string[] = [];
  if (result.reason !== undefined)
    lines.push(
      `- ${headline(result)}: the agent did not end by itself. \`${facts.prefix ?? '/agent'} continue\` goes on.`,
    );
  if (result.state === 'verify_failed') lines.push('- Verification fails; see above.');
  if (result.verification.length === 0) lines.push('- Verification: no command is configured.');
  if (baseMoved === true) lines.push(`- ${movedLine(facts.upon)}`);
  return lines.length === 0
    ? 'Nothing that Cofferdam knows of; what the agent left out stands in its words above.'
    : lines.join('\n');
}

/** What was verified is not what is there now. */
function movedLine(upon: number | undefined): string {
  return upon === undefined
    ? 'The base branch has moved since the run began: what was verified is this change on the older base.'
    : `#${upon} has moved since the run began: what was verified is this change on its older commit.`;
}

function origin(facts: PullFacts): string {
  const page = facts.runUrl === undefined ? '' : ` · ${link('run page', facts.runUrl)}`;
  const held =
    facts.approvedBy === undefined
      ? ''
      : ` It was held, and ${code(facts.approvedBy, { max: 60 })} let exactly this commit be published.`;
  return `---\nMade by Cofferdam for ${code(facts.requester, { max: 60 })} in run \`${facts.runId}\`${page}.${held} Its audit is in the check run \`Cofferdam\`.`;
}
