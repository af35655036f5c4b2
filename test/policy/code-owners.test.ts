import { describe, expect, test } from 'vitest';
import { ownersOf } from '../../src/policy/diff/code-owners.ts';

function owners(text: string, ...files: string[]): string[] {
  const { users, teams } = ownersOf(text, { organisation: 'Acme', files });
  return [...users, ...teams.map((slug) => `team ${slug}`)];
}

describe('which pattern names which file', () => {
  test.each([
    ['*', 'a.ts', true],
    ['*', 'deep/down/a.ts', true],
    ['*.js', 'src/a.js', true],
    ['*.js', 'src/a.ts', false],
    ['/build/logs/', 'build/logs/x/y.txt', true],
    ['/build/logs/', 'sub/build/logs/y.txt', false],
    ['docs/*', 'docs/getting-started.md', true],
    ['docs/*', 'docs/build-app/troubleshooting.md', false],
    ['docs/*', 'x/docs/a.md', false],
    ['apps/', 'x/apps/a/b.ts', true],
    ['apps/', 'apps', false],
    ['/docs/', 'docs/a/b.md', true],
    ['/apps/github', 'apps/github/x.ts', true],
    ['/apps/github', 'apps/github', true],
    ['/apps/github', 'apps/github2', false],
    ['**/logs', 'a/b/logs/x', true],
    ['**/logs', 'logs/x', true],
    ['docs/**/secret.md', 'docs/a/b/secret.md', true],
    ['README.md', 'readme.md', false],
    ['/with\\ space/', 'with space/a', true],
  ])('%s, %s: %s', (pattern, file, named) => {
    expect(owners(`${pattern} @ada`, file)).toEqual(named ? ['ada'] : []);
  });
});

describe('who is an owner', () => {
  test('the last match counts, also one without owners', () => {
    const text = '* @ada\n/src/ @bob @carl\n/src/free/\n';
    expect(owners(text, 'README.md', 'src/a.ts')).toEqual(['ada', 'bob', 'carl']);
    expect(owners(text, 'src/free/a.ts')).toEqual([]);
  });

  test('teams of this organisation by slug; addresses and teams of others are not asked', () => {
    expect(owners('* @acme/core @other/core ada@acme.test @Ada', 'a')).toEqual(['Ada', 'team core']);
  });

  test('each once, whatever the case', () => {
    expect(owners('*.a @ada @acme/core\n*.b @ADA @ACME/Core', 'x.a', 'x.b')).toHaveLength(2);
  });

  test.each([
    ['# * @ada'],
    ['* # @ada'],
    ['! @ada'],
    ['!a @ada'],
    ['\\#a @ada'],
    ['[ab] @ada'],
    ['/ @ada'],
    ['* @ada not-an-owner'],
    ['* @ada/../x'],
    ['* @ada\u202e'],
    [`${'*'.repeat(2_000)} @ada`],
  ])('nobody by %s', (line) => {
    expect(owners(line, 'a', '#a')).toEqual([]);
  });

  test('comments, line ends and blank lines are no matter', () => {
    expect(owners('\r\n# owners\r\n\r\n  *  @ada  # all\r\n', 'a')).toEqual(['ada']);
  });
});
