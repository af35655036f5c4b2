import { describe, expect, it } from 'vitest';
import { allowableHosts, buttonCommand, endButtons, RUNNING_BUTTONS } from '../../src/policy/authority/buttons.ts';
import type { EgressEntry } from '../../src/domain/policy.ts';
import { type RunResult } from '../../src/domain/run.ts';
import { FINAL_STATES } from '../../src/domain/final-state.ts';
import { digest } from '../github/run.ts';

const permitted: EgressEntry[] = [{ host: '*.docs.test', methods: ['GET'] }];
const refused = (host: string, reason = 'not_allowed') => {
  return { host, port: 443, allow: false, reason, count: 1, bytesIn: 0, bytesOut: 0 };
};
const result = (patch: Partial<RunResult>): RunResult => ({
  runId: 'r0123456789ab' as RunResult['runId'],
  state: 'succeeded',
  usage: { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 },
  verification: [],
  files: [],
  egress: [],
  startedAt: '',
  endedAt: '',
  ...patch,
});
const held = { diffHash: digest, rule: 'always', files: [], ci: [], excerpt: '', excerptCut: false };
const long = `${'a'.repeat(60)}.docs.test`;

describe('buttons', () => {
  it.each([
    ['succeeded', result({}), []],
    ['unverified', result({ state: 'unverified' }), []],
    ['needs an answer', result({ state: 'needs_input' }), []],
    ['refused', result({ state: 'refused' }), []],
    ['failed', result({ state: 'failed' }), ['Retry']],
    ['verification fails', result({ state: 'verify_failed' }), ['Retry']],
    ['held', result({ state: 'held', held }), ['Publish', 'Retry']],
    ['a host that people may add', result({ egress: [refused('a.docs.test')] }), ['Allow host']],
    ['a host that they may not add', result({ egress: [refused('evil.test')] }), []],
    ['a host that was refused for another reason', result({ egress: [refused('a.docs.test', 'bytes_limit')] }), []],
    [
      'three at most',
      result({ state: 'held', held, egress: [refused('a.docs.test'), refused('b.docs.test')] }),
      ['Publish', 'Retry', 'Allow host'],
    ],
  ])('%s', (_name, end, labels) => {
    expect(endButtons(end, permitted).map(({ label }) => label)).toEqual(labels);
  });

  it('keep within what GitHub takes, and lead back to what they stand for', () => {
    for (const state of FINAL_STATES) {
      const end = result({ state, held, egress: [refused(long), refused('b.docs.test')] });
      for (const button of [...endButtons(end, permitted), ...RUNNING_BUTTONS]) {
        expect(button.label.length).toBeLessThanOrEqual(20);
        expect(button.description.length).toBeLessThanOrEqual(40);
        expect(button.identifier.length).toBeLessThanOrEqual(20);
        expect(buttonCommand(button.identifier, allowableHosts(end.egress, permitted))).toBeDefined();
      }
    }
    const [, , allow] = endButtons(result({ state: 'held', held, egress: [refused(long)] }), permitted);
    expect(buttonCommand(allow?.identifier ?? '', [long])).toMatchObject({ verb: 'allow', text: long });
    expect(buttonCommand(allow?.identifier ?? '', ['other.docs.test'])).toBeUndefined();
    for (const other of ['', 'run', 'publish', 'publish:xyz', 'allow:', 'allow:zzzzzzzzzzzz', 'retry:1x']) {
      expect(buttonCommand(other, [long])?.verb).not.toBe('publish');
    }
  });
});
