import { describe, expect, test } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import type { Ledger } from '../../src/run/ledger.ts';
import { createModelAccount } from '../../src/run/model-account.ts';
import type { ModelAccount } from '../../src/run/model-account.ts';

interface Made {
  at: ModelAccount;
  entries: AuditEntry[];
  capped: string[];
  spent: () => Promise<{ spent: number; reserved: number }>;
}

function make(
  over: {
    ledger?: Ledger;
    repositoryDailyCost?: number;
    maxCost?: number;
    maxTurns?: number;
    audit?: () => Promise<void>;
    elapsed?: () => number;
    waitMs?: number;
  } = {},
): Made {
  const ledger = over.ledger ?? createMemoryLedger();
  const account = { runId: 'r1', repoKey: 'o/a', installationKey: 'i' };
  const entries: AuditEntry[] = [];
  const capped: string[] = [];
  const at = createModelAccount({
    ledger,
    account,
    limits: {
      maxCost: over.maxCost ?? 1_000,
      repositoryDailyCost: over.repositoryDailyCost ?? 1e9,
      installationDailyCost: 1e9,
      timeoutMs: 1_000,
      maxTurns: over.maxTurns ?? 100,
      stepMs: 60_000,
      idleMs: 60_000,
    },
    audit: async (entry) => {
      await over.audit?.();
      entries.push(entry);
    },
    now: () => '2026-11-24T23:59:59.000Z',
    elapsedMs: over.elapsed ?? (() => 0),
    onCapped: (reason) => capped.push(reason),
    waitMs: over.waitMs ?? 0,
  });
  return { at, entries, capped, spent: async () => (await ledger.spent({ ...account, day: '2026-11-24' })).run };
}

const call = (callId: string, amount: number): Parameters<ModelAccount['reserve']>[0] => ({
  callId,
  amount,
  atLeast: amount,
  provider: 'p',
  model: 'm',
  tellable: true,
  loose: false,
});
const tokens = { input: 1, cacheRead: 2, cacheWrite: 3, cacheWrite1h: 4, output: 5 };

test('a call is recorded before it is granted, and its end after', async () => {
  const { at, entries } = make();
  expect(await at.reserve(call('a', 500))).toEqual({ ok: true, granted: 500, notices: [] });
  expect(entries.map(({ type }) => type)).toEqual(['llm.reserve']);
  await at.settle({ callId: 'a', outcome: 'usage', cost: 100, status: 200, usage: tokens });
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
  await at.settle({ callId: 'a', outcome: 'reserved', cost: 900, status: 200 });
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
  await at.settle({ callId: 'a', outcome: 'released', cost: 0, status: 0 });
  expect(await at.reserve(call('d', 1))).toMatchObject({ ok: true });
});

describe('what the agent is told', () => {
  let calls = 0;
  /** One call that costs so much; what it was told. */
  async function spend(
    { at }: Made,
    cost: number,
    over: { status?: number; tellable?: boolean } = {},
  ): Promise<string[]> {
    const callId = `c${calls++}`;
    const answer = await at.reserve({ ...call(callId, cost), tellable: over.tellable ?? true });
    await at.settle({ callId, outcome: 'usage', cost, status: over.status ?? 200, usage: tokens });
    return answer.ok ? answer.notices : [];
  }
  const share = (percent: number, of: string): unknown[] => [expect.stringContaining(`${percent} % of the ${of}`)];

  test('80 and 95 % of the money, once each', async () => {
    const made = make();
    expect(await spend(made, 400)).toEqual([]);
    for (let at = 400; at < 800; at += 50) expect(await spend(made, 50)).toEqual([]);
    expect(await spend(made, 150)).toEqual(share(80, 'budget'));
    expect(await spend(made, 1)).toEqual(share(95, 'budget'));
    expect(await spend(made, 1)).toEqual([]);
    const said = made.entries.filter(({ type }) => type === 'llm.notice');
    expect(said.map(({ data }) => data?.['notices'])).toEqual([share(80, 'budget'), share(95, 'budget')]);
    // Recorded before the call may go on.
    const types = made.entries.map(({ type }) => type);
    expect(types.slice(types.indexOf('llm.notice') - 1, types.indexOf('llm.notice') + 2)).toEqual([
      'llm.reserve',
      'llm.notice',
      'llm.settle',
    ]);
  });

  test('of shares that were reached at once only the highest', async () => {
    const made = make();
    await spend(made, 990);
    expect(await spend(made, 1)).toEqual(share(95, 'budget'));
    expect(await spend(made, 1)).toEqual([]);
  });

  test('the budget of the day counts where it is the tighter one', async () => {
    const made = make({ repositoryDailyCost: 100 });
    await spend(made, 85);
    expect(await spend(made, 1)).toEqual(share(80, 'budget'));
  });

  test('turns and time', async () => {
    let elapsed = 0;
    const made = make({ maxTurns: 10, elapsed: () => elapsed });
    for (let turn = 1; turn <= 7; turn++) expect(await spend(made, 0)).toEqual([]);
    expect(await spend(made, 0)).toEqual(share(80, 'turns'));
    elapsed = 990;
    expect(await spend(made, 0)).toEqual(share(95, 'time'));
    expect(await spend(made, 0)).toEqual(share(95, 'turns'));
  });

  test('before the last call that the budget covers, however much of it is spent', async () => {
    const made = make();
    await spend(made, 500);
    expect(await spend(made, 300)).toEqual([expect.stringContaining('may not cover another request')]);
    expect(await spend(made, 100)).toEqual(share(80, 'budget'));
  });

  test('again, when it reached no model', async () => {
    const made = make();
    await spend(made, 820);
    expect(await spend(made, 0, { status: 529 })).toEqual(share(80, 'budget'));
    expect(await spend(made, 0, { tellable: false })).toEqual([]);
    expect(await spend(made, 0)).toEqual(share(80, 'budget'));
    expect(await spend(made, 0)).toEqual([]);
  });
});

