/** One more entry in `egress.allow` of a repository's file, with everything else as its people wrote it. */
import { isDeepStrictEqual } from 'node:util';
import { isMap, isScalar, isSeq, parseDocument, stringify, type Document, type YAMLMap, type YAMLSeq } from 'yaml';
import type { EgressEntry } from '../domain/policy.ts';

/** What became of it; `entry`: as it stands in the file then. `cannot`: the file is written in a way that is not changed by a program. */
export type AddedWay = { text: string; entry: EgressEntry } | { there: true } | { cannot: string };

/**
 * Adds the entry, or widens the methods of the one for the same host. Comments, order and spelling of the rest stay: the new text
 * is put in where the list ends, and read back. `null`: there is no file yet.
 */
export function addWay(text: string | null, entry: EgressEntry): AddedWay {
  const before = text ?? '';
  const document = parseDocument(before, { version: '1.2' });
  if (document.errors.length > 0) return { cannot: 'the file is not valid YAML' };
  const wanted = wish(document, entry);
  if (wanted === undefined) return { cannot: '`egress.allow` is not a plain list' };
  if (wanted === 'there') return { there: true };
  for (const changed of [insert(before, document, wanted), rewrite(before, wanted)]) {
    if (changed !== undefined && isDeepStrictEqual(plain(parseDocument(changed, { version: '1.2' })), wanted.after)) {
      return { text: changed, entry: wanted.entry };
    }
  }
  return { cannot: '`egress.allow` is written in a way that I do not change' };
}

interface Wish {
  entry: EgressEntry;
  /** Place in the list of the entry for the same host; -1: there is none. */
  index: number;
  /** The whole file as data, as it must be then. */
  after: unknown;
}

function wish(document: Document.Parsed, entry: EgressEntry): Wish | 'there' | undefined {
  const data = plain(document);
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return undefined;
  const egress: unknown = 'egress' in data ? data.egress : {};
  if (typeof egress !== 'object' || egress === null || Array.isArray(egress)) return undefined;
  const allow: unknown = 'allow' in egress ? egress.allow : [];
  if (!Array.isArray(allow)) return undefined;
  const list = allow as unknown[];
  const index = list.findIndex((one) => nameOf(one) === nameOf(entry));
  const merged = index < 0 ? entry : widened(list[index], entry);
  if (index >= 0 && isDeepStrictEqual(merged, list[index])) return 'there';
  const next = index < 0 ? [...list, merged] : list.with(index, merged);
  return { entry: merged, index, after: { ...data, egress: { ...egress, allow: next } } };
}

function plain(document: Document.Parsed): unknown {
  if (document.errors.length > 0) return undefined;
  try {
    return (document.toJS({ maxAliasCount: 10 }) as unknown) ?? {};
  } catch {
    return undefined;
  }
}

function nameOf(entry: unknown): unknown {
  return typeof entry === 'object' && entry !== null && 'host' in entry ? entry.host : entry;
}

/** The methods of both; everything else as it is. */
function widened(known: unknown, entry: EgressEntry): EgressEntry {
  if (typeof entry === 'string') return entry;
  const given = known as Exclude<EgressEntry, string>;
  if (given.methods === undefined || entry.methods === undefined) return given;
  return { ...given, methods: [...new Set([...given.methods, ...entry.methods])] };
}

/** Text put in behind the last entry, or behind everything. Undefined: there is no such place. */
function insert(text: string, document: Document.Parsed, { entry, index }: Wish): string | undefined {
  if (index >= 0) return undefined;
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const root = document.contents;
  const egress = isMap(root) ? root.get('egress', true) : undefined;
  const list = isMap(egress) ? egress.get('allow', true) : undefined;
  if (isSeq(list)) return list.flow === true ? inFlow(text, list, entry) : inBlock(text, list, { entry, eol });
  // A root in flow style, or an end mark, takes nothing behind it.
  const open = root === null || (isMap(root) && root.flow !== true && !root.has('egress'));
  if (!open || /^(?:\.\.\.|---)/m.test(text)) return undefined;
  const gap = text === '' || text.endsWith('\n') ? '' : eol;
  return `${text}${gap}egress:${eol}  allow:${eol}    - ${entryText(entry)}${eol}`;
}

function inFlow(text: string, list: YAMLSeq, entry: EgressEntry): string | undefined {
  const last = list.items.at(-1);
  const [start, end] = list.range ?? [];
  if (start === undefined || end === undefined) return undefined;
  const after = endOf(last);
  const at = after ?? start + 1;
  // A list over several lines may end with a comma and a comment.
  if (/^\s*,/.test(text.slice(at, end))) return undefined;
  return `${text.slice(0, at)}${after === undefined ? '' : ', '}${entryText(entry)}${text.slice(at)}`;
}

function inBlock(text: string, list: YAMLSeq, { entry, eol }: { entry: EgressEntry; eol: string }): string | undefined {
  const after = endOf(list.items.at(-1));
  const start = list.range?.[0];
  if (after === undefined || start === undefined) return undefined;
  const indent = /[^\n]*$/.exec(text.slice(0, start))?.[0] ?? '';
  if (!/^ *$/.test(indent)) return undefined;
  const end = text.indexOf('\n', after);
  const line = `${indent}- ${entryText(entry)}${eol}`;
  return end < 0 ? `${text}${eol}${line}` : `${text.slice(0, end + 1)}${line}${text.slice(end + 1)}`;
}

/** Where the value of a node ends. */
function endOf(node: unknown): number | undefined {
  const ranged = isScalar(node) || isMap(node) || isSeq(node) ? node : undefined;
  return ranged?.range?.[1];
}

/** The library's own writing: comments stay, spacing may change. */
function rewrite(text: string, { entry, index }: Wish): string | undefined {
  const document = parseDocument(text, { version: '1.2' });
  const node = document.createNode(entry, { flow: true });
  if (document.contents === null) document.contents = document.createNode({}) as YAMLMap as never;
  try {
    const list = document.getIn(['egress', 'allow']);
    if (!isSeq(list)) document.setIn(['egress', 'allow'], document.createNode([entry]));
    else if (index < 0) list.add(node);
    else list.set(index, node);
    return document.toString({ lineWidth: 0 });
  } catch {
    // Aliases and the like are not reached through.
    return undefined;
  }
}

function entryText(entry: EgressEntry): string {
  if (typeof entry === 'string') return entry;
  const parts = Object.entries(entry).map(([key, value]) => `${key}: ${valueText(value)}`);
  return `{ ${parts.join(', ')} }`;
}

function valueText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((one) => valueText(one)).join(', ')}]`;
  if (typeof value === 'number') return String(value);
  return stringify(value, { defaultStringType: 'QUOTE_DOUBLE', lineWidth: 0 })
    .trim()
    .replace(/^"([a-zA-Z][\w.-]*)"$/, '$1');
}
