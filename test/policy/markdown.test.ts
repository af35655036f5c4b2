import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, errorRow } from '../../src/domain/errors.ts';
import { Digest } from '../../src/domain/ids.ts';
import type { RunResult } from '../../src/domain/run.ts';
import { assemble } from '../../src/policy/markdown/assemble.ts';
import { block, code, link, plainLine, words } from '../../src/policy/markdown/outside.ts';
import { pullBody } from '../../src/policy/markdown/pull.ts';
import { prose } from '../../src/policy/markdown/prose.ts';
import { problemsReply } from '../../src/policy/markdown/replies.ts';
import { parseCommands } from '../../src/command/parse.ts';
import { statusComment, type StatusFacts } from '../../src/policy/markdown/status.ts';
import { settings } from '../github/run.ts';
import { newRunId } from '../queue/requests.ts';
import { corpus } from './markdown-corpus.ts';
import { active, invisible, render } from './rendered.ts';

const size = { maxChars: 4_000, maxLines: 60 };
const writers: [string, (text: string) => string][] = [
  ['prose', (text) => prose(text, size)],
  ['words', words],
  ['code', (text) => `before ${code(text)} after`],
  ['code in a table', (text) => `| a | b |\n|---|---|\n| ${code(text, { table: true })} | end |`],
  ['block', (text) => block(text, size)],
  [
    'quoted prose',
    (text) =>
      prose(text, size)
        .split('\n')
        .map((line) => `> ${line}`)
        .join('\n'),
  ],
];

