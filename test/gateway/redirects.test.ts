import { expect, test } from 'vitest';
import { createRedirects } from '../../src/gateway/redirects.ts';

const HOST = 'codeload.github.com';

function offered(from: string, location: string | undefined): boolean {
  const redirects = createRedirects();
  redirects.offer(from, location);
  return redirects.has(HOST, '/o/n/zip/x?token=1');
}

test.each([
  ['github.com', `https://${HOST}/o/n/zip/x?token=1`, true],
  ['api.github.com', `https://${HOST}/o/n/zip/%78?token=1`, true],
  ['evil.test', `https://${HOST}/o/n/zip/x?token=1`, false],
  ['evilgithub.com', `https://${HOST}/o/n/zip/x?token=1`, false],
  ['github.com', `https://${HOST}:8443/o/n/zip/x?token=1`, false],
  ['github.com', `http://${HOST}/o/n/zip/x?token=1`, false],
  ['github.com', `https://user@${HOST}/o/n/zip/x?token=1`, false],
  ['github.com', '/o/n/zip/x?token=1', false],
  ['github.com', undefined, false],
])('an answer of %s that names %s grants it: %s', (from, location, expected) => {
  expect(offered(from, location)).toBe(expected);
});

test('no answer adds a host', () => {
  const redirects = createRedirects();
  redirects.offer('github.com', 'https://evil.test/x');
  expect(redirects.has('evil.test', '/x')).toBe(false);
});

test('what was granted is good for a minute, and once', () => {
  let now = 0;
  const redirects = createRedirects(() => now);
  redirects.offer('github.com', `https://${HOST}/a`);
  now = 59_000;
  expect(redirects.has(HOST, '/a')).toBe(true);
  now = 61_000;
  expect(redirects.has(HOST, '/a')).toBe(false);
  redirects.offer('github.com', `https://${HOST}/b`);
  redirects.use(HOST, '/b');
  expect(redirects.has(HOST, '/b')).toBe(false);
});
