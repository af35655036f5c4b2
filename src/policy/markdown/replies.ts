import type { DenyReason } from '../../domain/decision.ts';
import { formatUsd } from '../../domain/ids.ts';
import type { HoldSetting } from '../../domain/policy.ts';
import type { Verb } from '../../domain/run.ts';
import type { FinalState } from '../../domain/final-state.ts';
import type { CommandProblem } from '../../domain/trigger.ts';
import { assemble } from './assemble.ts';
import { stepWords } from './facts.ts';
import { code, link } from './outside.ts';

/** Short answers to a command. Every one begins with a marker, by which a second try finds that it was given. */

export function replyMarker(deliveryId: string): string {
  return `<!-- cofferdam:reply ${deliveryId.replace(/[^A-Za-z0-9-]/g, '')} -->`;
}

/** A thread gets this once, however often somebody without rights asks. */
export const REFUSAL_MARKER = '<!-- cofferdam:refusal -->';

const REFUSALS: Partial<Record<DenyReason, string>> = {
  no_write_access: 'Only people with write access to this repository can ask Cofferdam to work.',
  not_an_asker: 'Here only people whom the operator named can ask Cofferdam to work.',
  teams_unreadable:
    'Here only people and teams whom the operator named can ask Cofferdam to work, and the App may not see who is in a team. An owner of the organisation must grant it the permission `members: read` (Organization permissions, Members).',
  bot: 'Cofferdam works for people only, not for bots.',
  queue_full: 'The queue is full at the moment. Ask again when some runs have ended.',
  closed: 'This pull request is closed. Open it again, or ask on an issue.',
};

/** Why nothing was begun. */
export function refusalReply(reason: DenyReason, options: { login: string }): string {
  const said = REFUSALS[reason] ?? 'The policy of this installation does not allow that.';
  const ask = reason === 'no_write_access' ? ' Ask somebody who has it to write the command or to add the label.' : '';
  return `😕 ${code(options.login, { max: 60 })}: ${said}${ask}`;
}

/** One summary a day and thread. */
export function stormMarker(day: string): string {
  return `<!-- cofferdam:storm ${day.replace(/[^0-9-]/g, '')} -->`;
}

/** For somebody who asks for much at once: what is said instead of a comment on every thread. */
export function stormReply(facts: { login: string; announced: number; prefix: string; budget: BudgetFacts }): string {
  const { repository, installation, maxCost } = facts.budget;
  const left = Math.max(0, Math.min(repository.cap - repository.spent, installation.cap - installation.spent));
  const fit = maxCost > 0 ? Math.floor(left / maxCost) : 0;
  return assemble([
    {
      text: `${code(facts.login, { max: 60 })}: that is more than ${facts.announced} runs at once in this repository. All with 👀 are in the queue, in turn with those of other people and repositories; from here on I write on each thread when its run begins, not before. 😕 means that the queue was full: ask there again later.`,
    },
    { text: budgetReply(facts.budget) },
    {
      text: `At that price for each, today's cap is enough for ${fit} more; runs beyond it end over budget. \`${facts.prefix} stop\` on a thread takes its run out of the queue, \`${facts.prefix} status\` says where it stands.`,
    },
  ]);
}

/** `obeyed`: other commands of the comment are. */
export function problemsReply(
  problems: readonly CommandProblem[],
  options: { prefix: string; obeyed: boolean },
): string {
  const lines = problems.map((problem) => `- ${problemLine(problem, options.prefix)}`);
  const head = options.obeyed
    ? 'I did not understand all of this; the other commands of the comment count:'
    : 'I did not understand this, so nothing was begun:';
  return assemble([{ text: head }, { text: lines.join('\n') }]);
}

function problemLine(problem: CommandProblem, prefix: string): string {
  const word = code(problem.word, { max: 60 });
  switch (problem.kind) {
    case 'unknown_verb':
      return `${word} is no command. Did you mean \`${prefix} ${problem.nearest ?? 'help'}\`? To begin a task with that word, write \`${prefix} run …\`.`;
    case 'unknown_flag':
      return `${word} is no option${problem.nearest === undefined ? '' : `; did you mean \`${problem.nearest}\`?`}. In the text of a task, put it in backticks or behind a lone \`--\`.`;
    case 'flag_value':
      return FLAG_VALUES[problem.word] ?? `${word} needs one value that fits, once.`;
    case 'too_many':
      return `A comment may hold ten commands, this one has ${word}: those beyond the tenth are left out.`;
  }
}

