import { isNode, isSeq, LineCounter, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import type { ErrorCode } from '../domain/errors.ts';
import { CofferdamError } from '../domain/errors.ts';
import { nearest } from '../domain/nearest.ts';

/** One thing that is wrong in a file; line and column count from 1. */
export interface FileProblem {
  line: number;
  column: number;
  message: string;
}

/** What `CofferdamError.message` says for a file that is not valid: every problem, one a line, `file:line:column: message`. */
export function describeProblems(file: string, problems: readonly FileProblem[]): string {
  return problems.map((p) => `${file}:${p.line}:${p.column}: ${p.message}`).join('\n');
}

const MAX_FILE_BYTES = 262_144;

/** A file that is valid, and where in it things are. */
export interface YamlFile<T> {
  value: T;
  /** The place of what is there, or of its nearest ancestor that is. */
  at: (path: PropertyKey[]) => { line: number; column: number };
}

/** Parses YAML (1.2 core, no custom tags, unique keys, bounded aliases) with a strict schema: the value, or every problem. */
export function readYaml<T extends z.ZodType>(
  text: string,
  schema: T,
): YamlFile<z.output<T>> | { problems: FileProblem[] } {
  if (Buffer.byteLength(text) > MAX_FILE_BYTES) return first('the file is larger than 256 KiB');
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, version: '1.2' });
  if (document.errors.length > 0) {
    const problems = document.errors.map((e) => ({
      line: e.linePos?.[0].line ?? 1,
      column: e.linePos?.[0].col ?? 1,
      message: e.message.split('\n')[0] ?? '',
    }));
    return { problems };
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 10 }) ?? {};
  } catch {
    return first('too many aliases');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    return { problems: parsed.error.issues.flatMap((issue) => locate({ issue, schema, document, lines })) };
  }
  return { value: parsed.data, at: (path) => position(document, path, lines, false) };
}

function first(message: string): { problems: FileProblem[] } {
  return { problems: [{ line: 1, column: 1, message }] };
}

/** The same for a file that has to be valid. Throws `CofferdamError` with the given code; its message names every problem's place. */
export function parseYaml<T extends z.ZodType>(options: {
  text: string;
  file: string;
  schema: T;
  code: ErrorCode;
}): z.output<T> {
  const read = readYaml(options.text, options.schema);
  if ('problems' in read)
    throw new CofferdamError(options.code, 'config.parseYaml', describeProblems(options.file, read.problems));
  return read.value;
}

/** Lines (from 1) of the items of a list in a file that has been parsed before. */
export function itemLines(text: string, path: readonly string[]): number[] {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, version: '1.2' });
  const list = document.getIn(path, true);
  if (!isSeq(list)) return [];
  return list.items.map((item) => (isNode(item) && item.range ? lines.linePos(item.range[0]).line : 1));
}

function locate(found: {
  issue: z.core.$ZodIssue;
  schema: z.ZodType;
  document: Document.Parsed;
  lines: LineCounter;
}): FileProblem[] {
  const { issue, document, lines } = found;
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(found.schema, issue.path);
    return issue.keys.map((key) => {
      const meant = nearest(key, known, 3);
      const hint = meant === undefined ? `; known here: ${known.join(', ')}` : `; did you mean "${meant}"?`;
      return {
        ...position(document, [...issue.path, key], lines, true),
        message: `unknown key "${[...issue.path, key].join('.')}"${known.length === 0 ? '' : hint}`,
      };
    });
  }
  const where = issue.path.length === 0 ? 'the file' : `"${issue.path.join('.')}"`;
  const missing = issue.code === 'invalid_type' && document.getIn(issue.path as string[]) === undefined;
  const message = missing
    ? `${where} is missing`
    : `${where}: ${explain(issue, document.getIn(issue.path as string[]))}`;
  return [{ ...position(document, issue.path, lines, false), message }];
}

/** The keys that a schema knows at this place; none where it is no object. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  const def = schema._zod.def as unknown as Record<string, unknown>;
  // What is wrapped: defaults, optional values, transformed ones.
  const inner = (def['innerType'] ?? def['in']) as z.core.$ZodType | undefined;
  if (inner !== undefined) return keysAt(inner, path);
  if (def['type'] === 'union') return (def['options'] as z.core.$ZodType[]).flatMap((one) => keysAt(one, path));
  const [key, ...rest] = path;
  const shape = def['shape'] as Record<string, z.core.$ZodType> | undefined;
  if (key === undefined) return Object.keys(shape ?? {});
  const below = shape?.[String(key)] ?? ((def['element'] ?? def['valueType']) as z.core.$ZodType | undefined);
  return below === undefined ? [] : keysAt(below, rest);
}

/** A union's own message says nothing; the branch that came closest says what to change. `written`: what is there. */
function explain(issue: z.core.$ZodIssue, written: unknown): string {
  if (issue.code === 'invalid_value' && typeof written === 'string') return oneOf(issue, written);
  if (issue.code !== 'invalid_union') return issue.message;
  const branches = issue.errors.filter((branch) => branch.length > 0);
  const deepest = branches.sort((a, b) => depth(b) - depth(a))[0];
  return (
    deepest?.map((i) => (i.path.length > 0 ? `${i.path.join('.')}: ${i.message}` : explain(i, written))).join('; ') ??
    issue.message
  );
}

/** A word that is not one of a list: the one that was meant, or all of them. */
function oneOf(issue: z.core.$ZodIssueInvalidValue, written: string): string {
  const words = issue.values.map(String);
  const meant = nearest(written, words, 2);
  return meant === undefined ? issue.message : `"${written}" is not known; did you mean "${meant}"?`;
}

function depth(issues: z.core.$ZodIssue[]): number {
  return Math.max(...issues.map((i) => i.path.length + (i.code === 'unrecognized_keys' ? 1 : 0)));
}

/** The node's place, or that of its nearest ancestor that is in the file. */
function position(
  document: Document.Parsed,
  path: PropertyKey[],
  lines: LineCounter,
  key: boolean,
): { line: number; column: number } {
  for (let length = path.length; length >= 0; length -= 1) {
    const part = path.slice(0, length) as (string | number)[];
    const node = length === 0 ? document.contents : document.getIn(part, true);
    if (isNode(node) && node.range) {
      const offset = key && length === path.length ? (keyOffset(document, part) ?? node.range[0]) : node.range[0];
      const { line, col } = lines.linePos(offset);
      return { line, column: col };
    }
  }
  return { line: 1, column: 1 };
}

function keyOffset(document: Document.Parsed, path: (string | number)[]): number | undefined {
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  const items = (parent as { items?: { key?: { value?: unknown; range?: number[] } }[] } | undefined)?.items ?? [];
  return items.find((item) => item.key?.value === path.at(-1))?.key?.range?.[0];
}
