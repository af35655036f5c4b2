import { describe, expect, test } from 'vitest';
import { fillTemplate } from '../../src/policy/markdown/template.ts';
import { active, render } from './rendered.ts';

const ours = { issue: 'Fixes #7', what: 'It adds.', testing: '✅ `npm test`' };

function filled(template: string, patch: Partial<typeof ours> = {}): { sections: string[]; placed: Set<string> } {
  const sections = fillTemplate(template, { ...ours, ...patch });
  return { sections: sections.map(({ text }) => text), placed: new Set(sections.flatMap(({ holds }) => holds ?? [])) };
}

describe('a pull request template', () => {
  test('keeps its headings in their order, and our texts stand where they are asked for, each once', () => {
    const template = [
      '<!-- Thanks for',
      'contributing! -->',
      'Please read the guide.',
      '# Description',
      'What did you change?',
      '### How was this tested?',
      '- [x] unit tests',
      'Say more:',
      '* [ ] run `npm test`',
      '## Related issue',
      'Closes #123',
      '## Summary of risks',
      'None known.',
      '## Screenshots',
    ].join('\n');
    const { sections, placed } = filled(template);
    expect(sections).toEqual([
      'Please read the guide.',
      '## Description\n\nIt adds.',
      '## How was this tested?\n\n✅ `npm test`\n\n- [ ] unit tests\n- [ ] run `npm test`',
      '## Related issue\n\nFixes #7',
      '## Summary of risks\n\nNone known.',
      '## Screenshots',
    ]);
    expect([...placed].sort()).toEqual(['issue', 'testing', 'what']);
  });

  test.each([
    ['nothing', '', []],
    ['a comment that does not end', '<!-- # Description\nx', []],
    ['no heading', 'Be kind.', ['Be kind.']],
    ['a heading in a code block', '```\n# Description\n- [x] a\n```', ['```\n# Description\n- [x] a\n```']],
    ['a box that is ticked', '- [X] I have read it', ['- [ ] I have read it']],
    [
      'a link',
      'See [the guide](../guide.md), [site](https://x.test).',
      ['See the guide `(../guide.md),` site `(https://x.test).`'],
    ],
    ['Windows line ends', '## Notes\r\n\r\nx\r\n', ['## Notes\n\nx']],
  ])('%s', (_name, template, sections) => {
    expect(filled(template)).toEqual({ sections, placed: new Set() });
  });

  test('where we have nothing to say, it keeps its own words', () => {
    expect(filled('## Linked issue\nNone', { issue: '' }).sections).toEqual(['## Linked issue\n\nNone']);
  });

  test('does nothing by itself: nobody is told, no issue closed, nothing loaded', () => {
    const template =
      '@octo/core\n## Hi @ada fixes #12\nFixes #12, see https://evil.test ![x](https://evil.test/x)\n- [ ] @ada [x](https://evil.test) #5';
    const html = render(filled(template).sections.join('\n\n').replace('Fixes #7', ''));
    expect(active(html, [/<input type="checkbox" disabled="" \/>/g])).toEqual([]);
  });

  test('is cut when it is very long', () => {
    expect(filled(`## Notes\n${'a line of the template\n'.repeat(5_000)}`).sections.join('').length).toBeLessThan(
      9_000,
    );
  });
});
