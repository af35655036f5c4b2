/**
 * A repository's pull request template, as it is used for pull requests that nobody fills in by hand: its headings stay in their
 * order, what Cofferdam has to say stands under those that ask for it, its boxes stay unticked.
 *
 * Trust: people with write access wrote it, for people; it still passes as outside text, because it is sent in the App's name.
 */
import { inline, prose } from './prose.ts';
import { cut, words } from './outside.ts';

/** What a section of a template may ask for. */
const ASKS = {
  issue: /\b(?:issues?|tickets?|fixes|closes|resolves)\b/i,
  testing: /\b(?:test(?:s|ed|ing)?|verif\w+|qa)\b/i,
  what: /\b(?:descriptions?|describe|summary|what|why|motivation|changes?|overview|context|purpose)\b/i,
} as const;
export type Asks = keyof typeof ASKS;

export interface FilledSection {
  text: string;
  /** Which of our texts stands in it. */
  holds: Asks | undefined;
}

const MAX_CHARS = 8_000;
const MAX_LINES = 200;
const MAX_HEADING = 200;

interface Part {
  /** Absent: what stands before the first heading. */
  heading?: string;
  lines: string[];
}

/**
 * The template's sections as Markdown that is ours, each with its heading, and which of our texts it holds. A text is put under the
 * first heading that asks for it; of what the template says there only its boxes are kept. Empty: the template says nothing.
 */
export function fillTemplate(template: string, ours: Readonly<Record<Asks, string>>): FilledSection[] {
  const placed = new Set<Asks>();
  const sections = partsOf(template).map(({ heading, lines }) => {
    const asked = heading === undefined ? undefined : asks(heading, placed, ours);
    if (asked !== undefined) placed.add(asked);
    const own = asked === undefined ? bodyOf(lines) : bodyOf(lines.filter((line) => TASK.test(line)));
    const title = heading === undefined ? '' : `## ${words(cut(heading, MAX_HEADING))}`;
    const parts = [title, asked === undefined ? '' : ours[asked], own];
    return { text: parts.filter((part) => part !== '').join('\n\n'), holds: asked };
  });
  return sections.filter(({ text }) => text !== '');
}

function asks(heading: string, placed: ReadonlySet<Asks>, ours: Readonly<Record<Asks, string>>): Asks | undefined {
  const kinds = Object.keys(ASKS) as Asks[];
  // The first that the heading names decides: "Tests of the changes" is about tests.
  const asked = kinds.find((kind) => ASKS[kind].test(heading));
  return asked === undefined || placed.has(asked) || ours[asked] === '' ? undefined : asked;
}

const FENCE = /^\s{0,3}(?:```|~~~)/;
const TASK = /^\s{0,12}[-*+]\s+\[[ xX]\]\s+\S/;

function partsOf(template: string): Part[] {
  // A comment that does not end hides all that follows it.
  const text = cut(template.replace(/\r\n?/g, '\n').replace(/<!--[\s\S]*?(?:-->|$)/g, ''), MAX_CHARS);
  const parts: Part[] = [{ lines: [] }];
  let fenced = false;
  for (const line of text.split('\n').slice(0, MAX_LINES)) {
    if (FENCE.test(line)) fenced = !fenced;
    const heading = fenced ? undefined : /^\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$/.exec(line)?.[1];
    if (heading === undefined) parts.at(-1)?.lines.push(fenced ? line : linksAsText(line));
    else parts.push({ heading: heading.replaceAll('**', ''), lines: [] });
  }
  return parts;
}

/** Links do not pass; a label and an address beside each other are easier to read than what is left of their syntax. */
function linksAsText(line: string): string {
  return line.replace(/!?\[([^[\]]{1,200})\]\((\S{1,500}?)\)/g, '$1 ($2)');
}

/** Boxes are a person's word, so none is ticked. */
function bodyOf(lines: readonly string[]): string {
  const out: string[] = [];
  let plain: string[] = [];
  let fenced = false;
  const flush = (): void => {
    const text = prose(plain.join('\n'), { maxChars: MAX_CHARS, maxLines: MAX_LINES });
    if (text !== '') out.push(text);
    plain = [];
  };
  for (const line of lines) {
    if (FENCE.test(line)) fenced = !fenced;
    const task = fenced ? undefined : /^\s{0,12}[-*+]\s+\[[ xX]\]\s+(\S.*)$/.exec(line)?.[1];
    if (task === undefined) {
      plain.push(line);
      continue;
    }
    flush();
    out.push(`- [ ] ${inline(task)}`);
  }
  flush();
  return out.join('\n').trim();
}
