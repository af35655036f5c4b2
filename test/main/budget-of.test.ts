import { expect, test } from 'vitest';
import { OperatorPolicy, type Limits } from '../../src/domain/policy.ts';
import { budgetOf, ceilingsOf } from '../../src/main/budget-of.ts';
import { budgetReply } from '../../src/policy/markdown/replies.ts';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import type { RunRecord } from '../../src/run/ports.ts';

const caps = { run: 5_000_000, repository: 20_000_000, installation: 50_000_000 };
const limits = {
  maxCost: caps.run,
  repositoryDailyCost: caps.repository,
  installationDailyCost: caps.installation,
} as Limits;
const repo = { owner: 'octo', name: 'shop' };

test('budget shows what run, repository and installation have spent and what is left of each', async () => {
  const ledger = createMemoryLedger();
  const account = { repoKey: 'octo/shop', installationKey: 'i', day: '2026-11-26' };
  const held = await ledger.reserve({ ...account, runId: 'now', callId: 'a', amount: 900_000, caps });
  if (!held.ok) throw new Error('refused');
  await ledger.settle(held.reservation, 500_000);
  // Under way: it counts as used.
  await ledger.reserve({ ...account, runId: 'now', callId: 'b', amount: 250_000, caps });
  const before = await ledger.reserve({ ...account, day: '2026-11-25', runId: 'old', callId: 'c', amount: 1e6, caps });
  if (before.ok) await ledger.settle(before.reservation, 1_000_000);
  const records = [
    { request: { runId: 'next' } },
    { request: { runId: 'now' }, maxCost: 2_000_000 },
    { request: { runId: 'old' }, maxCost: 5_000_000 },
    { request: { runId: 'older' }, maxCost: 5_000_000 },
  ] as RunRecord[];
  const facts = await budgetOf(
    {
      ledger,
      records: { ofThread: (thread) => Promise.resolve(thread.number === 7 ? records : []) },
      payer: 'i',
      limits,
      now: new Date('2026-11-26T23:59:59Z'),
    },
    { repo, number: 7 },
  );
  expect(budgetReply(facts).split('\n').slice(2)).toEqual([
    '| Run `next` | $0.00 | – | – |',
    '| Run `now` | $0.75 | $2.00 | $1.25 |',
    '| Run `old` | $1.00 | $5.00 | $4.00 |',
    '| Today (UTC), this repository | $0.75 | $20.00 | $19.25 |',
    '| Today (UTC), this installation | $0.75 | $50.00 | $49.25 |',
    '',
    'One run may cost $5.00.',
  ]);
});

test.each([
  [{}, 5_000_000, 30],
  [{ 'max-cost': '1.50', timeout: '10m' }, 1_500_000, 10],
  [{ 'max-cost': '99' }, 5_000_000, 30],
])('a run that waits with %j may take so much at most', (flags, maxCost, minutes) => {
  const policy = OperatorPolicy.parse({ egress: { allow: [] }, limits: { maxCostUsd: 5, timeoutMinutes: 30 } });
  expect(ceilingsOf(policy, flags as Record<string, string>)).toMatchObject({ maxCost, timeoutMs: minutes * 60_000 });
});
