import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCommands } from '../../src/command/parse.ts';

const prefix = '/agent';

/** name, comment, what is understood: `verb|text|flags`. */
const cases: [string, string, string[]][] = [
  ['bare prefix runs', '/agent', ['run||']],
  ['bare text runs', '/agent please fix the login', ['run|please fix the login|']],
  ['verb alone', '/agent fix', ['fix||']],
  ['verb in capitals', '/Agent STOP', ['stop||']],
  ['verb with text', '/agent plan the migration', ['plan|the migration|']],
  ['tab after the prefix', '/agent\tstatus', ['status||']],
  ['windows line ends', 'Hello\r\n/agent fix\r\nthe login\r\n', ['fix|the login|']],
  ['below other text', 'Thanks!\n\n/agent fix', ['fix||']],
  ['lines below belong to it', '/agent fix\nthe login\n\n- and this', ['fix|the login\n\n- and this|']],
  ['several commands', '/agent stop\n/agent run again', ['stop||', 'run|again|']],
  [
    'all verbs',
    '/agent budget\n/agent allow docs.example.com GET\n/agent publish 0123456789ab\n/agent help\n/agent continue\n/agent retry',
    ['budget||', 'allow|docs.example.com GET|', 'publish|0123456789ab|', 'help||', 'continue||', 'retry||'],
  ],
  ['after a quote', '> what about this?\n\n/agent fix', ['fix||']],
  ['after an empty quote', '> they say\n>\n/agent fix', ['fix||']],
  ['after code that follows a quote', '> they say\n```\n/agent stop\n```\n/agent fix', ['fix||']],
  ['a non-breaking space behind the prefix', '/agent\u00a0fix the login', ['fix|the login|']],
  ['a quote below it is its text', '/agent fix\n> they say\n/agent is slow', ['fix|> they say\n/agent is slow|']],
  ['after a closed tilde fence', '~~~~\n/agent stop\n~~~\n/agent plan\n~~~~\n/agent fix', ['fix||']],
  ['after a closed fence', '```\n/agent stop\n```\n/agent fix', ['fix||']],
  ['after a closed comment', '<!-- /agent stop -->\n/agent fix', ['fix||']],
  ['an unpaired backtick above', 'the ` key\n/agent fix it', ['fix|it|']],
  ['an inline span above', 'use `x`\n/agent fix', ['fix||']],
  ['code in the text', '/agent fix `npm test -- --watch`', ['fix|`npm test -- --watch`|']],
  ['code block in the text', '/agent fix\n```\n/agent stop\n```', ['fix|```\n/agent stop\n```|']],
  [
    'flags at the end',
    '/agent run do it --model anthropic/claude-x --max-cost 2.50',
    ['run|do it|max-cost=2.50,model=anthropic/claude-x'],
  ],
  ['flags in the middle', '/agent fix --agent opencode the login', ['fix|the login|agent=opencode']],
  ['flag with equals', '/agent run --timeout=30m go', ['run|go|timeout=30m']],
  ['flag without a value', '/agent stop --keep', ['stop||keep=true']],
  ['dollar sign', '/agent run x --max-cost $3', ['run|x|max-cost=3']],
  ['a dash made by a phone', '/agent run x —max-cost 3', ['run|x|max-cost=3']],
  ['a dash in a sentence', '/agent fix it —quickly', ['fix|it —quickly|']],
  ['double dash ends flags', '/agent run -- add --verbose to the CLI', ['run|add --verbose to the CLI|']],
  ['minutes without a unit', '/agent run x --timeout 20', ['run|x|timeout=20m']],
  [
    'more for the next run',
    '/agent continue +$2 +10m and add tests',
    ['continue|and add tests|max-cost=2,timeout=10m'],
  ],
  ['more, in the other order', '/agent continue +1h +$0.50', ['continue||max-cost=0.50,timeout=1h']],
  ['a sum in a sentence', '/agent continue +2 tests', ['continue|+2 tests|']],
  ['more is of continue only', '/agent run +$2', ['run|+$2|']],
  ['a way out', '/agent run x --allow docs.example.com=GET+POST,pip', ['run|x|allow=docs.example.com=GET+POST,pip']],
  [
    'a way out in other case',
    '/agent run x --allow Docs.example.com=get+Post',
    ['run|x|allow=docs.example.com=GET+POST'],
  ],
  ['quoted value', '/agent run x --model "a/b"', ['run|x|model=a/b']],
  ['a longer word is text', '/agent plants need water', ['run|plants need water|']],

  ['in a quote', '> /agent run', []],
  ['in an indented quote', '  > /agent run', []],
  ['in a nested quote', '>> /agent run', []],
  ['in the paragraph of a quote, which goes on without its mark', '> they say\n/agent run', []],
  ['in the paragraph of a quote, further down', '> they say\nand more\n/agent run', []],
  ['in a quote of a list', '> - they say\n/agent run', []],
  ['after a non-breaking space', '\u00a0/agent run', []],
  ['a mention of a bot before it', '@cofferdam /agent run', []],
  ['in a fence', '```\n/agent run\n```', []],
  ['in a tilde fence', '~~~sh\n/agent run\n~~~', []],
  ['in a longer fence', '````\n```\n/agent run\n````', []],
  ['in a fence never closed', '```\n/agent run', []],
  ['fence closed by other marks only', '```\n~~~\n/agent run', []],
  ['indented code', '    /agent run', []],
  ['inline code', '`/agent run`', []],
  ['inline code over lines', 'see `this\n/agent run\nhere` ok', []],
  ['in an HTML comment', '<!--\n/agent run\n-->', []],
  ['in an HTML comment over paragraphs', 'a <!-- b\n\n/agent run\n\n-->', []],
  ['in a comment never closed', '<!--\n/agent run', []],
  ['behind a closing comment', '<!-- x\n-->/agent run', []],
  ['in pre', '<pre>\n/agent run\n</pre>', []],
  ['in script', '<script>\n\n/agent run\n</script>', []],
  ['in the middle of a line', 'please /agent run', []],
  ['in a list', '- /agent run', []],
  ['behind a space', ' /agent run', []],
  ['another word', '/agents run', []],
  ['a path', '/agent/run', []],
  ['behind a zero-width space', '\u200b/agent run', []],
  ['nothing', '', []],
];

