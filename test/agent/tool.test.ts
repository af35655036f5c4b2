import { describe, expect, test } from 'vitest';
import type { AgentMessage } from '../../src/agent/messages.ts';
import { createReporter } from '../../src/agent/messages.ts';
import { MAX_INPUT, MAX_OUTPUT } from '../../src/agent/tool.ts';

function told(...updates: object[]): AgentMessage[] {
  const messages: AgentMessage[] = [];
  const reporter = createReporter({ onMessage: (message) => messages.push(message) });
  for (const update of updates) reporter.update({ update });
  reporter.flush();
  return messages;
}

const begun = { sessionUpdate: 'tool_call', toolCallId: 't', title: 'bash', status: 'pending', rawInput: {} };
const more = { sessionUpdate: 'tool_call_update', toolCallId: 't' };
const text = (words: string) => [{ type: 'content', content: { type: 'text', text: words } }];

describe('what a tool call was given and gave', () => {
  test('as opencode sends it: arguments when they are there, what it printed at its end, nothing twice', () => {
    const input = { command: 'node test.js', cwd: '/workspace/repo' };
    const messages = told(
      { ...begun, kind: 'execute' },
      { ...more, status: 'in_progress', title: 'node test.js', rawInput: input },
      { ...more, status: 'in_progress', title: 'node test.js', rawInput: input, content: text('1 of 2') },
      { ...more, status: 'in_progress', title: 'node test.js', rawInput: input, content: text('1 of 2\n2 of 2') },
      {
        ...more,
        status: 'completed',
        title: 'node test.js',
        content: text('1 of 2\n2 of 2\nPASS'),
        rawOutput: { output: 'x' },
      },
      {
        ...more,
        status: 'completed',
        title: 'node test.js',
        content: text('1 of 2\n2 of 2\nPASS'),
        rawOutput: { output: 'x' },
      },
    );
    const tool = { kind: 'tool', id: 't', toolKind: 'execute' };
    expect(messages).toEqual([
      { ...tool, title: 'bash', status: 'pending' },
      { ...tool, title: 'node test.js', status: 'in_progress', input: 'command: node test.js\ncwd: /workspace/repo' },
      { ...tool, title: 'node test.js', status: 'completed', output: '1 of 2\n2 of 2\nPASS' },
    ]);
  });

  test('as codex sends it: what the terminal printed comes in pieces, its exit code apart', () => {
    const messages = told(
      {
        ...begun,
        status: 'in_progress',
        title: 'npm test',
        content: [{ type: 'terminal', terminalId: 't' }],
        rawInput: { command: 'npm test' },
      },
      { ...more, _meta: { terminal_output_delta: { data: 'one\n', terminal_id: 't' } } },
      { ...more, _meta: { terminal_output_delta: { data: 'two\n', terminal_id: 't' } } },
      { ...more, status: 'failed', _meta: { terminal_exit: { exit_code: 2, signal: null } } },
    );
    expect(messages).toEqual([
      { kind: 'tool', id: 't', title: 'npm test', status: 'in_progress', input: 'command: npm test' },
      { kind: 'tool', id: 't', title: 'npm test', status: 'failed', output: 'one\ntwo\n\n(exit code 2)' },
    ]);
    const good = told(
      { ...begun, status: 'in_progress' },
      { ...more, status: 'completed', rawOutput: { exit_code: 0 }, _meta: { terminal_output_delta: { data: 'ok\n' } } },
    );
    expect(good.at(-1)).toMatchObject({ output: 'ok\n' });
  });

  test('an edit shows what it replaced; a long text in the arguments stands below its name', () => {
    const [first, second] = told(
      { ...begun, rawInput: { filePath: 'a.js', edits: [{ old: 'a', new: 'b' }], text: 'one\ntwo', none: null } },
      { ...more, status: 'completed', content: [{ type: 'diff', path: 'a.js', oldText: 'a - b\n', newText: 'a + b' }] },
    );
    expect(first).toMatchObject({
      input: 'filePath: a.js\nedits:\n  -\n    old: a\n    new: b\ntext:\none\ntwo\nnone:'.replace(
        'text:\n',
        'text: \n',
      ),
    });
    expect(second).toMatchObject({ output: 'a.js\n-a - b\n+a + b' });
  });

  test('what was printed before it was cut off is told at the end, and once', () => {
    const messages = told(
      { ...begun, status: 'in_progress' },
      { ...more, status: 'in_progress', content: text('half') },
      { sessionUpdate: 'tool_call', toolCallId: 'u', title: 'read', status: 'completed', content: text('whole') },
    );
    expect(messages.map((m) => (m.kind === 'tool' ? [m.id, m.status, m.output] : []))).toEqual([
      ['t', 'in_progress', undefined],
      ['u', 'completed', 'whole'],
      ['t', 'in_progress', 'half'],
    ]);
  });

  test('images and unknown blocks are named, not kept', () => {
    const [, done] = told(begun, {
      ...more,
      status: 'completed',
      content: [{ type: 'content', content: { type: 'image', data: 'AAAA' } }, ...text('seen'), 7, { type: 'new' }],
    });
    expect(done).toMatchObject({ output: '[image]\nseen\n\n' });
  });
});

