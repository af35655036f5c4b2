import { expect, test } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import { createModelAccount } from '../../src/run/model-account.ts';
import type { ModelAccount } from '../../src/run/model-account.ts';

interface Made {
  at: ModelAccount;
  entries: AuditEntry[];
  capped: string[];
  spent: () => Promise<{ spent: number; reserved: number }>;
}

function make(
  over: { maxCost?: number; maxTurns?: number; audit?: () => Promise<void>; elapsed?: () => number } = {},
): Made {
  const ledger = createMemoryLedger();
  const account = { runId: 'r1', repoKey: 'o/a', installationKey: 'i' };
  const entries: AuditEntry[] = [];
  const capped: string[] = [];
  const at = createModelAccount({
    ledger,
    account,
    limits: {
      maxCost: over.maxCost ?? 1_000,
      repositoryDailyCost: 1e9,
      installationDailyCost: 1e9,
      timeoutMs: 1_000,
      maxTurns: over.maxTurns ?? 100,
    },
    audit: async (entry) => {
      await over.audit?.();
      entries.push(entry);
    },
    now: () => '2026-11-24T23:59:59.000Z',
    elapsedMs: over.elapsed ?? (() => 0),
    onCapped: (reason) => capped.push(reason),
  });
  return { at, entries, capped, spent: async () => (await ledger.spent({ ...account, day: '2026-11-24' })).run };
}

const call = (callId: string, amount: number): Parameters<ModelAccount['reserve']>[0] => ({
  callId,
  amount,
  atLeast: amount,
  provider: 'p',
  model: 'm',
});
const tokens = { input: 1, cacheRead: 2, cacheWrite: 3, cacheWrite1h: 4, output: 5 };

test('a call is recorded before it is granted, and its end after', async () => {
  const { at, entries } = make();
  expect(await at.reserve(call('a', 500))).toEqual({ ok: true, granted: 500 });
  expect(entries.map(({ type }) => type)).toEqual(['llm.reserve']);
  await at.settle({ callId: 'a', outcome: 'usage', cost: 100, usage: tokens });
  expect(entries.map(({ type }) => type)).toEqual(['llm.reserve', 'llm.settle']);
  expect(at.usage()).toEqual({ cost: 100, turns: 1, inputTokens: 10, outputTokens: 5 });
});

test('a call that cannot be recorded is not made', async () => {
  const { at, spent } = make({ audit: () => Promise.reject(new Error('disk full')) });
  expect(await at.reserve(call('a', 500))).toMatchObject({ ok: false, reason: 'audit_unavailable' });
  expect(await spent()).toEqual({ spent: 0, reserved: 0 });
  expect(at.usage().turns).toBe(0);
});

test('the cap ends the run only when no call under way can give something back', async () => {
  const { at, capped } = make();
  await at.reserve(call('a', 900));
  expect(await at.reserve(call('b', 900))).toMatchObject({ ok: false, reason: 'llm_budget' });
  expect(capped).toEqual([]);
  await at.settle({ callId: 'a', outcome: 'reserved', cost: 900 });
  const refused = await at.reserve(call('b', 900));
  expect(refused).toMatchObject({ ok: false, reason: 'llm_budget' });
  expect(refused.ok ? '' : refused.say).toContain('of this run');
  await at.reserve(call('c', 900));
  expect(capped).toEqual(['max_cost']);
});

test('turns are counted at the reservation and given back with it', async () => {
  const { at, capped } = make({ maxTurns: 2 });
  const answers = await Promise.all(['a', 'b', 'c'].map((id) => at.reserve(call(id, 1))));
  expect(answers.map(({ ok }) => ok)).toEqual([true, true, false]);
  expect(answers[2]).toMatchObject({ reason: 'llm_turns' });
  expect(capped).toEqual(['max_turns']);
  await at.settle({ callId: 'a', outcome: 'released', cost: 0 });
  expect(await at.reserve(call('d', 1))).toMatchObject({ ok: true });
});

test('80 and 95 % of money, turns and time are told once', async () => {
  let elapsed = 0;
  const { at } = make({ elapsed: () => elapsed });
  const spend = async (id: string, cost: number): Promise<string[]> => {
    await at.reserve(call(id, cost));
    return (await at.settle({ callId: id, outcome: 'usage', cost, usage: tokens })).notices;
  };
  expect(await spend('a', 799)).toEqual([]);
  expect(await spend('b', 1)).toEqual([expect.stringContaining('80 % of the budget')]);
  expect(await spend('c', 1)).toEqual([]);
  expect(await spend('d', 199)).toEqual([expect.stringContaining('95 % of the budget')]);
  elapsed = 990;
  expect(await spend('e', 0)).toEqual([expect.stringContaining('95 % of the time')]);
  expect(await spend('f', 0)).toEqual([]);
});

test('after the end every call is refused and what was open counts as spent', async () => {
  const { at, spent, entries } = make();
  await at.reserve(call('a', 300));
  await at.finish();
  expect(await at.reserve(call('b', 1))).toMatchObject({ ok: false, reason: 'llm_closed' });
  await at.settle({ callId: 'a', outcome: 'usage', cost: 1, usage: tokens });
  expect(await spent()).toEqual({ spent: 300, reserved: 0 });
  expect(at.usage().cost).toBe(300);
  expect(entries.at(-1)).toMatchObject({ type: 'llm.recover', data: { calls: 1, cost: 300 } });
});