describe('parseCommands', () => {
  it.each(cases)('%s', (_name, comment, expected) => {
    const { commands, problems } = parseCommands(comment, { prefix });
    const shown = commands.map(({ verb, text, flags }) => {
      const pairs = Object.entries(flags).map(([name, value]) => `${name}=${value}`);
      return `${verb}|${text}|${pairs.sort().join(',')}`;
    });
    expect(shown).toEqual(expected);
    expect(problems).toEqual([]);
  });

  const problems: [string, string, object[]][] = [
    ['a slip', '/agent sotp', [{ kind: 'unknown_verb', word: 'sotp', nearest: 'stop' }]],
    ['a slip with text', '/agent rty the build', []],
    ['one letter with text', '/agent plane the migration', [{ kind: 'unknown_verb', word: 'plane', nearest: 'plan' }]],
    ['two letters alone', '/agent stattus', [{ kind: 'unknown_verb', word: 'stattus', nearest: 'status' }]],
    ['unknown flag', '/agent run --modle x', [{ kind: 'unknown_flag', word: '--modle', nearest: '--model' }]],
    ['a flag of nothing', '/agent run --frobnicate', [{ kind: 'unknown_flag', word: '--frobnicate' }]],
    ['flag without its value', '/agent run --model', [{ kind: 'flag_value', word: '--model' }]],
    ['flag in place of a value', '/agent run --model --keep', [{ kind: 'flag_value', word: '--model' }]],
    ['a value that is none', '/agent run --max-cost lots', [{ kind: 'flag_value', word: '--max-cost' }]],
    ['a negative cost', '/agent run --max-cost -3', [{ kind: 'flag_value', word: '--max-cost' }]],
    ['a flag twice', '/agent run --model a --model b', [{ kind: 'flag_value', word: '--model' }]],
    ['a value where none belongs', '/agent stop --keep=yes', [{ kind: 'flag_value', word: '--keep' }]],
    ['the prototype', '/agent run --__proto__ x', [{ kind: 'unknown_flag', word: '--__proto__' }]],
    ['a flag of the prototype', '/agent run --constructor x', [{ kind: 'unknown_flag', word: '--constructor' }]],
  ];
  it.each(problems)('does not guess: %s', (_name, comment, expected) => {
    const reading = parseCommands(comment, { prefix });
    expect(reading.problems).toEqual(expected);
    expect(reading.commands).toHaveLength(expected.length === 0 ? 1 : 0);
  });

  it('takes ten commands of a comment and says that there were more', () => {
    const reading = parseCommands('/agent status\n'.repeat(50), { prefix });
    expect(reading.commands).toHaveLength(10);
    expect(reading.problems).toEqual([{ kind: 'too_many', word: '50' }]);
  });

  it('follows the configured prefix', () => {
    expect(parseCommands('/agent run\n@bot fix', { prefix: '@bot' }).commands).toEqual([
      { verb: 'fix', text: '', flags: {} },
    ]);
  });

  it('sees no command in whatever is quoted or fenced', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        const body = ['/agent run', ...words.map((word) => word.replace(/[\r\n]/g, ' '))];
        const quoted = body.map((line) => `> ${line}`).join('\n');
        expect(parseCommands(quoted, { prefix }).commands).toEqual([]);
        const fence = '`'.repeat(3 + Math.max(0, ...body.map((line) => /^\s*(`*)/.exec(line)?.[1]?.length ?? 0)));
        expect(parseCommands(`${fence}\n${body.join('\n')}\n${fence}`, { prefix }).commands).toEqual([]);
      }),
    );
  });

  it('ends on the worst comment that GitHub lets through', () => {
    for (const bad of ['`', '``` ` `` ', '<!--', '<pre', '> ', '/agent --', '--', '/agent run "', '\\`', '/agent\n']) {
      const text = bad.repeat(Math.ceil(65_536 / bad.length));
      expect(parseCommands(text, { prefix }).commands.length).toBeLessThanOrEqual(10);
    }
  });
});
