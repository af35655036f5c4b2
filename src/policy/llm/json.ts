/*
 * Faces bytes that the agent wrote. Two parsers that disagree about one document are a way past a filter: whatever is
 * read here is what gets forwarded, serialised anew, and a document that can be read in two ways (a key twice, odd
 * encodings) is refused instead of interpreted.
 */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

export const MAX_DEPTH = 64;

export type ParsedJson = { ok: true; value: JsonObject } | { ok: false; problem: string };

/** Bytes → object. Refuses what is not UTF-8, not JSON, not an object, has a key twice or nests deeper than 64. */
export function parseJsonObject(bytes: Uint8Array): ParsedJson {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { ok: false, problem: 'the body is not UTF-8' };
  }
  let value: unknown;
  const problem = ambiguity(text);
  if (problem !== undefined) return { ok: false, problem };
  try {
    value = JSON.parse(text);
  } catch {
    return { ok: false, problem: 'the body is not valid JSON' };
  }
  if (!isJsonObject(value as Json)) return { ok: false, problem: 'the body is not a JSON object' };
  return { ok: true, value: value as JsonObject };
}

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/**
 * One pass over the text for what JSON.parse does not tell: keys that come twice (compared after decoding, so that
 * "a" and "\\u0061" are the same) and depth. It runs first, so that JSON.parse never sees deep nesting; on text that is
 * not JSON its answer does not matter, since JSON.parse refuses that.
 */
function ambiguity(text: string): string | undefined {
  // One entry for each open bracket: the keys seen in an object, or null in a list.
  const open: (Set<string> | null)[] = [];
  let keyNext = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case OPEN_OBJECT:
      case OPEN_LIST: {
        const isObject = text.charCodeAt(i) === OPEN_OBJECT;
        open.push(isObject ? new Set() : null);
        keyNext = isObject;
        if (open.length > MAX_DEPTH) return `the body nests deeper than ${MAX_DEPTH}`;
        break;
      }
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
        keyNext = false;
        break;
      case COMMA:
        keyNext = open.at(-1) instanceof Set;
        break;
      case QUOTE: {
        const end = stringEnd(text, i);
        const keys = open.at(-1);
        if (keyNext && keys instanceof Set) {
          const key = decodeKey(text.slice(i, end + 1));
          if (keys.has(key)) return `the key ${JSON.stringify(key.slice(0, 64))} comes twice`;
          keys.add(key);
          keyNext = false;
        }
        i = end;
        break;
      }
      default:
    }
  }
  return undefined;
}

/** Index of the quote that ends the string which starts at `start`; the text's end when there is none. */
function stringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return text.length;
}

function decodeKey(literal: string): string {
  try {
    return String(JSON.parse(literal));
  } catch {
    return literal;
  }
}
