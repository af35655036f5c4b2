import { describe, expect, it } from 'vitest';
import { createIntents, type OpenIntent } from '../../src/audit/intents.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { WHOLE_RUN } from './run-log.ts';

function openIn(entries: readonly AuditEntry[]): OpenIntent[] {
  const intents = createIntents();
  entries.forEach(({ type, data = {}, source = 'host' }, seq) => intents.take({ type, data, source, seq }));
  return intents.open();
}

const entry = (type: AuditEntry['type'], data: Record<string, unknown> = {}): AuditEntry => ({
  zone: 'worker',
  type,
  data,
});

describe('an effect without an outcome', () => {
  it.each<[string, AuditEntry[], string[]]>([
    ['none in nothing', [], []],
    [
      'a call that was not settled',
      [
        entry('llm.reserve', { callId: 'a' }),
        entry('llm.reserve', { callId: 'b' }),
        entry('llm.settle', { callId: 'a' }),
      ],
      ['2 llm.reserve'],
    ],
    [
      'a command, beside one of the same name that ended',
      [
        entry('process.start', { role: 'agent', 'process.command_args': ['npm', 'ci'] }),
        entry('process.start', { role: 'agent', 'process.command_args': ['npm', 'test'] }),
        entry('process.exit', { role: 'agent', 'process.command': 'npm' }),
      ],
      ['2 process.start'],
    ],
    [
      'a command of the other sandbox',
      [
        entry('process.start', { role: 'agent', 'process.command_args': ['npm'] }),
        entry('process.exit', { role: 'verify', 'process.command': 'npm' }),
      ],
      ['1 process.start'],
    ],
    ['a push', [entry('git.push', { branch: 'b' })], ['1 git.push']],
    ['a branch and patch on this machine', [entry('publish.local', { branch: 'b' })], ['1 publish.local']],
    [
      'such a branch, once its step has ended',
      [entry('publish.local', { branch: 'b' }), entry('run.step', { step: 'publish', state: 'failed' })],
      [],
    ],
    [
      'a push that has its outcome, and a pull request without',
      [
        entry('git.push', { branch: 'b' }),
        entry('git.push_end', { branch: 'b', outcome: 'done' }),
        entry('publish.pull', { branch: 'b' }),
      ],
      ['3 publish.pull'],
    ],
    ['a push that failed', [entry('git.push'), entry('git.push_end', { outcome: 'failed', error: 'permission' })], []],
    [
      'the outcome of another branch',
      [entry('git.push', { branch: 'b' }), entry('git.push_end', { branch: 'c', outcome: 'done' })],
      ['1 git.push'],
    ],
    [
      'a check run that was put',
      [entry('publish.check_run', { commit: 'c' }), entry('publish.check_run_end', { commit: 'c', outcome: 'done' })],
      [],
    ],
    [
      'the end of a step is no outcome of what it did',
      [entry('git.push'), entry('run.step', { step: 'publish', state: 'failed' })],
      ['1 git.push'],
    ],
    ['a sandbox that is going', [entry('sandbox.destroy', { container: 'x' })], ['1 sandbox.destroy']],
    [
      'another sandbox that is gone',
      [entry('sandbox.destroy', { container: 'x' }), entry('sandbox.destroyed', { container: 'y' })],
      ['1 sandbox.destroy'],
    ],
    [
      'a program that the sandbox reports',
      [{ ...entry('process.start', { 'process.command_args': ['x'] }), source: 'sandbox' }],
      [],
    ],
    ['an outcome of nothing', [entry('llm.settle', { callId: 'a' }), entry('sandbox.destroyed')], []],
  ])('%s', (_what, entries, expected) => {
    expect(openIn(entries).map(({ line, type }) => `${line} ${type}`)).toEqual(expected);
  });

  it('there is none in a run that ended as it should', () => {
    expect(openIn(WHOLE_RUN)).toEqual([]);
  });

  it('is remembered within bounds', () => {
    const flood = Array.from({ length: 20_000 }, (_, n) => entry('llm.reserve', { callId: `c${n}` }));
    expect(openIn(flood)).toHaveLength(10_000);
  });
});
