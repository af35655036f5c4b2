import type { DenyReason } from '../domain/decision.ts';
import { REPOSITORY_FILE } from '../domain/configuration.ts';
import { formatUsd } from '../domain/ids.ts';
import type { FrozenText } from '../domain/run.ts';
import { entryText } from '../policy/egress/report.ts';
import type { ExpectedCost } from '../policy/llm/expect.ts';
import { duration } from '../policy/markdown/facts.ts';
import { clean, cut } from '../policy/markdown/outside.ts';
import type { LeftOut } from '../run/trigger/input.ts';
import type { RunPlan } from './plan.ts';

/** A plan for people at a terminal. What others wrote is one clean line each. */
export function planReport(plan: RunPlan): string {
  const sections = [head(plan), authority(plan), texts(plan), hidden(plan), configuration(plan), ...rules(plan)];
  const end = 'No model was asked, and nothing was written to GitHub.';
  return `${[...sections.filter((lines) => lines.length > 0).map((lines) => lines.join('\n')), end].join('\n\n')}\n`;
}

function line(text: string, max = 100): string {
  return cut(clean(text).replace(/\s+/g, ' ').trim(), max);
}

function head({ repository, thread }: RunPlan): string[] {
  const what = `${thread.isPull ? 'pull request' : 'issue'}, ${thread.open ? 'open' : 'closed'}`;
  return [`${repository.owner}/${repository.name}#${thread.number}  ${line(thread.title)}  (${what})`];
}

const REFUSALS: Partial<Record<DenyReason, string>> = {
  no_write_access: 'GitHub says that this account has no write access to the repository',
  not_an_asker: "this account is not among the policy's askers",
  teams_unreadable:
    "this account is no asker by name, and the App may not see who is in the askers' teams: grant it members: read",
  bot: 'Cofferdam works for people only, not for bots',
};

function authority({ actor, preview, thread }: RunPlan): string[] {
  const { decision, pull } = preview;
  const said = decision.allow
    ? `yes, by ${decision.rule}`
    : `no: ${REFUSALS[decision.reason] ?? decision.reason} (${decision.rule})`;
  const lines = ['Who asks', `  @${actor.login}: ${said}; asked again when a result is published`];
  if (pull === undefined) return lines;
  const where = pull.sameRepository
    ? `pushes to its branch ${line(pull.branch)}`
    : 'comes from a fork, which is never pushed to';
  lines.push(`  works on ${pull.sha.slice(0, 12)}; ${where}`);
  if (!pull.open) lines.push(`  no: pull request ${thread.number} is closed`);
  return lines;
}

const LEFT: Record<LeftOut['why'], string> = {
  own: "Cofferdam's own",
  later: 'written or changed after the trigger',
  older: 'older than the 30 newest',
  length: 'too long together with newer ones',
  no_write_access: 'its author may not write here',
  too_many_people: 'too many people to look all of them up',
};

function texts({ preview, task }: RunPlan): string[] {
  const shown = preview.texts.map((text) => {
    const rights = text.authorMayWrite === undefined ? '' : text.authorMayWrite ? ', may write' : ', MAY NOT WRITE';
    return `  shown    ${about(text)}${rights}`;
  });
  const left = preview.left.map(({ text, why }) => `  left out ${about(text)}: ${LEFT[why]}`);
  return ['Texts', ...shown, ...left, `  the task is ${task.characters} characters, ${task.sha256.slice(0, 19)}`];
}

function about({ kind, id, author, updatedAt, sha256 }: FrozenText): string {
  return `${kind} ${id ?? ''} by @${line(author, 60)}, ${updatedAt}, ${sha256.slice(0, 19)}`.replace('  ', ' ');
}

function hidden(plan: RunPlan): string[] {
  if (plan.hidden.length === 0) return [];
  return [
    'Hidden content: not seen on GitHub, shown to the agent with its hiding taken away',
    ...plan.hidden.map(
      ({ where, kind, count, sample }) => `  ${where}: ${count} × ${kind.replace('_', ' ')}: ${line(sample, 120)}`,
    ),
  ];
}

function configuration({ repository, configuration: found, policy }: RunPlan): string[] {
  const where = `${REPOSITORY_FILE} of ${line(repository.defaultBranch)}`;
  const lines = ['Rules', `  policy ${policy.source}, ${policy.digest.slice(0, 19)}`];
  if (found === 'missing') return [...lines, `  ${where}: not there, the policy holds`];
  if (found === 'valid') return [...lines, `  ${where}: valid`];
  const problems = found.problems.map((one) => `    line ${one.line}, column ${one.column}: ${line(one.message, 300)}`);
  return [...lines, `  ${where}: NOT VALID, runs are refused`, ...problems];
}

function rules({ rules: found }: RunPlan): string[][] {
  if (found === undefined) return [];
  const { settings, ways, deny, expected } = found;
  const { limits } = settings;
  const list = (items: readonly string[]): string =>
    items.length === 0 ? 'none' : items.map((one) => line(one, 160)).join('; ');
  return [
    [
      'Settings',
      `  agent      ${line(settings.agent)} with ${line(settings.model ?? 'no model')}`,
      `  setup      ${list(settings.setup)}`,
      `  verify     ${list(settings.verify)}`,
      `  env        ${list(Object.keys(settings.env))}`,
      `  hold       ${settings.hold}${settings.protected.length === 0 ? '' : `; protected: ${list(settings.protected)}`}`,
      `  pull       labels: ${list(settings.pull.labels)}; reviewers: ${list(settings.pull.reviewers)}`,
    ],
    agentFiles(found.agentFiles),
    [
      'Ways out',
      ...(ways.length === 0
        ? ['  none']
        : ways.map(({ entry, source }) => `  ${line(entryText(entry), 160)}  (${source})`)),
      ...deny.map((pattern) => `  never ${pattern}`),
    ],
    [
      'Caps',
      `  a run: ${formatUsd(limits.maxCost)}, ${duration(limits.timeoutMs)}, ${limits.maxTurns} model calls`,
      `  a day: ${formatUsd(limits.repositoryDailyCost)} this repository, ${formatUsd(limits.installationDailyCost)} the installation`,
    ],
    ['Expected cost', `  ${costLine(expected)}`],
  ];
}

/** With the line that an operator would add for each that is off. */
function agentFiles(files: NonNullable<RunPlan['rules']>['agentFiles']): string[] {
  if (files === undefined)
    return ['Configuration of the agent', '  too many files to look at here; the run looks at all of them'];
  if (files.length === 0) return [];
  const any = files.some(({ allowed }) => allowed);
  return [
    'Configuration of the agent on the default branch',
    ...files.map(
      ({ path, sha256, allowed }) =>
        `  ${allowed ? 'read' : 'off '}  ${sha256 ?? 'no plain file, or a large one'}  ${line(path)}`,
    ),
    ...(any ? [] : ['  none of it is read; hashes under agents.allowConfiguration in the policy let a file through']),
  ];
}

function costLine(expected: ExpectedCost | undefined): string {
  if (expected === undefined) return 'unknown: the model has no price, so its calls would be refused';
  const { low, high, basis, capped } = expected;
  const why =
    basis.kind === 'runs'
      ? `what the last ${basis.count} runs here with this model cost, by this host's records`
      : `the model's price for ${basis.calls[0]} to ${basis.calls[1]} calls of usual size; no record of enough runs here`;
  return `${formatUsd(low)} to ${formatUsd(high)}: ${why}${capped ? '; the cap ends it there' : ''}`;
}
