/** What the value of a setting, a header, a flag or a part of a query is a secret by. */
const SECRET_WORDS = new Set([
  ...['token', 'secret', 'password', 'passwd', 'passphrase', 'pass', 'apikey', 'auth', 'authorization', 'authtoken'],
  ...['credential', 'credentials', 'signature', 'sig', 'jwt', 'bearer', 'cookie'],
]);
/** A key is secret when one of these stands before it: `--key FILE` and `sortKey` are none. */
const SECRET_KEYS = new Set([
  'api',
  'access',
  'private',
  'secret',
  'signing',
  'account',
  'encryption',
  'master',
  'auth',
]);

/** Whether a name says that its value is a secret: `NPM_TOKEN`, `--api-key`, `clientSecret`; `apiKeyEnv` and `max_tokens` do not. */
export function isSecretName(name: string): boolean {
  const words = name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
  const last = words.at(-1) ?? '';
  return SECRET_WORDS.has(last) || (last === 'key' && SECRET_KEYS.has(words.at(-2) ?? ''));
}