/** The word is one of ours: an option that is known. */
const FLAG_VALUES: Record<string, string> = {
  '--agent': '`--agent` takes the name of an agent, once: `--agent opencode`.',
  '--model': '`--model` takes the name of a model, once: `--model PROVIDER/MODEL`.',
  '--max-cost': '`--max-cost` takes US dollars, once: `--max-cost 2.50`.',
  '--max-turns': '`--max-turns` takes a number of model calls, once: `--max-turns 40`.',
  '--timeout': '`--timeout` takes minutes, or a number with `s`, `m` or `h`, once: `--timeout 20m`.',
  '--allow': '`--allow` takes hosts, once: `--allow docs.example.com` or `--allow api.example.com=GET+POST,pip`.',
  '--keep': '`--keep` takes no value, and stands once.',
};

export interface HelpFacts {
  prefix: string;
  label: string;
  verbs: readonly Verb[];
  maxCost: number;
  timeoutMinutes: number;
  agent: string;
  /** Agents and models that may be named; absent: not said. */
  agents?: readonly string[] | undefined;
  models?: readonly string[] | undefined;
  /** Ways out that may be added, as people write them. */
  mayAdd?: readonly string[] | undefined;
  /** When results wait for a person. */
  hold?: HoldSetting | undefined;
  /** What is wrong with the repository's file. */
  problem?: string | undefined;
}

const USES: Record<Verb, string> = {
  run: 'work on this with the text that follows; the verb may be left out',
  plan: 'say what it would do, without doing it',
  fix: 'find and correct what is wrong',
  continue: 'go on from where the last run ended; `+$2 +10m` say what that may cost and take',
  retry: 'the last run once more',
  stop: 'end what is running or waiting here; `--keep` delivers what is there',
  status: 'what is going on here',
  budget: 'what was spent and what is left',
  allow:
    'the last run once more, with a host that it may also reach (`HOST [METHOD…]`, reading only unless methods are named)',
  publish: 'publish the held result with this hash',
  help: 'this list',
};

/** What this installation understands and allows. */
export function helpReply(facts: HelpFacts): string {
  const rows = facts.verbs.map((verb) => `| \`${facts.prefix} ${verb}\` | ${USES[verb]} |`);
  return [
    `Add the label ${code(facts.label, { max: 60 })} to an issue, or write a command at the beginning of a line:`,
    '',
    '| Command | |',
    '|---|---|',
    ...rows,
    '',
    'Options: `--agent ID`, `--model PROVIDER/MODEL`, `--max-cost USD`, `--max-turns N`, `--timeout MINUTES`, `--allow HOST`; limits can only be lowered.',
    '',
    `Here a run may cost ${formatUsd(facts.maxCost)} and take ${facts.timeoutMinutes} minutes. The default agent is ${code(facts.agent, { max: 60 })}.`,
    ...named('Agents', facts.agents),
    ...named('Models', facts.models),
    ...named('Hosts and presets that `allow` may add', facts.mayAdd),
    ...(facts.hold === undefined ? [] : ['', HOLDS[facts.hold]]),
    ...(facts.problem === undefined
      ? []
      : ['', `Runs are refused here: \`.github/cofferdam.yml\` is not valid, ${code(facts.problem, { max: 300 })}.`]),
  ].join('\n');
}

function named(what: string, names: readonly string[] | undefined): string[] {
  if (names === undefined) return [];
  const list = names.slice(0, 30).map((name) => code(name, { max: 80 }));
  return ['', `${what}: ${list.length === 0 ? 'none' : list.join(', ')}.`];
}

const HOLDS: Record<HoldSetting, string> = {
  never: 'Results are pushed at once.',
  protected: 'Results that touch protected files, or code that CI runs with secrets, wait for a person.',
  always: 'Every result waits for a person.',
};

export interface RunLine {
  runId: string;
  state: FinalState | 'queued' | 'running';
  step: string;
  requester: string;
  ahead?: number | undefined;
  runUrl?: string | undefined;
}

export function statusReply(runs: readonly RunLine[]): string {
  if (runs.length === 0) return 'Nothing was asked for here yet.';
  const lines = runs.slice(0, 10).map((run) => {
    const page = run.runUrl === undefined ? `\`${run.runId}\`` : link(run.runId, run.runUrl);
    const more =
      run.state === 'running'
        ? `, ${stepWords(run.step)}`
        : run.state === 'queued'
          ? `, ${run.ahead ?? 0} before it`
          : '';
    return `- ${page}: ${run.state.replace('_', ' ')}${more}, asked by ${code(run.requester, { max: 60 })}`;
  });
  return lines.join('\n');
}

export function stopReply(outcome: { removed: number; signalled: number }): string {
  const { removed, signalled } = outcome;
  if (removed + signalled === 0) return 'Nothing is running or waiting here.';
  const parts = [
    ...(signalled > 0 ? [`${signalled} running, told to stop`] : []),
    ...(removed > 0 ? [`${removed} waiting, taken out of the queue`] : []),
  ];
  return `Stopped: ${parts.join('; ')}.`;
}

