import { expect, test } from 'vitest';
import { hunkUpTo } from '../../src/local/github/acts/reviews.ts';
import { parseCommits, parseDiff } from '../../src/local/github/git-format.ts';

const SHA = 'a'.repeat(40);
const OLD = 'b'.repeat(40);

test('a diff is read by its headers, whatever its lines look like', () => {
  const raw = [
    `:000000 100644 ${OLD} ${SHA} A`,
    'new "file"',
    `:100644 100644 ${OLD} ${SHA} R090`,
    'old name',
    'new name',
    `:100644 100644 ${OLD} ${SHA} M`,
    'picture.png',
    `:100644 000000 ${OLD} ${'0'.repeat(40)} D`,
    'gone',
    '',
  ].join('\0');
  const patch = [
    'diff --git "a/new \\"file\\"" "b/new \\"file\\""',
    '--- /dev/null',
    '+++ b/x',
    '@@ -0,0 +1,3 @@',
    '+diff --git a/trap b/trap',
    '+@@ -1 +1 @@',
    '+-three',
    'diff --git a/old name b/new name',
    'similarity index 90%',
    '@@ -1,2 +1,2 @@',
    ' same',
    '-one',
    '+two',
    '\\ No newline at end of file',
    'diff --git a/picture.png b/picture.png',
    'Binary files a/picture.png and b/picture.png differ',
    'diff --git a/gone b/gone',
    '@@ -1 +0,0 @@',
    '-bye',
    '',
  ].join('\n');
  const files = parseDiff(raw, patch);
  expect(files.map((one) => [one.filename, one.status, one.additions, one.deletions, one.sha])).toEqual([
    ['new "file"', 'added', 3, 0, SHA],
    ['new name', 'renamed', 1, 1, SHA],
    ['picture.png', 'modified', 0, 0, SHA],
    ['gone', 'removed', 0, 1, OLD],
  ]);
  expect(files[1]?.previousFilename).toBe('old name');
  expect(files[2]).not.toHaveProperty('patch');
});

test('a message with control characters does not break the list of commits', () => {
  const fields = [
    SHA,
    OLD,
    `${SHA} ${OLD}`,
    'a',
    'a@x',
    '2026-01-02T03:04:05+02:00',
    'c',
    'c@x',
    '2026-01-02T03:04:05Z',
  ];
  const [commit] = parseCommits([...fields, 'subject\u0001still the message\n'].join('\u0001') + '\0');
  expect(commit).toMatchObject({
    sha: SHA,
    parents: [SHA, OLD],
    author: { name: 'a', email: 'a@x', date: '2026-01-02T01:04:05Z' },
    message: 'subject\u0001still the message',
  });
});

const PATCH = ['@@ -1,3 +1,3 @@', ' one', '-two', '+zwei', ' three', '@@ -10,1 +10,2 @@', ' ten', '+eleven'].join('\n');

test.each([
  ['RIGHT', 2, ['@@ -1,3 +1,3 @@', ' one', '-two', '+zwei']],
  ['LEFT', 2, ['@@ -1,3 +1,3 @@', ' one', '-two']],
  ['RIGHT', 11, ['@@ -10,1 +10,2 @@', ' ten', '+eleven']],
  ['LEFT', 11, undefined],
  ['RIGHT', 5, undefined],
] as const)('a comment on %s line %i has the hunk up to it', (side, line, expected) => {
  expect(hunkUpTo(PATCH, line, side)).toBe(expected?.join('\n'));
});