test('a call waits for money that calls under way hold', async () => {
  const { at, capped } = make({ waitMs: 60_000 });
  await at.reserve(call('a', 900));
  const waits = at.reserve(call('b', 900));
  await at.settle({ callId: 'a', outcome: 'usage', cost: 100, status: 200, usage: tokens });
  expect(await waits).toMatchObject({ ok: true, granted: 900 });
  // What cannot come back is not waited for.
  expect(await at.reserve(call('c', 901))).toMatchObject({ ok: false, reason: 'llm_budget' });
  const waitsToo = at.reserve(call('d', 900));
  at.close();
  expect(await waitsToo).toMatchObject({ ok: false, reason: 'llm_closed' });
  expect(capped).toEqual([]);
});

test('a reservation of which nobody knows is given back', async () => {
  const ledger = createMemoryLedger();
  let broken = true;
  const { at, spent } = make({
    ledger: {
      ...ledger,
      reserve: async (request) => {
        const result = await ledger.reserve(request);
        if (broken) throw new Error('no answer within 5000 ms');
        return result;
      },
    },
  });
  await expect(at.reserve(call('a', 900))).rejects.toThrow('no answer');
  expect(await spent()).toEqual({ spent: 0, reserved: 0 });
  expect(at.usage().turns).toBe(0);
  broken = false;
  expect(await at.reserve(call('b', 900))).toMatchObject({ ok: true });
});

test('a settlement that the ledger did not take is made up for at the end, with the real price', async () => {
  const ledger = createMemoryLedger();
  let broken = true;
  const settle: typeof ledger.settle = (...args) =>
    broken ? Promise.reject(new Error('no answer')) : ledger.settle(...args);
  const { at, spent } = make({ ledger: { ...ledger, settle } });
  await at.reserve(call('a', 900));
  const end = { callId: 'a', outcome: 'usage' as const, cost: 7, status: 200, usage: tokens };
  await expect(at.settle(end)).rejects.toThrow('no answer');
  broken = false;
  await at.finish();
  expect(await spent()).toEqual({ spent: 7, reserved: 0 });
});

describe('a ledger that lost what it knew', () => {
  /** Every method goes to the newest of its ledgers. */
  function losing(): { ledger: Ledger; lose: () => void } {
    let now = createMemoryLedger();
    return {
      ledger: {
        reserve: (request) => now.reserve(request),
        settle: (...args) => now.settle(...args),
        release: (released) => now.release(released),
        spent: (account) => now.spent(account),
        recover: (runId) => now.recover(runId),
      },
      lose: () => (now = createMemoryLedger()),
    };
  }

  test('gives no run its budget again: what was settled', async () => {
    const { ledger, lose } = losing();
    const { at, spent, capped } = make({ ledger });
    await at.reserve(call('a', 100));
    await at.settle({ callId: 'a', outcome: 'usage', cost: 60, status: 200, usage: tokens });
    expect(await at.reserve(call('b', 100))).toMatchObject({ ok: true });
    lose();
    const answer = await at.reserve(call('c', 100));
    expect(answer).toMatchObject({ ok: false, reason: 'llm_unaccounted' });
    expect(answer).toHaveProperty('say', expect.stringContaining('has lost what this run spent'));
    expect(await spent()).toEqual({ spent: 0, reserved: 0 });
    expect([capped, at.usage()]).toEqual([[], expect.objectContaining({ cost: 60, turns: 2 })]);
  });

  test('nor what calls under way hold', async () => {
    const { ledger, lose } = losing();
    const { at } = make({ ledger, maxCost: 1_000 });
    await at.reserve(call('a', 700));
    lose();
    expect(await at.reserve(call('b', 300))).toMatchObject({ ok: true, granted: 300 });
    expect(await at.reserve(call('c', 1))).toMatchObject({ ok: false, reason: 'llm_unaccounted' });
  });
});

test('the end of one attempt leaves the calls of another alone', async () => {
  const ledger = createMemoryLedger();
  const [old, young] = [make({ ledger }), make({ ledger })];
  await old.at.reserve(call('a', 100));
  await young.at.reserve(call('b', 200));
  await old.at.finish();
  expect(await young.spent()).toEqual({ spent: 100, reserved: 200 });
});

test('after the end every call is refused and what was open counts as spent', async () => {
  const { at, spent, entries } = make();
  await at.reserve(call('a', 300));
  await at.finish();
  expect(await at.reserve(call('b', 1))).toMatchObject({ ok: false, reason: 'llm_closed' });
  await at.settle({ callId: 'a', outcome: 'usage', cost: 1, status: 200, usage: tokens });
  expect(await spent()).toEqual({ spent: 300, reserved: 0 });
  expect(at.usage().cost).toBe(300);
  expect(entries.at(-1)).toMatchObject({ type: 'llm.recover', data: { calls: 1, cost: 300 } });
});

test('a refusal is final only where no tighter bound follows', async () => {
  const { at, capped } = make({ maxCost: 100 });
  expect(await at.reserve({ ...call('a', 500), loose: true })).toMatchObject({ ok: false, reason: 'llm_budget' });
  expect(capped).toEqual([]);
  expect(await at.reserve(call('a', 90))).toMatchObject({ ok: true, granted: 90 });
  await at.settle({ callId: 'a', outcome: 'released', cost: 0, status: 500 });
  expect(await at.reserve(call('b', 500))).toMatchObject({ ok: false, reason: 'llm_budget' });
  expect(capped).toEqual(['max_cost']);
});
