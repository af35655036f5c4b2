import { parseRepositoryFile } from '../config/policy-file.ts';
import { settleLimits } from '../config/settle.ts';
import type { Limits, OperatorPolicy } from '../domain/policy.ts';
import { repoKey } from '../domain/run.ts';
import { ledgerDay, type Standing } from '../policy/llm/budget.ts';
import type { BudgetFacts } from '../policy/markdown/replies.ts';
import type { Ledger } from '../run/ledger.ts';
import type { RunRecord } from '../run/ports.ts';

/**
 * What a run may cost and take at most, before its repository's file was read: what was asked for, or the operator's limits. What
 * was asked for above them is refused when the run begins.
 */
export function ceilingsOf(policy: OperatorPolicy, flags: Readonly<Record<string, string>>): Limits {
  const file = parseRepositoryFile(null);
  const asked = { maxCost: flags['max-cost'], timeout: flags['timeout'], maxTurns: flags['max-turns'] };
  try {
    return settleLimits(policy, file, asked);
  } catch {
    return settleLimits(policy, file, {});
  }
}

/** Runs of the thread that are shown, newest first. */
const SHOWN = 3;

/** What `budget` answers on a thread: its newest runs, its repository and the installation as they stand. Errors: those of the ledger. */
export async function budgetOf(
  at: {
    ledger: Pick<Ledger, 'spent'>;
    records: { ofThread(thread: { owner: string; name: string; number: number }): Promise<RunRecord[]> };
    /** The installation's account. */
    payer: string;
    limits: Limits;
    now: Date;
  },
  { repo, number }: { repo: { owner: string; name: string }; number: number },
): Promise<BudgetFacts> {
  const { limits } = at;
  const spentOf = (runId: string): ReturnType<Ledger['spent']> =>
    at.ledger.spent({ runId, repoKey: repoKey(repo), installationKey: at.payer, day: ledgerDay(at.now.toISOString()) });
  const records = await at.records.ofThread({ owner: repo.owner, name: repo.name, number });
  const runs = records.slice(0, SHOWN).map(async ({ request: { runId }, maxCost }) => {
    return { runId, spent: used((await spentOf(runId)).run), cap: maxCost };
  });
  const { repository, installation } = await spentOf('none');
  return {
    maxCost: limits.maxCost,
    runs: await Promise.all(runs),
    repository: { spent: used(repository), cap: limits.repositoryDailyCost },
    installation: { spent: used(installation), cap: limits.installationDailyCost },
  };
}

function used({ spent, reserved }: Standing): number {
  return spent + reserved;
}
