import type { Octokit } from '@octokit/rest';
import type { RunResult } from '../domain/run.ts';
import type { Call } from './call.ts';
import { unless } from './failure.ts';
import type { TokenPermissions } from './tokens.ts';

/** What a label says of the newest run of a thread. */
export type ThreadState = 'working' | 'needs-input' | 'failed';

const STATES: Record<ThreadState, { color: string; description: string }> = {
  working: { color: '1d76db', description: 'Cofferdam is working on this' },
  'needs-input': { color: 'fbca04', description: 'Cofferdam waits for a person' },
  failed: { color: 'd93f0b', description: 'Cofferdam could not do this' },
};
const LABELS: TokenPermissions = { issues: 'write', pull_requests: 'write', metadata: 'read' };

/** What stays on the thread when a run is over. */
export function stateAfter({ state }: Pick<RunResult, 'state'>): ThreadState | undefined {
  if (state === 'held' || state === 'needs_input') return 'needs-input';
  return state === 'failed' || state === 'timed_out' || state === 'over_budget' ? 'failed' : undefined;
}

/** Leaves exactly this one of the three labels `<label>:<state>` on the thread; one that the repository lacks is made. Errors: `github`. */
export async function setStateLabel(
  call: Call,
  options: { number: number; label: string; state: ThreadState | undefined },
): Promise<void> {
  const { number, label, state } = options;
  const nameOf = (one: string): string => `${label}:${one}`;
  const ask = <T>(use: (octokit: Octokit, at: { owner: string; repo: string }) => Promise<T>): Promise<T> =>
    call('github.setStateLabel', LABELS, use);
  const { data } = await ask(({ rest }, at) =>
    rest.issues.listLabelsOnIssue({ ...at, issue_number: number, per_page: 100 }),
  );
  const there = data.map(({ name }) => name.toLowerCase());
  for (const one of Object.keys(STATES)) {
    if (one === state || !there.includes(nameOf(one))) continue;
    const removed = ask(({ rest }, at) => rest.issues.removeLabel({ ...at, issue_number: number, name: nameOf(one) }));
    await unless(['not_found'], removed);
  }
  if (state === undefined || there.includes(nameOf(state))) return;
  const name = nameOf(state);
  const known = await unless(
    ['not_found'],
    ask(({ rest }, at) => rest.issues.getLabel({ ...at, name })),
  );
  if (known === null) {
    // Refused when somebody made it at the same time.
    await unless(
      ['invalid'],
      ask(({ rest }, at) => rest.issues.createLabel({ ...at, name, ...STATES[state] })),
    );
  }
  await ask(({ rest }, at) => rest.issues.addLabels({ ...at, issue_number: number, labels: [name] }));
}
