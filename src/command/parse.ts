import { VERBS, Verb, type Command } from '../domain/run.ts';
import type { CommandProblem } from '../domain/trigger.ts';
import { readFlags } from './flags.ts';
import { spokenLines } from './lines.ts';
import { nearest } from '../domain/nearest.ts';

const MAX_COMMANDS = 10;
/** Longest text of one command; GitHub's own limit of a comment is 65,536. */
const MAX_TEXT = 20_000;

export interface Reading {
  commands: Command[];
  problems: CommandProblem[];
}

/**
 * Reads the commands of a comment: lines that begin with the prefix and are not quoted, code, or in an HTML comment.
 * The lines below a command, up to the next one, belong to its text. Flags stand on the command's own line.
 */
export function parseCommands(comment: string, options: { prefix: string }): Reading {
  const reading: Reading = { commands: [], problems: [] };
  const lines = spokenLines(comment);
  const starts = lines.flatMap((line, index) => (line.spoken && isCommand(line.text, options.prefix) ? [index] : []));
  for (const [order, start] of starts.entries()) {
    if (order === MAX_COMMANDS) {
      reading.problems.push({ kind: 'too_many', word: String(starts.length) });
      break;
    }
    const first = (lines[start]?.text ?? '').slice(options.prefix.length);
    const below = lines.slice(start + 1, starts[order + 1]).map((line) => line.text);
    readCommand({ first, below: below.join('\n').trim(), reading });
  }
  return reading;
}

function isCommand(line: string, prefix: string): boolean {
  const head = line.slice(0, prefix.length).toLowerCase();
  return head === prefix.toLowerCase() && /^(?:\s|$)/.test(line.slice(prefix.length));
}

function readCommand(options: { first: string; below: string; reading: Reading }): void {
  const { reading, below } = options;
  const flags = readFlags(options.first);
  reading.problems.push(...flags.problems.slice(0, MAX_COMMANDS - reading.problems.length));
  if (flags.problems.length > 0) return;
  const word = /^\S*/.exec(flags.text)?.[0] ?? '';
  const verb = Verb.safeParse(word.toLowerCase());
  const rest = flags.text.slice(word.length).trim();
  if (!verb.success) {
    const alone = rest === '' && below === '';
    const near = /^[A-Za-z]{3,}$/.test(word) ? nearest(word, VERBS, alone ? 2 : 1) : undefined;
    // One slip away from a verb: asking costs a comment, guessing would cost a run.
    if (near !== undefined) {
      reading.problems.push({ kind: 'unknown_verb', word: word.slice(0, 200), nearest: near });
      return;
    }
  }
  const said = verb.success ? rest : flags.text;
  const more = verb.data === 'continue' ? readMore(said) : { text: said, flags: {} };
  const text = [more.text, below].filter((part) => part !== '').join('\n');
  reading.commands.push({
    verb: verb.success ? verb.data : 'run',
    text: text.slice(0, MAX_TEXT).toWellFormed(),
    flags: { ...more.flags, ...flags.flags },
  });
}

/** `continue +$2 +10m`: what the next run may cost and take. Anything else begins the text. */
function readMore(said: string): { text: string; flags: Record<string, string> } {
  const flags: Record<string, string> = {};
  let text = said;
  for (;;) {
    const [whole, dollars, time] = /^\+(?:\$(\d{1,6}(?:\.\d{1,6})?)|([1-9]\d{0,4}[smh]))(?:\s+|$)/.exec(text) ?? [];
    if (whole === undefined) return { text, flags };
    if (dollars !== undefined) flags['max-cost'] = dollars;
    if (time !== undefined) flags['timeout'] = time;
    text = text.slice(whole.length);
  }
}
