import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hanging, terminalLine, terminalText } from '../../src/cli/terminal.ts';
import { describePull } from '../../src/cli/verify-pull.ts';

// eslint-disable-next-line no-control-regex -- none of these may be printed
const STEERS = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

describe('AUD-014 text from outside in a terminal', () => {
  it('steers nothing and begins no line, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), fc.integer({ min: 1, max: 200 }), (text, max) => {
        for (const shown of [terminalLine(text, max), terminalText(text, max), terminalLine(text)])
          expect(shown).not.toMatch(STEERS);
        expect(terminalLine(text, max).length).toBeLessThanOrEqual(max);
        expect(terminalLine(text, max).isWellFormed()).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['a colour', '\u001b[31mred\u001b[0m', 'red'],
    ['a link', '\u001b]8;;http://evil.test\u0007here\u001b]8;;\u0007', 'here'],
    ['a line of its own', 'a\n✓ verified\r\nb', 'a ✓ verified b'],
    ['a carriage return over what is there', 'evil\rgood', 'evil good'],
    ['text that is turned around', 'a\u202eb', 'a\\u{202e}b'],
    ['what cannot be seen', 'pass\u200bword', 'pass\\u{200b}word'],
    ['plain words', 'naïve café 漢字 👩‍💻', 'naïve café 漢字 👩‍💻'],
  ])('%s', (_what, text, shown) => {
    expect(terminalText(text)).toBe(shown);
  });

  it('is broken at spaces only, and loses nothing', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'b', ' ', '漢'), maxLength: 300 }),
        fc.integer({ min: 1, max: 120 }),
        (text, columns) => {
          const words = (shown: string): string[] => shown.split(/\s+/).filter((word) => word !== '');
          const lines = hanging(text, columns, 4).split('\n');
          expect(words(lines.join(' '))).toEqual(words(text));
          if (columns < 24) expect(lines).toEqual([text]);
          else for (const line of lines) expect(line.length <= columns || words(line).length === 1, line).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('is cut between characters, and quickly when it is a megabyte', () => {
    expect(terminalLine('👍👍👍', 4)).toBe('👍…');
    expect(terminalLine(`${'\u001b['.repeat(500_000)}x`, 100).length).toBeLessThanOrEqual(100);
  });

  it('so are the trailers of a commit', () => {
    const evil = '\u001b[2Jx\u202e\nvalid';
    const said = describePull([
      { sha: 'a'.repeat(40), runId: evil, file: 'f', verdict: 'broken', problems: [`names ${evil}`] },
    ]);
    expect(said.join('|')).not.toMatch(STEERS);
    expect(said).toHaveLength(2);
  });

  it('has one way in: no other file of the commands strips or replaces control characters', async () => {
    const directory = join(import.meta.dirname, '../../src/cli');
    const own: string[] = [];
    for (const name of await readdir(directory)) {
      const text = await readFile(join(directory, name), 'utf8');
      if (/stripVTControlCharacters|showHidden|\\u0000|&lt;/.test(text)) own.push(name);
    }
    expect(own).toEqual(['terminal.ts']);
  });
});
