import { describe, expect, it } from 'vitest';
import type { ProcessRecord, RunResult } from '../../src/domain/run.ts';
import { checkSummary } from '../../src/policy/markdown/check.ts';
import { limits } from '../github/run.ts';
import { request } from '../queue/requests.ts';

function summary(processRecord: ProcessRecord | undefined, more: Partial<RunResult> = {}): string {
  const { runId } = request();
  const result: RunResult = {
    runId,
    state: 'unverified',
    usage: { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 },
    verification: [],
    files: [],
    egress: [],
    ...(processRecord === undefined ? {} : { processRecord }),
    startedAt: '2026-01-01T00:00:00Z',
    endedAt: '2026-01-01T00:00:00Z',
    ...more,
  };
  const receipt = { ok: true, checks: [{ name: 'gvisor', ok: true, observed: 'Starting gVisor' }] };
  return checkSummary({ runId, result, elapsedMs: 1, limits, agent: 'x', receipt, steps: [] });
}

describe('what the check run says of the record of processes', () => {
  it.each([
    ['none', /\*\*No process record\*\*/],
    ['gaps', /Process record: \*\*with gaps\*\*/],
    ['complete', /Process record: gVisor’s kernel reported every start/],
  ] as const)('%s', (record, line) => {
    expect(summary(record)).toMatch(line);
  });

  it('nothing, of a run that had no sandbox', () => {
    expect(summary(undefined)).not.toMatch(/process record/i);
  });
});

it('says so when the patch that was kept is not the whole change', () => {
  expect(summary('complete', { patchCut: true })).toMatch(/\*\*The patch on the run page is cut\*\*/);
  expect(summary('complete')).not.toContain('cut');
});
