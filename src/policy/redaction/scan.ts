import { knownForms } from './known.ts';
import { EXAMPLE_SECRET, SECRET_PATTERNS } from './patterns.ts';

/** A secret that was found. `value` is never shown: it only tells whether the same one was there before. */
export interface SecretFinding {
  kind: string;
  value: string;
  /** First character of it in the text that was scanned. */
  index: number;
}

/** Looks for secrets in a text that holds one character for each byte (latin1). */
export type SecretScanner = (text: string) => SecretFinding[];

export const KNOWN_SECRET = 'secret of this installation';

const MAX_FINDINGS = 100;
const MAX_DEPTH = 2;

/**
 * Makes a scanner for credentials that have a known shape and for the given secrets: as they are, reversed, escaped, URL-encoded,
 * in hexadecimal and base64 (also nested once, also wrapped in lines, also as UTF-16).
 */
export function createSecretScanner(secrets: readonly string[]): SecretScanner {
  const forms = knownForms(secrets);
  const direct = (text: string): SecretFinding[] => {
    const found: SecretFinding[] = [];
    for (const [form, number] of forms.exact) push(found, text.indexOf(form), `known ${number}`);
    if (forms.folded.size > 0) {
      const lower = text.toLowerCase();
      for (const [form, number] of forms.folded) push(found, lower.indexOf(form), `known ${number}`);
    }
    for (const { kind, pattern } of SECRET_PATTERNS) {
      for (const match of text.matchAll(pattern)) {
        if (found.length >= MAX_FINDINGS) return found;
        if (!EXAMPLE_SECRET.test(match[0])) found.push({ kind, value: match[0], index: match.index });
      }
    }
    return found;
  };
  const scan = (text: string, depth: number): SecretFinding[] => {
    const found = direct(text);
    if (depth >= MAX_DEPTH) return found;
    for (const { text: inner, index } of decodings(text)) {
      if (found.length >= MAX_FINDINGS) break;
      for (const finding of scan(inner, depth + 1)) found.push({ ...finding, index });
    }
    return found;
  };
  return (text) => {
    const seen = new Set<string>();
    return scan(text, 0).filter(({ value }) => !seen.has(value) && seen.add(value));
  };
}

function push(found: SecretFinding[], index: number, value: string): void {
  if (index >= 0) found.push({ kind: KNOWN_SECRET, value, index });
}

// Runs that are long enough to hold a credential. Every expression here is linear: a run is consumed or bounded.
const BASE64 = /[A-Za-z0-9+/_-]{24,}={0,2}/g;
const HEX = /(?:[0-9a-fA-F]{2}){16,}/g;
const BASE64_LINE = /^[A-Za-z0-9+/]{4,}={0,2}$/;
/** A line shorter than this ends a wrapped block. */
const WRAPPED_LINE = 40;
// Noise is not looked into: a credential has this many printable characters in a row.
const PRINTABLE = /[\u0021-\u007e]{16}/;

function* decodings(text: string): Generator<{ text: string; index: number }> {
  if (text.includes('\0')) yield { text: text.replaceAll('\0', ''), index: 0 };
  if (text.includes('%')) yield { text: percentDecoded(text), index: 0 };
  yield* runs(text, BASE64, 'base64');
  yield* runs(text, HEX, 'hex');
  for (const block of wrappedBlocks(text)) {
    const decoded = Buffer.from(block.text, 'base64').toString('latin1');
    if (PRINTABLE.test(decoded)) yield { text: decoded, index: block.index };
  }
}

function* runs(text: string, shape: RegExp, encoding: 'base64' | 'hex'): Generator<{ text: string; index: number }> {
  for (const match of text.matchAll(shape)) {
    const decoded = Buffer.from(match[0], encoding).toString('latin1');
    if (PRINTABLE.test(decoded)) yield { text: decoded, index: match.index };
  }
}

/** Base64 that was wrapped into lines, also as `\n` in a string of a program. */
function* wrappedBlocks(text: string): Generator<{ text: string; index: number }> {
  let [block, start, at] = [[] as string[], 0, 0];
  for (const piece of text.split(/(\r?\n|\\n)/)) {
    const line = piece.trim();
    const part = BASE64_LINE.test(line);
    if (part && block.length === 0) start = at;
    if (part) block.push(line);
    const goesOn = (part && line.length >= WRAPPED_LINE) || /^(?:|\\n)$/.test(line);
    if (!goesOn) {
      if (block.length > 1) yield { text: block.join(''), index: start };
      block = [];
    }
    at += piece.length;
  }
  if (block.length > 1) yield { text: block.join(''), index: start };
}

function percentDecoded(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** How a finding is reported: its kind and, of a shape that everybody knows, the public prefix. */
export function maskSecret(finding: SecretFinding): string {
  if (finding.kind === KNOWN_SECRET || finding.kind === 'private key') return finding.kind;
  return `${finding.kind} ${finding.value.slice(0, 4)}…`;
}
