import { EXAMPLE_SECRET, SECRET_PATTERNS } from './patterns.ts';

export const MARK = '[redacted]';

/** All shapes in one search: most texts hold none, and are read once. */
const ANY_SHAPE = new RegExp(SECRET_PATTERNS.map(({ pattern }) => pattern.source).join('|'));

/**
 * A text without credentials that are known by their shape, whoever they belong to: for everything that is shown to people. What
 * is published as code is not rewritten but refused (`createSecretScanner`).
 */
export function maskTokens(text: string): string {
  if (!ANY_SHAPE.test(text)) return text;
  // One by one: what one shape takes for an example may hold a secret of another.
  return SECRET_PATTERNS.reduce(
    (out, { pattern }) => out.replaceAll(pattern, (found) => (EXAMPLE_SECRET.test(found) ? found : MARK)),
    text,
  );
}
