import type { CommandProblem } from '../domain/trigger.ts';
import { nearest } from '../domain/nearest.ts';

const WAY_OUT = '[a-z0-9*][a-z0-9.*-]{0,252}(?:=[A-Z]{1,16}(?:\\+[A-Z]{1,16}){0,8})?';

/** The flags of a command and what their values look like; `null`: no value. */
const FLAGS: Record<string, RegExp | null> = {
  agent: /^[a-z0-9][a-z0-9-]{0,39}$/,
  model: /^[A-Za-z0-9][\w.:/@-]{0,127}$/,
  'max-cost': /^\d{1,6}(?:\.\d{1,6})?$/,
  'max-turns': /^[1-9]\d{0,5}$/,
  timeout: /^[1-9]\d{0,4}[smh]?$/,
  /** `host`, `host=GET+POST` or a preset, several with commas: ways out for this run, within what the operator lets people add. */
  allow: new RegExp(`^${WAY_OUT}(?:,${WAY_OUT}){0,9}$`),
  keep: null,
};
const FLAG_NAMES: readonly string[] = Object.keys(FLAGS);

interface Token {
  text: string;
  start: number;
  end: number;
}

export interface FlagReading {
  /** The line without its flags. */
  text: string;
  flags: Record<string, string>;
  problems: CommandProblem[];
}

/**
 * Takes `--flag value` and `--flag=value` out of a command's first line. Code spans are text; a lone `--` ends the flags.
 * Phones turn `--` into a dash: `—model x` counts when the name is known.
 */
export function readFlags(line: string): FlagReading {
  const tokens = Array.from(line.matchAll(/`[^`]*`|--?[\w-]+="[^"]*"|"[^"]*"|\S+/g), (match) => ({
    text: match[0],
    start: match.index,
    end: match.index + match[0].length,
  }));
  const reading: FlagReading = { text: '', flags: {}, problems: [] };
  const cuts: [number, number][] = [];
  for (let index = 0; index < tokens.length; index += 1) {
    const token = tokens[index];
    if (token === undefined) break;
    if (token.text === '--') {
      cuts.push([token.start, token.end]);
      break;
    }
    const flag = /^(--|—)([A-Za-z_][\w-]*)(?:=(.*))?$/.exec(token.text);
    if (flag === null) continue;
    const name = (flag[2] ?? '').toLowerCase();
    const known = Object.hasOwn(FLAGS, name);
    if (!known && flag[1] === '—') continue;
    const used = readFlag({ name, known, inline: flag[3], next: tokens[index + 1], reading });
    cuts.push([token.start, used ? (tokens[index + 1]?.end ?? token.end) : token.end]);
    if (used) index += 1;
  }
  reading.text = without(line, cuts);
  return reading;
}

/** Reads one flag into `reading`; true when it took the next token as its value. */
function readFlag(options: {
  name: string;
  known: boolean;
  inline: string | undefined;
  next: Token | undefined;
  reading: FlagReading;
}): boolean {
  const { name, reading } = options;
  if (!options.known) {
    const near = nearest(name, FLAG_NAMES, 2);
    reading.problems.push({
      kind: 'unknown_flag',
      word: `--${name}`.slice(0, 200),
      ...(near === undefined ? {} : { nearest: `--${near}` }),
    });
    return false;
  }
  const pattern = FLAGS[name] ?? null;
  if (pattern === null) {
    if (options.inline === undefined) reading.flags[name] = 'true';
    else reading.problems.push({ kind: 'flag_value', word: `--${name}` });
    return false;
  }
  const following = options.inline === undefined && !/^(?:--|—)/.test(options.next?.text ?? '--');
  const value = (options.inline ?? (following ? (options.next?.text ?? '') : '')).replace(/^["`]|["`]$/g, '');
  const plain = asWritten(name, value);
  if (pattern.test(plain) && !Object.hasOwn(reading.flags, name)) reading.flags[name] = plain;
  else reading.problems.push({ kind: 'flag_value', word: `--${name}` });
  return following;
}

/** `$3` is three dollars, `20` is twenty minutes, and names have no case. */
function asWritten(name: string, value: string): string {
  if (name === 'max-cost') return value.replace(/^\$/, '');
  if (name === 'timeout') return value.replace(/^(\d+)$/, '$1m');
  if (name === 'allow')
    return value
      .replace(/[^,=]+(?==|,|$)/g, (part) => part.toLowerCase())
      .replace(/=([^,]*)/g, (methods) => methods.toUpperCase());
  return value;
}

function without(line: string, cuts: [number, number][]): string {
  let at = 0;
  let text = '';
  for (const [start, end] of cuts) {
    text += line.slice(at, start).replace(/\s+$/, ' ');
    at = end;
    while (/\s/.test(line[at] ?? '')) at += 1;
  }
  return (text + line.slice(at)).trim();
}
