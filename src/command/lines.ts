/**
 * Which lines of a comment its author says, as GitHub renders it: not quotes, code, or HTML comments.
 *
 * Trust: the text is whatever somebody typed. Where a construct is left open (a fence, a comment) everything after it
 * counts as not said: a command that is not seen costs a second comment, one that was only quoted would cost a run.
 */
export interface SpokenLine {
  text: string;
  spoken: boolean;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;
const QUOTE = /^ {0,3}>/;
const RAW_BLOCK = /<(pre|script|style|textarea|code|template)\b/i;

/** What is open at the end of a line. */
interface Open {
  fence: string | undefined;
  /** Hidden or raw until this matches. */
  until: RegExp | undefined;
  /** Length of the backtick run that ends an open code span. */
  span: number;
  /** A paragraph of a quote, which goes on without `>` up to an empty line. */
  quote: boolean;
}

/** The lines of `text`, each with whether its beginning is said by the author. */
export function spokenLines(text: string): SpokenLine[] {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const open: Open = { fence: undefined, until: undefined, span: 0, quote: false };
  return lines.map((line, index) => ({ text: line, spoken: readLine(lines, index, open) }));
}

function readLine(lines: string[], index: number, open: Open): boolean {
  const line = lines[index] ?? '';
  if (open.fence !== undefined) {
    if (closesFence(line, open.fence)) open.fence = undefined;
    return false;
  }
  if (open.until !== undefined) {
    const rest = after(line, open.until);
    if (rest === undefined) return false;
    open.until = undefined;
    readInline({ lines, index, from: rest, open });
    return false;
  }
  if (line.trim() === '') {
    Object.assign(open, { span: 0, quote: false });
    return true;
  }
  if (QUOTE.test(line)) {
    Object.assign(open, { span: 0, quote: !/^[\s>]*$/.test(line) });
    return false;
  }
  const spoken = open.span === 0 && !open.quote;
  const fence = open.span === 0 ? FENCE.exec(line) : null;
  if (fence?.[1] !== undefined && !(fence[1].startsWith('`') && (fence[2] ?? '').includes('`'))) {
    Object.assign(open, { fence: fence[1], quote: false });
    return false;
  }
  readInline({ lines, index, from: 0, open });
  return spoken;
}

function closesFence(line: string, fence: string): boolean {
  const match = /^ {0,3}(`{3,}|~{3,})\s*$/.exec(line);
  return match?.[1] !== undefined && match[1][0] === fence[0] && match[1].length >= fence.length;
}

/** Column after the first match, or undefined. */
function after(line: string, pattern: RegExp): number | undefined {
  const match = pattern.exec(line);
  return match === null ? undefined : match.index + match[0].length;
}

/** Follows code spans, HTML comments and raw elements through the rest of a line; leaves in `open` what goes on below it. */
function readInline(options: { lines: string[]; index: number; from: number; open: Open }): void {
  const { lines, index, open } = options;
  const line = lines[index] ?? '';
  let at = options.from;
  while (at < line.length) {
    if (open.span > 0) {
      const end = findRun(line, at, open.span);
      if (end === undefined) return;
      at = end;
      open.span = 0;
      continue;
    }
    if (line[at] === '`') {
      const length = runLength(line, at);
      at += length;
      if (spanCloses(lines, index, at, length)) open.span = length;
      continue;
    }
    const raw = line[at] === '<' ? opensRaw(line.slice(at)) : undefined;
    if (raw === undefined) {
      at += line[at] === '\\' ? 2 : 1;
      continue;
    }
    const end = after(line.slice(at + raw.skip), raw.until);
    if (end === undefined) {
      open.until = raw.until;
      return;
    }
    at += raw.skip + end;
  }
}

function opensRaw(rest: string): { until: RegExp; skip: number } | undefined {
  if (rest.startsWith('<!--')) return { until: /-->/, skip: 4 };
  const element = RAW_BLOCK.exec(rest.slice(0, 12));
  if (element?.index !== 0) return undefined;
  return { until: new RegExp(`</${element[1] ?? ''}\\s*>`, 'i'), skip: element[0].length };
}

function runLength(line: string, at: number): number {
  let length = 0;
  while (line[at + length] === '`') length += 1;
  return length;
}

/** Column after the next run of exactly `length` backticks. */
function findRun(line: string, from: number, length: number): number | undefined {
  let at = line.indexOf('`', from);
  while (at >= 0) {
    const run = runLength(line, at);
    if (run === length) return at + run;
    at = line.indexOf('`', at + run);
  }
  return undefined;
}

/** Does a run of the same length follow in this paragraph? Without one the backticks are literal. */
function spanCloses(lines: string[], index: number, from: number, length: number): boolean {
  if (findRun(lines[index] ?? '', from, length) !== undefined) return true;
  for (let next = index + 1; next < lines.length; next += 1) {
    const line = lines[next] ?? '';
    if (line.trim() === '' || QUOTE.test(line) || FENCE.test(line)) return false;
    if (findRun(line, 0, length) !== undefined) return true;
  }
  return false;
}
