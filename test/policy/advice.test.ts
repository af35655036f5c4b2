import { describe, expect, it } from 'vitest';
import { isAdvice, shownAdvice, type CommitFiles } from '../../src/policy/diff/advice.ts';

describe('isAdvice', () => {
  it.each([
    ['AGENTS.md', true],
    ['agents.MD', true],
    ['a/b/Claude.local.md', true],
    ['.github/copilot-instructions.md', true],
    ['.github/instructions/a.instructions.md', true],
    ['x/.cursor/rules/a/b.mdc', true],
    ['.clinerules', true],
    ['.clinerules/a.md', true],
    ['skills/x/SKILL.md', true],
    ['AGENTS.md.', true],
    ['AG\u200cENTS.md', true],
    ['AGENTS.txt', false],
    ['MY-AGENTS.md', false],
    ['README.md', false],
    ['agents/README.md', false],
    ['.cursor/mcp.json', false],
    ['.claude/settings.json', false],
  ])('%s: %s', (path, expected) => {
    expect(isAdvice(path)).toBe(expected);
  });
});

/** `120000 target` for a link, any other text for the object of a plain file. */
function commit(entries: Record<string, string>): CommitFiles {
  const rows = Object.entries(entries);
  return {
    files: new Map(
      rows.map(([path, id]) => [path, id.startsWith('120000 ') ? { mode: '120000', id } : { mode: '100644', id }]),
    ),
    links: new Map(rows.flatMap(([path, id]) => (id.startsWith('120000 ') ? [[path, id.slice(7)]] : []))),
  };
}

describe('shownAdvice', () => {
  it.each<[string, Record<string, string>, Record<string, string>, [string, string | null][]]>([
    ['the same', { 'AGENTS.md': '1' }, { 'AGENTS.md': '1' }, []],
    ['another', { 'AGENTS.md': '1' }, { 'AGENTS.md': '2' }, [['AGENTS.md', '2']]],
    ['files that are no advice', { 'a.md': '1' }, { 'a.md': '2', b: '3' }, []],
    ['a link and a copy of its target', { 'AGENTS.md': '120000 a', a: '1' }, { 'AGENTS.md': '1' }, []],
    ['a link out of the tree', { 'AGENTS.md': '120000 ../../etc/passwd' }, { 'AGENTS.md': '1' }, [['AGENTS.md', '1']]],
    [
      'links in a circle',
      { 'AGENTS.md': '120000 CLAUDE.md', 'CLAUDE.md': '120000 AGENTS.md' },
      {},
      [
        ['AGENTS.md', null],
        ['CLAUDE.md', null],
      ],
    ],
    ['a file of the base above it', { docs: '1' }, { 'docs/AGENTS.md': '2' }, []],
    [
      'a link of the base above it',
      { docs: '120000 evil', 'evil/AGENTS.md': '1' },
      { 'docs/AGENTS.md': '2' },
      [['evil/AGENTS.md', null]],
    ],
  ])('%s', (_name, own, standard, expected) => {
    expect(shownAdvice(commit(own), commit(standard)).map(({ path, shown }) => [path, shown])).toEqual(expected);
  });

  it.each([
    ['a line break in a name', { 'a\nb/AGENTS.md': '1' }, 'control character'],
    ['a name that is no text', { 'a\ufffd/AGENTS.md': '1' }, 'not UTF-8'],
    [
      'names too long for the record',
      Object.fromEntries(
        Array.from({ length: 900 }, (_, at) => [`${'d'.repeat(200)}/${'e'.repeat(200)}${at}/AGENTS.md`, '1']),
      ),
      'too long',
    ],
    [
      'a thousand and one',
      Object.fromEntries(Array.from({ length: 1_001 }, (_, at) => [`${at}/AGENTS.md`, '1'])),
      '1000',
    ],
  ])('refuses %s', (_name, own, why) => {
    expect(() => shownAdvice(commit(own), commit({}))).toThrow(why);
    // What is in both alike concerns nobody.
    expect(shownAdvice(commit(own), commit(own))).toEqual([]);
  });
});