describe('a hostile tool call', () => {
  const deep = (levels: number): unknown => JSON.parse('{"a":'.repeat(levels) + '1' + '}'.repeat(levels));

  test('RES-009: megabytes and depth become short texts; of the output its end is kept', () => {
    const keys = Object.fromEntries(Array.from({ length: 50_000 }, (_, n) => [`key${n}`, 'v'.repeat(50)]));
    for (const rawInput of ['x'.repeat(5e6), { a: 'y'.repeat(5e6) }, keys, deep(100_000), [[[[[[[[[['z']]]]]]]]]]]) {
      const [first] = told({ ...begun, rawInput });
      const input = first?.kind === 'tool' ? (first.input ?? '') : '';
      expect(input.length).toBeGreaterThan(0);
      expect(input.length).toBeLessThanOrEqual(MAX_INPUT * 2);
    }
    const [, done] = told(begun, { ...more, status: 'completed', content: text(`${'w'.repeat(5e6)}THE END`) });
    const output = done?.kind === 'tool' ? (done.output ?? '') : '';
    expect(output).toHaveLength(MAX_OUTPUT);
    expect(output).toMatch(/^w+\n… \(what was in between is left out\) …\nw+THE END$/);
  });

  test('pieces of a terminal without end stay bounded and carry one mark', () => {
    const pieces = Array.from({ length: 500 }, (_, n) => ({
      ...more,
      _meta: { terminal_output_delta: { data: `line ${n} ${'-'.repeat(200)}\n` } },
    }));
    const messages = told({ ...begun, status: 'in_progress' }, ...pieces, { ...more, status: 'completed' });
    expect(messages).toHaveLength(2);
    const output = messages[1]?.kind === 'tool' ? (messages[1].output ?? '') : '';
    expect(output.length).toBeLessThanOrEqual(MAX_OUTPUT);
    expect(output.match(/left out/g)).toHaveLength(1);
    expect(output).toContain('line 0 ');
    expect(output).toContain('line 499 ');
  });

  test('values of the wrong kind are not there, and half characters are not written', () => {
    const [first, done] = told(
      { ...begun, rawInput: 7 },
      { ...more, status: 'completed', content: [{ type: 'content', content: { text: ['x'] } }], rawOutput: [1] },
    );
    expect(first).toMatchObject({ input: '7' });
    expect(done).not.toHaveProperty('output');
    const [half] = told({ ...begun, rawInput: `${'x'.repeat(MAX_INPUT - 1)}😀` });
    expect(JSON.stringify(half)).not.toContain('\\ud83d');
  });
});
