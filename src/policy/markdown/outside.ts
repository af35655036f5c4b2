/**
 * How text from outside is put into Markdown on GitHub: the one way for comments, pull requests, check runs and titles.
 *
 * Trust: the text is hostile (an agent that was tricked, a host name, a file name, a log). In what comes out it is text and nothing
 * else: it notifies nobody, links nowhere, loads nothing, closes no issue, hides nothing, commands no other program, and ends where
 * it is said to end. Only these functions may let outside text into Markdown.
 */
import { showHidden } from '../../domain/hidden.ts';
import { skipNothing } from './quiet.ts';

const ESC = String.fromCharCode(0x1b);
const BEL = String.fromCharCode(0x07);
/** Colours, cursor movements and OSC (links, titles) of terminals. */
const ANSI = new RegExp(
  `${ESC}\\][^${BEL}${ESC}]{0,4096}(?:${BEL}|${ESC}\\\\)|(?:${ESC}\\[|\\u009b)[0-?]{0,64}[ -/]{0,16}[@-~]|${ESC}[@-Z\\\\^_]`,
  'g',
);

/** Line ends as `\n`, no terminal sequences, everything invisible shown, no line that a CI runner would obey. */
export function clean(text: string): string {
  return showHidden(text.replace(/\r\n?/g, '\n').replace(ANSI, ''))
    .text.replace(/^([ \t]*):(?=:)/gm, '$1: ')
    .replace(/##(?=\[)/g, '## ');
}

/** At most `max` characters, with a mark where something is missing; never half a character. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const end = /[\ud800-\udbff]/.test(text.charAt(max - 2)) ? max - 2 : max - 1;
  return `${text.slice(0, end)}…`;
}

function longestRun(text: string): number {
  return Math.max(0, ...Array.from(text.matchAll(/`+/g), (match) => match[0].length));
}

/** Outside text as one code span. */
export function code(text: string, options: { max?: number; table?: boolean } = {}): string {
  const line = cut(clean(text).replace(/\s+/g, ' ').trim(), options.max ?? 200);
  if (line === '') return '` `';
  if (options.table === true && line.includes('|')) return tableCode(line);
  const ticks = '`'.repeat(longestRun(line) + 1);
  const pad = line.startsWith('`') || line.endsWith('`') ? ' ' : '';
  return `${ticks}${pad}${line}${pad}${ticks}`;
}

/** A pipe ends a cell even in a code span, and its escape is read differently behind a backslash: as entities nothing is left to read. */
function tableCode(line: string): string {
  const entities = line.replace(/[^\p{L}\p{N} ]/gu, (char) => `&#${char.codePointAt(0) ?? 0};`);
  return `<code>${entities}</code>`;
}

/** Languages that only colour; `mermaid`, `math` and their kin would draw. */
const LANGUAGES =
  /^(?:bash|c|cpp|css|diff|go|html|ini|java|javascript|js|json|jsx|makefile|markdown|md|patch|php|py|python|rb|ruby|rust|sh|sql|toml|ts|tsx|txt|typescript|xml|ya?ml)$/;

export interface BlockOptions {
  maxChars: number;
  maxLines: number;
  language?: string;
  /** Keep the end instead of the beginning: what matters in a log. */
  tail?: boolean;
}

/** Outside text as a code block whose fence is longer than any in it. */
export function block(text: string, options: BlockOptions): string {
  const lines = clean(text)
    .replace(/\n+$/, '')
    .split('\n')
    // A program that looks for `/command` at the beginning of a line shall not find one.
    .map((line) => (line.startsWith('/') ? ` ${line}` : line));
  const kept = options.tail === true ? lines.slice(-options.maxLines) : lines.slice(0, options.maxLines);
  const joined = kept.join('\n');
  const over = joined.length > options.maxChars;
  const body =
    over && options.tail === true ? joined.slice(-options.maxChars).toWellFormed() : cut(joined, options.maxChars);
  const missing = lines.length - kept.length > 0 || over;
  const fence = '`'.repeat(Math.max(3, longestRun(body) + 1));
  const language = LANGUAGES.test(options.language ?? '') ? (options.language ?? '') : '';
  const note = missing ? '[… cut …]' : '';
  const content = (options.tail === true ? [note, body] : [body, note]).filter((part) => part !== '').join('\n');
  return `${fence}${language}\n${content}\n${fence}`;
}

/** Words that GitHub, or a program that reads along, would make something of. */
const ACTIVE: readonly RegExp[] = [
  /@/,
  /:\/\//,
  /%3a/i,
  /www\./i,
  /#\d/,
  /\bGH-\d/i,
  /\$/,
  /^[^\w]*[a-z][a-z0-9+.-]{1,30}:[^\s]/i,
  /[<>]/,
  /\]\(|!\[|\]\[|\[\^/,
  /^[^\w]*\/[a-z]/i,
  /\b[0-9a-f]{7,64}\b/,
];

/** One line of outside text, with what it says kept and what it would do taken away. */
export function words(text: string): string {
  return lineStart(inlineWords(text));
}

/** The same for text that is not at the beginning of a line; the caller guards that with `lineStart`. */
export function inlineWords(text: string): string {
  return clean(text)
    .split(/(\s+)/)
    .map((part) => {
      if (part.trim() === '') return part === '' ? '' : ' ';
      return ACTIVE.some((active) => active.test(part)) ? code(part, { max: 300 }) : escapeWord(part);
    })
    .join('')
    .trim();
}

/** What makes a list, a heading, a quote or a rule of a line is taken for text. */
export function lineStart(line: string): string {
  return line.replace(/^(\d{1,9})([.)])/, '$1\\$2').replace(/^([-+=#>~])/, '\\$1');
}

function escapeWord(word: string): string {
  return word.replace(/[\\`*_[\]<|&~^]/g, (char) => `\\${char}`);
}

/**
 * Outside text where Markdown is not read but GitHub still looks for names and numbers: titles and commit messages.
 * One line; nobody is mentioned, no issue named, no CI skipped.
 */
export function plainLine(text: string, max: number): string {
  const line = skipNothing(clean(text).replace(/\s+/g, ' ').trim())
    .replace(/\bskip-checks:/gi, 'skip-checks')
    .replace(/@(?=[a-z0-9])/gi, '')
    .replace(/#(?=\d)/g, 'no. ')
    .replace(/\bGH-(?=\d)/gi, 'GH ')
    .replace(/:(?=\/\/)/g, ': ')
    .replace(/^\/+(?=[a-z])/i, '')
    .replaceAll('`', "'");
  return cut(line, max);
}

/** A link of our own. Errors: `RangeError` for anything but http and https; the caller's fault, since outside text never gets here. */
export function link(label: string, url: string): string {
  const parsed = new URL(url);
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') throw new RangeError('links are http or https');
  const href = parsed.href.replace(/[()<>[\]|\\`*_]/g, (char) => `%${(char.codePointAt(0) ?? 0).toString(16)}`);
  return `[${words(label)}](${href})`;
}
