import { EXAMPLE_SECRET, SECRET_PATTERNS } from './patterns.ts';

export const MARK = '[redacted]';

/** All shapes in one search: most texts hold none, and are read once. */
const ANY_SHAPE = new RegExp(SECRET_PATTERNS.map(({ pattern }) => pattern.source).join('|'), 'g');

/**
 * A text without credentials that are known by their shape, whoever they belong to: for everything that is shown to people. What
 * is published as code is not rewritten but refused (`createSecretScanner`).
 */
export function maskTokens(text: string): string {
  return text.replace(ANY_SHAPE, (found) => (EXAMPLE_SECRET.test(found) ? found : MARK));
}
