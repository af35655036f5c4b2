import { stripVTControlCharacters } from 'node:util';
import { showHidden } from '../domain/hidden.ts';

/**
 * Text from outside for one line of a terminal, the only way in which this program prints any: it moves no cursor, begins no
 * line, makes no link, and nothing in it is hidden or turned around. At most `max` characters.
 */
export function terminalLine(text: string, max = Infinity): string {
  // Enough for `max` characters even where most of them are taken out; what is larger costs nothing.
  const near = text.slice(0, 16 * max);
  const flat = showHidden(stripVTControlCharacters(near))
    .text.replace(/[\n\t]+/g, ' ')
    .trimEnd();
  if (flat.length <= max) return flat;
  return `${flat.slice(0, max - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}

/** One line as several that fit a terminal, broken at spaces; those after the first begin below its words, `indent` columns in. */
export function hanging(line: string, columns: number, indent: number): string {
  const room = columns - indent;
  if (room < 20) return line;
  const lines: string[] = [];
  let rest = line;
  while (rest.length > room) {
    const space = rest.lastIndexOf(' ', room);
    const cut = space > 0 ? space : rest.indexOf(' ');
    if (cut < 0) break;
    lines.push(rest.slice(0, cut).trimEnd());
    rest = rest.slice(cut + 1).trimStart();
  }
  return [...lines, rest].join(`\n${' '.repeat(indent)}`);
}

/** The same without space before it, for a place in a sentence. */
export function terminalText(text: string, max = 160): string {
  return terminalLine(text.trimStart(), max);
}