/** Why a failed CI run is not looked after. */
export function ciReply(
  facts: { kind: 'no_right'; login: string; prefix: string } | { kind: 'rounds'; rounds: number; prefix: string },
): string {
  const ask = `Whoever has write access can write \`${facts.prefix} fix\` and what should be done differently.`;
  if (facts.kind === 'rounds')
    return `CI fails here after ${facts.rounds} fixes that nobody asked for, so I ask before I try again. ${ask}`;
  return `CI fails here. ${code(facts.login, { max: 60 })}, who last had me work on this, has no write access any more, so I begin nothing. ${ask}`;
}

/** Micro-dollars; what is spent includes what calls under way hold. */
export interface BudgetFacts {
  /** What one run may cost here without asking for less. */
  maxCost: number;
  /** Of the thread, newest first; the cap is not known before the run has begun. */
  runs?: readonly { runId: string; spent: number; cap: number | undefined }[];
  repository: { spent: number; cap: number };
  installation: { spent: number; cap: number };
}

export function budgetReply(facts: BudgetFacts): string {
  const row = (name: string, spent: number, cap: number | undefined): string => {
    const [of, left] = cap === undefined ? ['–', '–'] : [formatUsd(cap), formatUsd(Math.max(0, cap - spent))];
    return `| ${name} | ${formatUsd(spent)} | ${of} | ${left} |`;
  };
  return [
    '| Reservations included | used | of | left |',
    '|---|---|---|---|',
    ...(facts.runs ?? []).map(({ runId, spent, cap }) => row(`Run \`${runId}\``, spent, cap)),
    row('Today (UTC), this repository', facts.repository.spent, facts.repository.cap),
    row('Today (UTC), this installation', facts.installation.spent, facts.installation.cap),
    '',
    `One run may cost ${formatUsd(facts.maxCost)}.`,
  ].join('\n');
}

export interface HeldLine {
  runId: string;
  /** First twelve digits. */
  hash: string;
  keptAt: string;
  requester: string;
  files: number;
}

/** What `publish` answers when no hash, or none of a result that waits here, was named. */
export function heldListReply(
  held: readonly HeldLine[],
  options: { prefix: string; named?: string | undefined },
): string {
  const unknown =
    options.named === undefined
      ? 'Name the hash of the diff that you looked at.'
      : `${code(options.named, { max: 80 })} is not the hash of a result that waits here. A result that was made anew has another hash; look at it first.`;
  if (held.length === 0) return `${unknown}\n\nNothing waits here.`;
  const lines = held
    .slice(0, 20)
    .map(
      (one) =>
        `- \`${options.prefix} publish ${one.hash}\`: ${one.files} ${one.files === 1 ? 'file' : 'files'}, run \`${one.runId}\`, asked by ${code(one.requester, { max: 60 })}, kept since ${code(one.keptAt, { max: 30 })}`,
    );
  return assemble([{ text: unknown }, { text: 'What waits here:' }, { text: lines.join('\n') }]);
}

/** A held result was published (now, or before). */
export function publishedReply(facts: {
  hash: string;
  pull?: { number: number; url: string } | undefined;
  /** Set when GitHub refused it for good: the result is a patch in the status comment. */
  patch?: { why: string } | undefined;
  before: boolean;
  baseMoved: boolean;
}): string {
  if (facts.patch !== undefined) {
    const why = code(facts.patch.why, { max: 600 });
    return `${facts.before ? 'Already handed over' : 'Handed over'}: \`${facts.hash}\` is the patch in the status comment, since GitHub takes no pull request of it: ${why}`;
  }
  const where = facts.pull === undefined ? 'its branch' : link(`pull request ${facts.pull.number}`, facts.pull.url);
  const moved = facts.baseMoved
    ? ' The base branch has moved since the run began: what was verified is this change on the older base.'
    : '';
  return `${facts.before ? 'Already published' : 'Published'}: \`${facts.hash}\` is ${where}.${moved}`;
}

/** A held result could not be published, and trying again changes nothing by itself. */
export function notPublishedReply(facts: { hash: string; why: string; prefix: string }): string {
  return `😕 \`${facts.hash}\` was not published: ${code(facts.why, { max: 600 })}\n\nIt still waits here; \`${facts.prefix} retry\` does the work anew on what is there now.`;
}

/** A held result is on a host whose workers do not run now. */
export function hostGoneReply(facts: { hash: string; host: string; prefix: string }): string {
  return `😕 \`${facts.hash}\` was not published: it waits on another host (${code(facts.host, { max: 60 })}), and no worker of that host runs now. Write \`${facts.prefix} publish ${facts.hash}\` again when one does; \`${facts.prefix} retry\` does the work anew.`;
}

/** For a verb that this installation does not serve. */
export function unavailableReply(verb: Verb, options: { prefix: string }): string {
  return `\`${options.prefix} ${verb}\` is not available here; \`${options.prefix} help\` lists what is.`;
}
