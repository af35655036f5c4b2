import { EXAMPLE_SECRET, SECRET_PATTERNS } from './patterns.ts';

const MARK = '[redacted]';

/**
 * A text without credentials that are known by their shape, whoever they belong to: for everything that is shown to people. What
 * is published as code is not rewritten but refused (`createSecretScanner`).
 */
export function maskTokens(text: string): string {
  return SECRET_PATTERNS.reduce(
    (out, { pattern }) => out.replaceAll(pattern, (found) => (EXAMPLE_SECRET.test(found) ? found : MARK)),
    text,
  );
}
