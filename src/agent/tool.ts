/**
 * What a tool call was given and what it gave, as text for people.
 *
 * Trust: both were written by the sandbox. A value may be megabytes or nested without end: writing stops when the room is
 * used up, and nothing is serialised whole.
 */
import { cap, isObject } from './text.ts';
import type { Json } from './text.ts';

/** UTF-16 units. */
export const MAX_INPUT = 4_096;
export const MAX_OUTPUT = 8_192;

const MAX_DEPTH = 6;
const MAX_ITEMS = 200;
/** Of what a tool printed the end says more than the beginning. */
const HEAD_SHARE = 0.25;

/** The arguments of a call, one line each where they are short; undefined when there are none (yet). */
export function toolInput(update: Json): string | undefined {
  const { rawInput } = update;
  const room = { left: MAX_INPUT };
  const text = typeof rawInput === 'string' ? cap(rawInput, MAX_INPUT) : written(rawInput, room, 0);
  return text.trim() === '' ? undefined : ended(text, room);
}

/**
 * What a command printed so far, with what this update adds to it: agents that run commands in a terminal of their own send
 * its output in pieces, and its exit code, as an extension. `MAX_OUTPUT` at most, its beginning and its end.
 */
export function printedMore(before: string | undefined, update: Json): string | undefined {
  const meta = update['_meta'];
  if (!isObject(meta)) return before;
  const pieces = ['terminal_output', 'terminal_output_delta'].map((key) => textIn(meta[key], 'data') ?? '');
  const exit = isObject(meta['terminal_exit']) ? meta['terminal_exit']['exit_code'] : undefined;
  const failed = typeof exit === 'number' && exit !== 0 ? `\n(exit code ${exit})` : '';
  const more = `${pieces.join('')}${failed}`;
  return more === '' ? before : middleOut(`${before ?? ''}${more}`.trimStart());
}

function textIn(value: unknown, key: string): string | undefined {
  const text = isObject(value) ? value[key] : undefined;
  return typeof text === 'string' ? text : undefined;
}

/** What a call gave: the text that the agent shows for it, else the text in its raw result. Undefined when there is none (yet). */
export function toolOutput(update: Json): string | undefined {
  const { content, rawOutput } = update;
  const shown = Array.isArray(content) ? content.slice(0, MAX_ITEMS).map(blockText).join('\n') : '';
  if (shown.trim() !== '') return middleOut(shown);
  if (typeof rawOutput === 'string') return rawOutput.trim() === '' ? undefined : middleOut(rawOutput);
  const named = OUTPUT_KEYS.map((key) => textIn(rawOutput, key)).find(
    (text) => text !== undefined && text.trim() !== '',
  );
  return named === undefined ? undefined : middleOut(named);
}

/** Where agents put what a command printed. */
const OUTPUT_KEYS = ['formatted_output', 'aggregated_output', 'output', 'stdout', 'stderr', 'error'];

function blockText(block: unknown): string {
  if (!isObject(block)) return '';
  if (block['type'] === 'diff') return diffText(block);
  const { content } = block;
  if (!isObject(content)) return '';
  const text = textIn(content, 'text');
  if (text !== undefined) return text;
  return typeof content['type'] === 'string' ? `[${cap(content['type'], 40)}]` : '';
}

/** The replaced text and what came in its place; not a patch, and not the truth: the diff of the run is. */
function diffText(block: Json): string {
  const marked = (sign: string, text: unknown): string =>
    typeof text === 'string' && text !== ''
      ? cap(text, MAX_OUTPUT)
          .replace(/\n$/, '')
          .split('\n')
          .map((line) => `${sign}${line}`)
          .join('\n')
      : '';
  return [cap(textIn(block, 'path') ?? '', 500), marked('-', block['oldText']), marked('+', block['newText'])]
    .filter((part) => part !== '')
    .join('\n');
}

interface Room {
  left: number;
}

function ended(text: string, room: Room): string {
  return room.left > 0 ? text.toWellFormed() : `${text.toWellFormed()}\n… cut`;
}

/** A value in lines: objects by their keys, long texts below their key. */
function written(value: unknown, room: Room, depth: number): string {
  const indent = '  '.repeat(depth);
  const take = (text: string): string => {
    const taken = text.slice(0, room.left);
    room.left -= taken.length;
    return taken;
  };
  if (value === undefined || value === null) return '';
  if (typeof value === 'string')
    return take(value.includes('\n') && depth > 0 ? `\n${value.slice(0, room.left)}` : value);
  if (typeof value !== 'object') return take(typeof value === 'number' || typeof value === 'boolean' ? `${value}` : '');
  if (depth >= MAX_DEPTH) return take('…');
  const lines: string[] = [];
  const entries: Iterable<[string, unknown]> = Array.isArray(value)
    ? value.slice(0, MAX_ITEMS).map((item): [string, unknown] => ['-', item])
    : Object.entries(value).map(([key, item]): [string, unknown] => [`${cap(key, 100)}:`, item]);
  for (const [name, item] of entries) {
    if (room.left <= 0) break;
    const key = take(`${depth === 0 ? '' : indent}${name} `);
    const below = written(item, room, depth + 1);
    const nested = typeof item === 'object' && item !== null && below !== '';
    lines.push(nested ? `${key.trimEnd()}\n${below}` : `${key}${below}`.trimEnd());
  }
  return lines.join('\n');
}

const LEFT_OUT = '\n… (what was in between is left out) …\n';

/** Beginning and end of a text that is too long. Cutting what was cut before, with more at its end, leaves one mark. */
function middleOut(text: string): string {
  if (text.length <= MAX_OUTPUT) return text.toWellFormed();
  const head = Math.floor((MAX_OUTPUT - LEFT_OUT.length) * HEAD_SHARE);
  const tail = MAX_OUTPUT - LEFT_OUT.length - head;
  return `${cap(text, head)}${LEFT_OUT}${text.slice(-tail).toWellFormed()}`;
}
