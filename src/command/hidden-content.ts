import { showHidden } from '../domain/hidden.ts';
import { isPullMarker } from '../domain/marker.ts';

/**
 * What a Markdown text carries that a person who reads it on GitHub does not see.
 *
 * Trust: the text is hostile. Nothing is removed: it is shown to the agent with its hiding taken away, and listed to people.
 * The list is a help for people, not a filter: what keeps a run harmless is the sandbox.
 */
export type HiddenContent =
  | 'html_comment'
  | 'link_reference'
  | 'html_style'
  | 'svg'
  | 'image_alt'
  | 'link_title'
  | 'base64'
  | 'zero_width'
  | 'bidi'
  | 'tag'
  | 'control'
  | 'lone_surrogate';

export interface HiddenFinding {
  kind: HiddenContent;
  count: number;
  /** The first one, with invisible characters escaped, cut. Outside text. */
  sample: string;
}

/** Each pattern is linear in the text; `holds` narrows what it finds. */
const PATTERNS: readonly { kind: HiddenContent; pattern: RegExp; holds?: RegExp }[] = [
  { kind: 'html_comment', pattern: /<!--[\s\S]*?(?:-->|$)/g },
  // `[//]: # (text)`: a definition that nothing refers to is rendered as nothing.
  { kind: 'link_reference', pattern: /^ {0,3}\[[^\]\n]{1,200}\]:[^\n]*$/gm },
  { kind: 'html_style', pattern: /<[a-z][^<>]*>/gi, holds: /\b(?:style|hidden|color|bgcolor|width|height|class)\b/i },
  { kind: 'svg', pattern: /<svg\b[\s\S]*?(?:<\/svg\s*>|$)/gi },
  { kind: 'image_alt', pattern: /!\[[^\]\n]{1,2000}\]|<img\b[^<>]*>/gi, holds: /^!|\balt\s*=/i },
  { kind: 'link_title', pattern: /\]\([^()\s]{1,500}\s+(?:"[^"\n]{1,1000}"|'[^'\n]{1,1000}')\s*\)/g },
  { kind: 'base64', pattern: /(?<![\w+/=-])[A-Za-z0-9+/]{40,}={0,2}(?![\w+/=-])/g },
];

/** Every kind of hidden content in the text, with how often it occurs. */
export function findHiddenContent(text: string): HiddenFinding[] {
  const findings: HiddenFinding[] = [];
  for (const { kind, pattern, holds } of PATTERNS) {
    const matches = Array.from(text.matchAll(pattern), (match) => match[0]).filter(
      (match) => (holds?.test(match) ?? true) && (kind !== 'base64' || decodesToText(match)) && !isPullMarker(match),
    );
    if (matches[0] !== undefined) findings.push({ kind, count: matches.length, sample: sample(matches[0]) });
  }
  const shown = showHidden(text);
  for (const [kind, count] of Object.entries(shown.found) as [HiddenContent, number][]) {
    const at = shown.text.search(/\\u\{[0-9a-f]+\}/);
    findings.push({ kind, count, sample: sample(shown.text.slice(Math.max(0, at - 20))) });
  }
  return findings;
}

/** Words in base 64 are a message; a hash or a random key is not. */
function decodesToText(match: string): boolean {
  const decoded = Buffer.from(match, 'base64').toString('utf8');
  const printable = Array.from(decoded).filter(
    (char) => /[\p{L}\p{N}\p{P}\p{Zs}\n\t]/u.test(char) && char !== '\ufffd',
  );
  return decoded.length >= 20 && printable.length / decoded.length > 0.95;
}

function sample(text: string): string {
  const shown = showHidden(text).text.replace(/\s+/g, ' ').trim();
  return shown.length > 160 ? `${shown.slice(0, 160).toWellFormed()}…` : shown;
}

/** The text as the agent gets it: characters that cannot be seen are escaped, HTML comments and empty definitions are named. */
export function unhide(text: string): string {
  return showHidden(text)
    .text.replace(/<!--([\s\S]*?)(?:-->|$)/g, (comment, inner: string) =>
      isPullMarker(comment) ? '' : `[hidden HTML comment: ${inner.trim()}]`,
    )
    .replace(/^ {0,3}(\[[^\]\n]{1,200}\]:[^\n]*)$/gm, (_, line: string) => `[hidden link definition: ${line}]`);
}
