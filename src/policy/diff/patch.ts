/**
 * A unified diff as git writes it, read back.
 *
 * Trust: names and lines are the agent's. Where a hunk ends is told by the counts in its header, never by what a line looks
 * like: content may look like a header. What is cut off or does not fit ends the reading.
 */
export interface PatchLine {
  sign: '+' | '-' | ' ';
  text: string;
  /** Line in the new file: its own, or for a removed line the one that now stands in its place. From 1. */
  line: number;
}

export interface FilePatch {
  path: string;
  /** The file is not there any more. */
  deleted: boolean;
  /** Lines of the new file that are in the diff; undefined for a binary or empty one. */
  lines: PatchLine[];
}

const HUNK = /^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/;
const MAX_LINES = 200_000;

/** Files in their order. Only the first 200,000 lines are read. */
export function readPatch(patch: string): FilePatch[] {
  const lines = patch.split('\n', MAX_LINES);
  const files: FilePatch[] = [];
  let file: FilePatch | undefined;
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? '';
    if (line.startsWith('diff --git ')) {
      file = { path: '', deleted: false, lines: [] };
      files.push(file);
      continue;
    }
    if (file === undefined) continue;
    if (line.startsWith('--- ')) file.path = pathOf(line.slice(4), 'a/') ?? file.path;
    else if (line.startsWith('+++ ')) {
      file.deleted = line === '+++ /dev/null';
      file.path = pathOf(line.slice(4), 'b/') ?? file.path;
    }
    const hunk = HUNK.exec(line);
    if (hunk !== null) at = readHunk(lines, at, hunk, file);
  }
  return files.filter(({ path }) => path !== '');
}

/** Reads one hunk; gives the index of its last line. */
function readHunk(lines: readonly string[], from: number, hunk: RegExpExecArray, file: FilePatch): number {
  let before = Number(hunk[1] ?? 1);
  let after = Number(hunk[3] ?? 1);
  let line = Number(hunk[2]);
  let at = from;
  while ((before > 0 || after > 0) && at + 1 < lines.length) {
    const text = lines[at + 1] ?? '';
    const sign = text[0];
    if (sign !== '+' && sign !== '-' && sign !== ' ' && sign !== '\\') break;
    at += 1;
    if (sign === '\\') continue;
    // Where nothing of the new file is shown its position is the line before.
    file.lines.push({ sign, text: text.slice(1), line: Math.max(1, line) });
    if (sign !== '+') before -= 1;
    if (sign !== '-') {
      after -= 1;
      line += 1;
    }
  }
  // What was removed at the end of the file stood behind its last line.
  const last = Math.max(1, line - 1);
  for (let index = file.lines.length - 1; (file.lines[index]?.line ?? 0) > last; index -= 1) {
    const removed = file.lines[index];
    if (removed !== undefined) removed.line = last;
  }
  return at;
}

function pathOf(field: string, prefix: string): string | undefined {
  const name = field.startsWith('"') ? unquoted(field) : field.replace(/\t$/, '');
  return name.startsWith(prefix) ? name.slice(prefix.length) : undefined;
}

const ESCAPES: Record<string, string> = { n: '\n', t: '\t', r: '\r', a: '\u0007', b: '\b', f: '\f', v: '\v' };

/** Git quotes unusual names as C does, byte by byte. */
function unquoted(field: string): string {
  const end = field.lastIndexOf('"');
  const bytes: Buffer[] = [];
  for (const [, octal, escape, plain] of field.slice(1, end).matchAll(/\\([0-7]{3})|\\(.)|([^\\]+)/gs)) {
    if (octal !== undefined) bytes.push(Buffer.from([Number.parseInt(octal, 8) & 0xff]));
    else bytes.push(Buffer.from(escape === undefined ? (plain ?? '') : (ESCAPES[escape] ?? escape)));
  }
  return Buffer.concat(bytes).toString('utf8');
}
