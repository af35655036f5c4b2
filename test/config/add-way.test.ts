import { describe, expect, it } from 'vitest';
import { addWay } from '../../src/config/add-way.ts';
import type { EgressEntry } from '../../src/domain/policy.ts';

const HOST: EgressEntry = { host: 'a.docs.test', methods: ['GET', 'HEAD'] };
const LINE = '{ host: a.docs.test, methods: [GET, HEAD] }';

function added(text: string | null, entry: EgressEntry = HOST): string {
  const result = addWay(text, entry);
  if ('text' in result) return result.text;
  return 'there' in result ? 'there' : `cannot: ${result.cannot}`;
}

describe('one more way out in a repository’s file', () => {
  it.each<[string, string | null, string]>([
    ['no file', null, `egress:\n  allow:\n    - ${LINE}\n`],
    ['an empty file', '', `egress:\n  allow:\n    - ${LINE}\n`],
    ['only a comment', '# ours\n', `# ours\negress:\n  allow:\n    - ${LINE}\n`],
    [
      'no egress yet, no line end at the end',
      '# ours\nverify:   [ npm test ] # all of it',
      `# ours\nverify:   [ npm test ] # all of it\negress:\n  allow:\n    - ${LINE}\n`,
    ],
    [
      'a block list, with comments and odd spacing',
      "egress:\n  # registries\n  allow:\n  - 'pip'   # python\n  # the last\n\nverify: [x]\n",
      `egress:\n  # registries\n  allow:\n  - 'pip'   # python\n  - ${LINE}\n  # the last\n\nverify: [x]\n`,
    ],
    [
      'a block list that ends the file without a line end',
      'egress:\n  allow:\n    - host: b.test\n      methods: [GET]',
      `egress:\n  allow:\n    - host: b.test\n      methods: [GET]\n    - ${LINE}\n`,
    ],
    ['a list in one line', 'egress: { allow: [pip] } # x\n', `egress: { allow: [pip, ${LINE}] } # x\n`],
    ['an empty list in one line', 'egress: { allow: [] }\n', `egress: { allow: [${LINE}] }\n`],
    [
      'lines that end as on Windows',
      'egress:\r\n  allow:\r\n    - pip\r\n',
      `egress:\r\n  allow:\r\n    - pip\r\n    - ${LINE}\r\n`,
    ],
    ['the same already', `egress: { allow: [${LINE}] }\n`, 'there'],
    ['more already', 'egress: { allow: [{ host: a.docs.test, methods: [GET, HEAD, POST] }] }\n', 'there'],
    ['a list that is none', 'egress: { allow: pip }\n', 'cannot: `egress.allow` is not a plain list'],
    ['no YAML', 'egress: [\n', 'cannot: the file is not valid YAML'],
    ['a list at the top', '- a\n', 'cannot: `egress.allow` is not a plain list'],
  ])('%s', (_what, text, expected) => {
    expect(added(text)).toBe(expected);
  });

  it('a preset is a word', () => {
    expect(added('egress: { allow: [pip] }\n', 'npm')).toBe('egress: { allow: [pip, npm] }\n');
    expect(added('egress: { allow: [npm] }\n', 'npm')).toBe('there');
  });

  it('more methods widen the entry of the same host, and comments stay', () => {
    const before = '# ours\negress:\n  allow:\n    # docs\n    - { host: a.docs.test, methods: [GET] }\n    - pip\n';
    const text = added(before, { host: 'a.docs.test', methods: ['POST'] });
    expect(text).toContain('# ours');
    expect(text).toContain('# docs');
    expect(text).toMatch(/host: a\.docs\.test, methods: \[ ?GET, POST ?\]/);
    expect(text).toContain('- pip');
  });

  it.each([
    'egress:\n',
    'egress: {}\n',
    '{ verify: [x] }\n',
    'egress: { allow: [pip,] }\n',
    'egress:\n  allow:\n    [\n      pip, # python\n    ]\n',
    'a: &a [pip]\negress: { allow: *a }\n',
    '---\nverify: [x]\n',
  ])('%j: what it means is as before with one entry more, or it is left alone', (text) => {
    const result = addWay(text, 'npm');
    if ('text' in result) expect(added(result.text, 'npm')).toBe('there');
    else expect(result).toHaveProperty('cannot');
  });
});