describe.each(writers)('GH-004 %s', (name, write) => {
  it.each(corpus)('%s', (_attack, text) => {
    const markdown = write(text);
    expect(active(render(markdown))).toEqual([]);
    expect(invisible(markdown)).toEqual([]);
    expect(markdown).not.toMatch(/^\s*(?:>\s*)?::\w/m);
    expect(markdown).not.toContain('##[');
    expect(render(markdown)).not.toMatch(/language-(?:mermaid|geojson|math|topojson|stl)/);
    // `words` has no bound of its own: its callers cut.
    if (name !== 'words') expect(markdown.length).toBeLessThan(25_000);
  });

  it('holds for anything', () => {
    const pieces = fc.constantFrom(
      '`',
      '``',
      '```',
      '~~~',
      '\n',
      '\n\n',
      ' ',
      '*',
      '**',
      '_',
      '[',
      ']',
      '(',
      ')',
      '<',
      '>',
      '!',
      '|',
      '@evil',
      '#1',
      'https://evil.test',
      'www.evil.test',
      '\\',
      '&',
      '&#64;',
      '-',
      '- ',
      '> ',
      '# ',
      '1. ',
      'x',
      'GH-7',
      '$',
      '$$',
      '<img src=x>',
      '<!--',
      '-->',
      '[x]: ',
      '\t',
      '    ',
      '::',
      '##[',
      '\u200b',
      '\u202e',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        const markdown = write(parts.join(''));
        expect(active(render(markdown)), JSON.stringify(markdown)).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('prose', () => {
  it('keeps what an agent may say', () => {
    const said =
      '## Summary\nFixed **add** in `src/add.js`:\n\n- it *subtracts*\n  - nested\n1. one\n\n```js\nadd(1, 2)\n```\nDone.';
    expect(prose(said, size)).toBe(
      '**Summary**\n\nFixed **add** in `src/add.js`:\n\n- it \\*subtracts\\*\n   - nested\n1. one\n\n```js\nadd(1, 2)\n```\n\nDone.',
    );
  });

  it('says that something is missing', () => {
    expect(prose('line\n'.repeat(100), { maxChars: 4_000, maxLines: 3 })).toMatch(/97 more lines/);
    expect(prose('x'.repeat(5_000), size)).toMatch(/…$/);
  });
});

describe('plainLine', () => {
  const cases: [string, string, string][] = [
    ['a mention', 'fix: ask @evil', 'fix: ask evil'],
    ['an issue', 'fix: closes #12 and GH-3', 'fix: closes no. 12 and GH 3'],
    [
      'skipping CI',
      'fix: x [skip ci] [CI SKIP] ***NO_CI*** [skip actions]',
      'fix: x (skip ci) (CI SKIP) (no ci) (skip actions)',
    ],
    ['an array', 'fix: a[0] and [core]', 'fix: a[0] and [core]'],
    ['a link', 'fix: https://evil.test', 'fix: https: //evil.test'],
    ['lines', 'fix: a\n\nFixes #1', 'fix: a Fixes no. 1'],
    ['a command', '/merge now', 'merge now'],
    ['bidi', 'fix\u202e', 'fix\\u{202e}'],
  ];
  it.each(cases)('%s', (_name, text, expected) => {
    expect(plainLine(text, 120)).toBe(expected);
  });
  it('ends where it is told to', () => {
    expect(plainLine('😀'.repeat(200), 50).length).toBeLessThanOrEqual(50);
    expect(invisible(plainLine('😀'.repeat(200), 50))).toEqual([]);
  });
});

describe('link', () => {
  it('links only where we say', () => {
    expect(link('run page', 'https://a.test/runs/r1')).toBe('[run page](https://a.test/runs/r1)');
    expect(
      active(render(link('x', 'https://a.test/(a)<b>[c]|`d`')), [/<a href="https:\/\/a\.test\/[^"<>]*">x<\/a>/]),
    ).toEqual([]);
    expect(() => link('x', 'javascript:alert(1)')).toThrow(RangeError);
  });
});

describe('assemble', () => {
  it('leaves out whole sections, optional ones first, and says so', () => {
    const body = assemble(
      [
        { text: 'head' },
        { text: 'a'.repeat(500), optional: true },
        { text: 'b'.repeat(500), optional: true },
        { text: 'foot' },
      ],
      700,
    );
    expect(body).toContain('a'.repeat(500));
    expect(body).not.toContain('bb');
    expect(body).toMatch(/foot\n\n\*Some sections were left out/);
    expect(body.length).toBeLessThanOrEqual(700);
  });
});

it('the corpus is dangerous where it is not written by these functions', () => {
  const harmless = corpus.filter(([, text]) => {
    const raw = text.slice(0, 5_000);
    const commands = /^\s*::\w|##\[|```(?:mermaid|geojson|math)|^\s*\//m.test(raw);
    return !commands && active(render(raw)).length + invisible(raw).length === 0;
  });
  // What remains is only large, or a mistaken look: bombs, lists, rules, false verdicts, character codes.
  expect(harmless.length).toBeLessThan(corpus.length / 4);
  expect(
    harmless.map(([name]) => name).filter((name) => /^GH-00[12]/.test(name) && !/encoded|fence/.test(name)),
  ).toEqual([]);
});

describe('the configuration of the agent in the status comment', () => {
  const sha256 = Digest.parse(`sha256:${'a'.repeat(64)}`);
  const said = (configuration: StatusFacts['configuration']): string =>
    statusComment({
      runId: newRunId(),
      actor: { login: 'ann' },
      command: { verb: 'plan', text: '', flags: {} },
      agent: 'opencode',
      limits: settings.limits,
      configuration,
      texts: [],
      hidden: [],
      phase: {
        name: 'running',
        step: 'agent',
        steps: [],
        elapsedMs: 1,
        usage: { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 },
        egress: [],
      },
    });

  it('names what is off and what is read, with the hash that allows it', () => {
    const off = { path: 'opencode.json', sha256, allowed: false };
    expect(said([off])).toContain('in this repository: off');
    expect(said([off])).toContain(`- off: \`opencode.json\` \`${sha256}\``);
    const some = said([
      { ...off, allowed: true },
      { path: '.opencode/x', sha256: null, allowed: false },
    ]);
    expect(some).toContain('in this repository: some is read');
    expect(some).toContain(`- read: \`opencode.json\` \`${sha256}\`\n- off: \`.opencode/x\``);
    expect(said(Array.from({ length: 12 }, () => off))).toContain('- and 2 more');
  });

  it('says nothing where there is none', () => {
    for (const none of [undefined, []]) expect(said(none)).not.toContain('Configuration of the agent');
  });
});

const result: RunResult = {
  runId: newRunId(),
  state: 'verify_failed',
  usage: { cost: 1, turns: 1, inputTokens: 1, outputTokens: 1 },
  verification: [],
  files: [],
  egress: [],
  startedAt: '2026-01-01T00:00:00Z',
  endedAt: '2026-01-01T00:01:00Z',
};

describe('GIT-016 the text of a pull request, which squashing makes a message of', () => {
  const body = (said: string, tail = ''): string =>
    pullBody({
      ...settings,
      runId: newRunId(),
      source: { number: 7, title: 'T', isPull: false, url: 'https://github.test/o/r/issues/7' },
      requester: 'alice',
      elapsedMs: 1,
      result: {
        ...result,
        agentSummary: said,
        files: [{ path: 'fixes #9', status: 'added', additions: 1, deletions: 0 }],
        verification: [{ command: 'echo [ci skip] closes #8', exitCode: 1, durationMs: 1, tail }],
      },
    });
  const acts = (text: string): string[] =>
    Array.from(
      text.matchAll(/\b(?:clos|fix|resolv)\w*:?\s+[\w/.:-]*#\d+|\[[\w -]*(?:skip|no ci)[\w -]*\]/gi),
      ([one]) => one,
    );

  it('closes the source issue and no other, and skips no CI, also in code', () => {
    const said =
      'It `fixes #12`, resolves #5 [skip ci] `[skip ci]`.\n\n```\nCloses acme/x#3\nfix: https://github.test/o/r/issues/4 [travis skip]\n```';
    expect(acts(body(said, 'Resolves #6 [no ci]'))).toEqual([]);
    expect(acts(body('', ''))).toEqual([]);
  });

  it('does so where everything is well', () => {
    const good = pullBody({
      ...settings,
      runId: newRunId(),
      source: { number: 7, title: 'T', isPull: false, url: 'https://github.test/o/r/issues/7' },
      requester: 'alice',
      elapsedMs: 1,
      result: { ...result, state: 'succeeded', agentSummary: 'It `fixes #12`; see `a[0]` and `items[skip]`.' },
    });
    expect(acts(good).filter((one) => one !== '[skip]')).toEqual(['Fixes #7']);
    expect(good).toContain('`fixes no. 12`');
    expect(good).toContain('`items[skip]`');
  });
});

describe('the status comment of a run that is over', () => {
  const end = (patch: Partial<RunResult>, facts: Partial<StatusFacts> = {}): string =>
    statusComment({
      ...settings,
      runId: newRunId(),
      actor: { login: 'alice' },
      command: { verb: 'run', text: '', flags: {} },
      texts: [],
      hidden: [],
      prefix: '@helper',
      ...facts,
      phase: { name: 'done', result: { ...result, ...patch }, elapsedMs: 1, audit: { count: 1, head: 'x' } },
    });
  const order = (text: string, parts: string[]): number[] => parts.map((part) => text.indexOf(part));

  it.each<[string, Partial<RunResult>, string[]]>([
    [
      'a question and how to answer it',
      { state: 'needs_input', agentSummary: 'NEEDS INPUT: red or blue?' },
      ['red or blue?', 'Answer with `@helper continue`', '<summary>Network', '| Cost |', 'Audit:'],
    ],
    [
      'why nothing was changed',
      { state: 'no_change', agentSummary: 'It is done already.' },
      ['It is done already.', 'Write `@helper` and what is missing', '<summary>Network', '| Cost |'],
    ],
    ['that nobody said why', { state: 'no_change' }, ['The agent did not say why.', '<summary>Network']],
    [
      'why it failed, what to do, and where the change is',
      {
        state: 'failed',
        error: { code: 'github', op: 'github.push', message: 'not there' },
        files: [{ path: 'a', status: 'added', additions: 1, deletions: 0 }],
      },
      ['**Why:** `not there`', '`@helper retry` tries again', 'The change is not lost', '<summary>Files'],
    ],
    [
      'that it can be tried again, where the advice does not',
      { state: 'failed', error: { code: 'internal', op: 'queue.sweep', message: 'the worker ended' } },
      ['**Why:** `the worker ended`', '**What to do:**', '`@helper retry` tries again.', '<summary>Network'],
    ],
    ['what to do about a limit', { state: 'over_budget', reason: 'max_cost' }, ['`@helper retry` tries', '| Cost |']],
    ['the pull request', { pull: { number: 3, url: 'https://g.test/3' } }, ['pull request 3', 'Review it', '| Cost |']],
  ])('says first %s', (_name, patch, parts) => {
    const at = order(end(patch), parts);
    expect(at).not.toContain(-1);
    expect(at).toEqual(at.toSorted((one, other) => one - other));
    expect(end(patch)).not.toContain('/agent');
  });

  it.each(ERROR_CODES)('offers to try again once after a failure of the kind %s', (code) => {
    const text = end({ state: 'failed', error: { code, op: 'room.function', message: 'it broke' } });
    expect(text.match(/`@helper retry`/g)).toHaveLength(1);
    expect(errorRow(code).namesRetry === true).toBe(errorRow(code).advice.includes('`/agent retry`'));
  });

  it('shows a question without the mark that the agent puts before it', () => {
    const text = end({ state: 'needs_input', agentSummary: 'I looked.\n\n**NEEDS INPUT:** red or blue?' });
    expect(text).toContain('> I looked.\n>\n> red or blue?');
    expect(text).not.toContain('NEEDS INPUT');
  });

  it('names no limits and no network where nothing was run', () => {
    const error = { code: 'repository_file' as const, op: 'x', message: 'line 3' };
    const text = end({ state: 'refused', error });
    expect(text).toContain('Nothing was run.');
    expect(text).not.toMatch(/\| Cost \||Network/);
    const files = [{ path: 'a', status: 'added' as const, additions: 1, deletions: 0 }];
    const unpushed = end({ state: 'refused', error: { ...error, code: 'no_authority' }, files });
    expect(unpushed).toContain('Nothing was pushed.');
    expect(unpushed).toMatch(/\| Cost \|/);
  });
});

describe('the answer to a slip', () => {
  it.each(['agent', 'model', 'max-cost', 'max-turns', 'timeout', 'allow', 'keep'])(
    'shows how --%s is written, in words that are understood',
    (flag) => {
      const { problems } = parseCommands(`/agent run x --${flag}${flag === 'keep' ? '=yes' : ''}`, {
        prefix: '/agent',
      });
      const [, ...examples] = Array.from(
        problemsReply(problems, { prefix: '/agent', obeyed: false }).matchAll(/`(--[^`]+)`/g),
        ([, one]) => one,
      );
      expect(problems).toEqual([{ kind: 'flag_value', word: `--${flag}` }]);
      expect(examples.length).toBeGreaterThan(flag === 'keep' ? -1 : 0);
      for (const example of examples)
        expect(parseCommands(`/agent run x ${example}`, { prefix: '/agent' }).problems).toEqual([]);
    },
  );

  it('says whether the rest of the comment counts', () => {
    const { problems } = parseCommands('/agent sotp', { prefix: '/agent' });
    expect(problemsReply(problems, { prefix: '/agent', obeyed: false })).toContain('nothing was begun');
    expect(problemsReply(problems, { prefix: '/agent', obeyed: true })).toContain('the other commands');
  });
});
