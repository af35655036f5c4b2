/**
 * The one canonical form of a request path. What is judged is what is sent on.
 *
 * Trust: the input is hostile. Two spellings that a server may read as one path become one (escaped unreserved characters);
 * spellings that servers read differently (dot segments, escaped control characters, backslashes, double escapes) are refused.
 */
export type CanonicalPath = { ok: true; path: string; query: string } | { ok: false };

const MAX_TARGET = 8192;

/** Origin-form target → path with upper-case escapes and decoded unreserved characters, and the query with its `?` (or ''). */
export function canonicalPath(target: string): CanonicalPath {
  if (target.length > MAX_TARGET || !/^\/[\x21\x22\x24-\x5b\x5d-\x7e]*$/.test(target)) return { ok: false };
  const mark = target.indexOf('?');
  const rawPath = mark === -1 ? target : target.slice(0, mark);
  const query = mark === -1 ? '' : target.slice(mark);
  if (/%(?![0-9A-Fa-f]{2})/.test(rawPath)) return { ok: false };
  const path = rawPath.replace(/%[0-9A-Fa-f]{2}/g, (escape) => {
    const char = String.fromCharCode(Number.parseInt(escape.slice(1), 16));
    return /[A-Za-z0-9._~-]/.test(char) ? char : escape.toUpperCase();
  });
  // Looked for in what is sent on: two escapes that are decoded above may make a third one.
  if (/%25[0-9A-Fa-f]{2}/.test(path) || /%(?:[01][0-9A-F]|7F|5C)/.test(path) || !isUtf8(path)) return { ok: false };
  // `%2F` stays as it is (scoped packages), but counts as a separator when looking for dot segments. Servers of the Java world
  // take what follows a semicolon off a segment first, so that `..;x` is one, too.
  if (path.split(/\/|%2F/).some((segment) => /^\.\.?(?:;|%3B|$)/.test(segment))) return { ok: false };
  return { ok: true, path, query };
}

/** Longer forms of a character than UTF-8 has for it (`%C0%AE` for a dot) are what lenient decoders still take. */
function isUtf8(escaped: string): boolean {
  try {
    decodeURIComponent(escaped);
    return true;
  } catch {
    return false;
  }
}

/**
 * Pattern with `*` (one or more characters of one segment) and `**` (anything, slashes too). An escaped slash ends a segment for
 * `*`, since some servers read it as one, and is itself only where the pattern says `%2F`. Linear in path × pattern.
 */
export function matchesPath(pattern: string, path: string): boolean {
  const tokens = tokenise(pattern);
  let states = closure(new Set([0]), tokens);
  for (const char of units(path)) {
    const next = new Set<number>();
    for (const state of states) {
      const token = tokens[state];
      if (token === undefined) continue;
      if (token.kind === 'deep') next.add(state);
      else if (token.kind === 'star' && char !== '/' && char !== SLASH) next.add(state).add(state + 1);
      else if (token.kind === 'char' && token.char === char) next.add(state + 1);
    }
    states = closure(next, tokens);
    if (states.size === 0) return false;
  }
  return states.has(tokens.length);
}

const SLASH = '%2F';

type Token = { kind: 'deep' } | { kind: 'star' } | { kind: 'char'; char: string };

function tokenise(pattern: string): Token[] {
  return units(pattern).map((part): Token => {
    if (part === '**') return { kind: 'deep' };
    return part === '*' ? { kind: 'star' } : { kind: 'char', char: part };
  });
}

/** What is matched in one piece. No path has a star in it that is more than itself. */
function units(text: string): string[] {
  return text.match(/%2F|\*\*|[^]/g) ?? [];
}

/** `**` may match nothing. */
function closure(states: Set<number>, tokens: Token[]): Set<number> {
  for (const state of states) if (tokens[state]?.kind === 'deep') states.add(state + 1);
  return states;
}
