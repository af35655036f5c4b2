import {
  REPOSITORY_FILE,
  type CheckedConfiguration,
  type EffectiveSettings,
  type RepositoryProblem,
} from '../../domain/configuration.ts';
import { formatUsd } from '../../domain/ids.ts';
import { entryText } from '../egress/report.ts';
import { assemble } from './assemble.ts';
import { duration } from './facts.ts';
import { block, code, cut, plainLine } from './outside.ts';

/** What the check of a pull request that changes `.github/cofferdam.yml` says. The file is data: nothing of it was run. */
export interface ConfigurationFacts {
  /** What runs get now; without a valid file, what the operator says alone. */
  before: EffectiveSettings;
  /** Is the file on the base valid, or not there? */
  beforeValid: boolean;
  after: CheckedConfiguration;
  /** The pull request takes the file away. */
  removed: boolean;
  defaultBranch: string;
}

/** One line of the file, with what is wrong there. */
export interface ConfigurationNote {
  line: number;
  column: number;
  message: string;
}

const MAX_PROBLEMS = 50;

export function configurationTitle({ before, beforeValid, after, removed }: ConfigurationFacts): string {
  if ('problems' in after) return counted(after.problems.length, 'error', 'errors');
  if (removed) return "Removed: the operator's settings hold";
  const { length } = differences(before, after.effective);
  const changes = length === 0 ? 'nothing changes for runs' : counted(length, 'setting changes', 'settings change');
  return `${beforeValid ? 'Valid' : 'Valid again'}; ${changes}`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Lines for GitHub to show beside the file; plain text, 50 at most. */
export function configurationNotes({ after }: ConfigurationFacts): ConfigurationNote[] {
  if (!('problems' in after)) return [];
  return after.problems.slice(0, MAX_PROBLEMS).map(({ line, column, message }) => ({
    line,
    column,
    message: cut(
      message
        .split('\n')
        .map((one) => plainLine(one, 600))
        .join('\n'),
      4_000,
    ),
  }));
}

export function configurationSummary(facts: ConfigurationFacts): string {
  const { after } = facts;
  if ('problems' in after) return problemsSummary(after.problems);
  const branch = code(facts.defaultBranch, { max: 100 });
  const rows = differences(facts.before, after.effective);
  const table = ['| Setting | now | then |', '|---|---|---|', ...rows].join('\n');
  return assemble([
    facts.beforeValid
      ? undefined
      : {
          text: 'The file on the base is not valid, so runs are refused there; the table compares with no file at all.',
        },
    { text: rows.length === 0 ? 'What runs get stays as it is.' : table },
    {
      text: `These are the effective settings within the operator's ceilings. They hold from when this is on ${branch}; until then, and for runs on this pull request, those of now do. Nothing was run for this check.`,
    },
  ]);
}

function problemsSummary(problems: readonly RepositoryProblem[]): string {
  const lines = problems.slice(0, MAX_PROBLEMS).map(({ line, column, message }) => {
    const [first = '', ...rest] = message.split('\n');
    const said = `- line ${line}, column ${column}: ${code(first, { max: 600 })}`;
    return rest.length === 0
      ? said
      : `${said}\n\n${block(rest.join('\n'), { maxChars: 1_000, maxLines: 10, language: 'yaml' })}\n`;
  });
  const more = problems.length > MAX_PROBLEMS ? [`- and ${problems.length - MAX_PROBLEMS} more`] : [];
  return assemble([
    { text: `On the default branch, runs would be refused with this \`${REPOSITORY_FILE}\`:` },
    { text: [...lines, ...more].join('\n') },
  ]);
}

type Row = [name: string, show: (settings: EffectiveSettings) => string];

const ROWS: readonly Row[] = [
  ['agent', ({ agent }) => word(agent)],
  ['model', ({ model }) => (model === undefined ? 'none' : word(model))],
  ['limits: cost', ({ limits }) => formatUsd(limits.maxCost)],
  ['limits: time', ({ limits }) => duration(limits.timeoutMs)],
  ['limits: model calls', ({ limits }) => String(limits.maxTurns)],
  ['limits: a setup command, a verification', ({ limits }) => duration(limits.stepMs)],
  ['limits: a silent agent', ({ limits }) => duration(limits.idleMs)],
  ['env', ({ env }) => list(Object.entries(env).map(([name, value]) => `${name}=${value}`))],
  ['setup', ({ setup }) => list(setup)],
  ['verify', ({ verify }) => (verify.length === 0 ? 'nothing: results are not verified' : list(verify))],
  ['egress.allow, all within `mayAdd`', ({ added }) => list(added.map(entryText))],
  ['protected', (settings) => list(settings.protected)],
  ['publish.hold', ({ hold }) => word(hold)],
  ['publish.labels', ({ pull }) => list(pull.labels)],
  ['publish.reviewers', ({ pull }) => list(pull.reviewers)],
];

/** A table row for each setting that changes. */
function differences(before: EffectiveSettings, after: EffectiveSettings): string[] {
  return ROWS.flatMap(([name, show]) => {
    const [was, is] = [show(before), show(after)];
    return was === is ? [] : [`| ${name} | ${was} | ${is} |`];
  });
}

function word(text: string): string {
  return code(text, { max: 120, table: true });
}

const MAX_ITEMS = 20;

function list(items: readonly string[]): string {
  if (items.length === 0) return 'none';
  const more = items.length > MAX_ITEMS ? ` and ${items.length - MAX_ITEMS} more` : '';
  return items.slice(0, MAX_ITEMS).map(word).join('<br>') + more;
}
