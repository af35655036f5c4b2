import { type RunResult } from '../../domain/run.ts';
import { shortHash, type CiRisk, type HeldFacts } from '../../domain/held.ts';
import { CLASS_TEXT, PROTECTED_CLASSES } from '../diff/classes.ts';
import type { Section } from './assemble.ts';
import { details } from './facts.ts';
import { block, code, words } from './outside.ts';

const MAX_FILES = 20;
const MAX_CI = 8;

const RISKS: Record<CiRisk, string> = {
  secrets: 'runs on what is pushed and uses secrets',
  write_permission: 'runs on what is pushed with a token that may write',
  default_permission:
    'runs on what is pushed and says no `permissions`, so that its token may write; with `permissions: { contents: read }` such a change needs no second look',
  self_hosted: 'runs what is pushed on a machine of your own',
  unreadable: 'cannot be read for certain',
  other_service: 'belongs to another CI service, whose secrets are not known here',
};

/** What waits, why, and what a person writes to let it go. */
export function heldSections(
  result: RunResult,
  options: { prefix: string; mayPushWorkflows?: boolean | undefined },
): Section[] {
  const { held } = result;
  if (held === undefined) return [];
  return [
    {
      text: `**Nothing was pushed: a person must look first** (${code(held.rule, { max: 60 })}).\n\n${filesOf(result, held)}`,
    },
    ...(held.fork === undefined ? [] : [{ text: forkOf(held.fork.pull) }]),
    ...(held.ci.length === 0 ? [] : [{ text: ciOf(held) }]),
    ...(options.mayPushWorkflows === false && touchesWorkflows(held.files)
      ? [
          {
            text: '⚠️ GitHub lets an App push files in `.github/workflows/` only with the permission `workflows: write`, which this installation does not have: an owner must grant it first, or apply the patch by hand.',
          },
        ]
      : []),
    {
      text: `Whoever has write access here and agrees with the whole change writes \`${options.prefix} publish ${shortHash(held.diffHash)}\`. That publishes exactly this commit; any other diff has another hash.`,
    },
  ];
}

/** The diff that waits, to be opened. */
export function heldDiff({ held }: RunResult): Section | undefined {
  if (held === undefined) return undefined;
  const summary = held.excerptCut
    ? `Beginning of the diff (all of it is ${held.fork === undefined ? 'on the run page and ' : ''}in the held directory of the host)`
    : 'The whole diff';
  const diff = block(held.excerpt, { maxChars: 20_000, maxLines: 500, language: 'diff' });
  return { text: details(summary, diff), optional: true };
}

/** Does GitHub ask for the permission `workflows` before it takes these? */
export function touchesWorkflows(files: readonly string[]): boolean {
  return files.some((file) => file.startsWith('.github/workflows/'));
}

function filesOf(result: RunResult, held: HeldFacts): string {
  const own = result.files.map((file): [string, string | undefined] => [file.path, file.protectedClass]);
  const classes = new Map(held.fork === undefined ? own : Object.entries(held.fork.classes));
  const shown = held.files.slice(0, MAX_FILES).map((path) => {
    const named = PROTECTED_CLASSES.find((one) => one === classes.get(path));
    return `- ${code(path, { max: 120 })}${named === undefined ? '' : `: ${words(CLASS_TEXT[named])}`}`;
  });
  const more = held.files.length - shown.length;
  return [...shown, ...(more > 0 ? [`- and ${more} more`] : [])].join('\n');
}

function forkOf(pull: number): string {
  return `The commits of #${pull}, a pull request from a fork, would come along, and on a branch of this repository CI trusts them: files and diff are of both together, theirs and the run's.`;
}

function ciOf(held: HeldFacts): string {
  const lines = held.ci.slice(0, MAX_CI).map(({ file, risk }) => `- ${code(file, { max: 120 })} ${RISKS[risk]}`);
  if (held.ci.length > MAX_CI) lines.push(`- and ${held.ci.length - MAX_CI} more`);
  return ['Code that executes in CI waits because:', '', ...lines].join('\n');
}
