import type { FrozenText } from '../../domain/run.ts';
import type { ThreadText } from './ports.ts';

/** Comments that one request may point at. */
const MAX_POINTED = 5;
/** A shorter quote could be of anything. */
const MIN_QUOTE = 12;

/**
 * The comments that a request points at, by a link (`#issuecomment-7`) or by quoting them as GitHub does (lines behind `>`): whoever
 * asks vouches for these, whoever wrote them. Of several with the same words, the newest. `comments`: oldest first.
 */
export function pointedAt(request: readonly FrozenText[], comments: readonly ThreadText[]): ReadonlySet<number> {
  const found = new Set<number>();
  const candidates = comments.filter((one) => !one.ours).map(({ id, body }) => ({ id, words: plain(body) }));
  for (const { body } of request) {
    for (const [, id] of body.matchAll(/#issuecomment-(\d{1,15})(?!\d)/g)) {
      if (candidates.some((one) => one.id === Number(id))) found.add(Number(id));
    }
    for (const quote of quotes(body)) {
      const quoted = candidates.findLast(({ words }) => words.includes(quote));
      if (quoted !== undefined) found.add(quoted.id);
    }
  }
  return new Set([...found].slice(0, MAX_POINTED));
}

/** Neighbouring lines behind one `>`, as one text without line ends. */
function quotes(body: string): string[] {
  const blocks: string[][] = [[]];
  for (const line of body.split(/\r?\n/)) {
    const quoted = /^ {0,3}>(.*)$/.exec(line)?.[1];
    if (quoted === undefined) blocks.push([]);
    else blocks.at(-1)?.push(quoted);
  }
  return blocks.map((lines) => plain(lines.join('\n'))).filter((quote) => quote.length >= MIN_QUOTE);
}

function plain(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
