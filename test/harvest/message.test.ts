import { describe, expect, test } from 'vitest';
import { composeMessage } from '../../src/harvest/message.ts';

const title = (text: string) => composeMessage({ title: text, body: '', trailers: [] }).trimEnd();
const body = (text: string) => composeMessage({ title: 't', body: text, trailers: [] }).slice(3).trimEnd();

describe('what a stranger writes has no effect', () => {
  test.each([
    ['fix: a [skip ci] b', 'fix: a (skip ci) b'],
    ['x [CI SKIP]', 'x (CI SKIP)'],
    ['x [no ci] [skip actions] [actions skip]', 'x (no ci) (skip actions) (actions skip)'],
    ['x [skip travis ci] [travis-ci skip]', 'x (skip travis ci) (travis-ci skip)'],
    ['x [CF-Pages-Skip] [vercel skip] [skip_ci]', 'x (CF-Pages-Skip) (vercel skip) (skip_ci)'],
    ['read items[skip] and [a, skip]', 'read items[skip] and [a, skip]'],
    ['x ***NO_CI***', 'x (no ci)'],
    ['fixes #12', 'fixes no. 12'],
    ['Closes: acme/demo#3', 'Closes: acme/demo no. 3'],
    ['resolved https://github.com/a/b/issues/4', 'resolved https://github.com/a/b/issues no. 4'],
    ['fix GH-7', 'fix GH no. 7'],
    ['see #12', 'see #12'],
    ['thanks @octocat and @acme/team', 'thanks @ octocat and @ acme/team'],
    ['mail a@b.test, use @types/node', 'mail a@b.test, use @ types/node'],
    ['two\nlines\u200b and\u202e more\u0007', 'two lines and more'],
    ['/merge this', 'merge this'],
    ['# 1', '1'],
    ['> /approve', 'approve'],
    ['', 'Work of an agent'],
    ['x'.repeat(500), 'x'.repeat(200)],
  ])('%j', (given, expected) => {
    expect(title(given)).toBe(expected);
  });

  test.each([
    ['Signed-off-by: Linus <l@kernel.test>', '> Signed-off-by: Linus <l@kernel.test>'],
    ['Cofferdam-Run: r0000', '> Cofferdam-Run: r0000'],
    ['skip-checks: true', '> skip-checks: true'],
    ['/approve', '> /approve'],
    ['  /merge now', '> /merge now'],
    ['bors r+', '> bors r+'],
    ['# a heading', '> # a heading'],
    ['a plain line: fine', 'a plain line: fine'],
  ])('a line %j', (given, expected) => {
    expect(body(given)).toBe(expected);
  });
});

describe('trailers', () => {
  test('stand in the last paragraph', () => {
    const message = composeMessage({
      title: 'feat: x',
      body: 'Because.',
      trailers: [
        ['Co-authored-by', 'ada <1+ada@users.noreply.github.com>'],
        ['Cofferdam-Run', 'r0123456789ab'],
      ],
    });
    expect(message).toBe(
      'feat: x\n\nBecause.\n\nCo-authored-by: ada <1+ada@users.noreply.github.com>\nCofferdam-Run: r0123456789ab\n',
    );
  });

  test.each([
    ['Signed-off-by', 'x <a@b.test>'],
    ['Co-authored-by', 'x <a@b.test>\nSigned-off-by: y <c@d.test>'],
    ['Co-authored-by', '<script>'],
    ['Cofferdam-Run', 'r1 [skip ci]'],
    ['Cofferdam-Audit', 'sha256:x'],
    ['toString', 'x'],
  ])('%s: %j is refused', (key, value) => {
    expect(() => composeMessage({ title: 't', body: '', trailers: [[key, value]] })).toThrow(RangeError);
  });
});
