import { fixProject, type Step } from '../provider/fix-project.ts';
import type { Script, ScriptCall } from '../provider/script.ts';

/** The issue that the demo opens. */
export const ISSUE = {
  title: 'parseTime does not understand "1h 30m"',
  body: [
    'The README promises timers for people who say "1h 30m", but `parseTime("1h 30m")` throws:',
    '',
    '```',
    'RangeError: not a time: 1h 30m',
    '```',
    '',
    'Single units work. Please make several units work too; `npm test` shows it.',
  ].join('\n'),
};

/** The comment on the pull request that starts the second run. */
export const FOLLOW_UP = 'please accept "1h and 30m" as well, with a test, and show it in the README';

const FIRST: Step[] = [
  { say: 'I will look at the parser and its tests first.' },
  { read: 'src/timer.js' },
  { run: 'npm test' },
  { say: 'ms() takes one unit only, so the text has to be split before it is parsed.' },
  {
    edit: {
      path: 'src/timer.js',
      before:
        '  const value = ms(text);\n  if (value === undefined) throw new RangeError(`not a time: ${text}`);\n  return value;\n',
      after: [
        '  const values = (text.match(UNIT) ?? []).map((part) => ms(part));',
        "  const rest = text.replace(UNIT, '').trim();",
        "  if (values.length === 0 || rest !== '' || values.includes(undefined)) throw new RangeError(`not a time: ${text}`);",
        '  return values.reduce((sum, value) => sum + value, 0);',
        '',
      ].join('\n'),
    },
  },
  {
    edit: {
      path: 'src/timer.js',
      before: "import ms from 'ms';\n",
      after:
        'import ms from \'ms\';\n\n/** A number and its unit, such as "1.5h" or "2 days". */\nconst UNIT = /\\d+(?:\\.\\d+)?\\s*[a-z]+/gi;\n',
    },
  },
  { run: 'npm test' },
  { run: 'curl -sS --max-time 5 https://telemetry.example.com/beacon || true' },
  {
    say: '`parseTime` now splits the text into numbers with units, parses each with `ms` and adds them up. Anything that is left over is still refused. All tests pass.',
  },
];

const SECOND: Step[] = [
  { say: 'The word between two units has to be dropped before the rest is looked at.' },
  { read: 'src/timer.js' },
  {
    edit: {
      path: 'src/timer.js',
      before: "text.replace(UNIT, '').trim()",
      after: "text.replace(UNIT, '').replace(/\\band\\b/gi, '').trim()",
    },
  },
  {
    edit: {
      path: 'test/timer.test.js',
      before: "test('refuses nonsense'",
      after:
        "test('parses units joined by a word', () => {\n  assert.equal(parseTime('1h and 30m'), 5_400_000);\n});\n\ntest('refuses nonsense'",
    },
  },
  {
    edit: {
      path: 'README.md',
      before: "parseTime('90s'); // 90000\n",
      after: "parseTime('90s'); // 90000\nparseTime('1h and 30m'); // 5400000\n",
    },
  },
  { run: 'npm test' },
  { say: '"1h and 30m" is accepted now, a test covers it, and the README shows it.' },
];

/** The task's text decides which plan is followed: the follow-up quotes the comment. */
function plan(call: ScriptCall): Step[] {
  return call.texts.some((text) => text.includes('1h and 30m')) ? SECOND : FIRST;
}

/** What the scripted model of the demo does; it speaks the real wire format and uses the agent's real tools. */
export const demoScript: Script = fixProject({ steps: plan, title: 'Parse several units' });
