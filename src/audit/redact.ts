/**
 * Takes the installation's known secrets out of a value before it is written, in the encodings in which they may appear.
 * What cannot be known in advance (a secret that an agent made up or found) is the diff scanner's business, not this file's.
 */
export type Redact = (value: unknown) => unknown;

const MARK = '[redacted]';
/** Shorter strings would redact ordinary words. */
const MIN_SECRET = 8;
/** GitHub's tokens by their prefixes; their length varies. */
const GITHUB_TOKEN = /\b(?:gh[pousr]_[A-Za-z0-9_.-]{16,}|github_pat_[A-Za-z0-9_]{16,})/g;
/** Characters of the shortest text that this finds. */
const SHORTEST_TOKEN = 20;

function encodings(secret: string): string[] {
  const bytes = Buffer.from(secret, 'utf8');
  const base64 = bytes.toString('base64').replace(/=+$/, '');
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString('hex'),
    base64,
    base64.replaceAll('+', '-').replaceAll('/', '_'),
  ];
}

/** Makes a redactor for these secrets. Longest form first, so that no part of a longer form stays behind. */
export function createRedactor(secrets: readonly string[]): Redact {
  const forms = [...new Set(secrets.filter((s) => s.length >= MIN_SECRET).flatMap(encodings))].sort(
    (a, b) => b.length - a.length,
  );
  const shortest = Math.min(SHORTEST_TOKEN, ...forms.map((form) => form.length));
  const text = (value: string): string => {
    // Most of what is recorded is too short to hold any of them, and each line waits for this.
    if (value.length < shortest) return value;
    let out = value;
    for (const form of forms) if (form.length <= out.length && out.includes(form)) out = out.replaceAll(form, MARK);
    return out.replace(GITHUB_TOKEN, MARK);
  };
  const walk = (value: unknown, depth: number): unknown => {
    if (typeof value === 'string') return text(value);
    if (value === null || typeof value !== 'object') return value;
    if (depth > 32) return '[too deep]';
    if (Array.isArray(value)) return value.map((item) => walk(item, depth + 1));
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [text(key), walk(item, depth + 1)]));
  };
  return (value) => walk(value, 0);
}
