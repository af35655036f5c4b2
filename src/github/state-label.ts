import type { RunResult } from '../domain/run.ts';
import type { Call } from './call.ts';
import { GitHubError } from './failure.ts';
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
  await call('github.setStateLabel', LABELS, async (octokit, at) => {
    const thread = { ...at, issue_number: number };
    const { data } = await octokit.rest.issues.listLabelsOnIssue({ ...thread, per_page: 100 });
    const there = data.map(({ name }) => name.toLowerCase());
    for (const one of Object.keys(STATES)) {
      if (one === state || !there.includes(nameOf(one))) continue;
      await octokit.rest.issues.removeLabel({ ...thread, name: nameOf(one) }).catch(unlessGone);
    }
    if (state === undefined || there.includes(nameOf(state))) return;
    const name = nameOf(state);
    const known = await octokit.rest.issues.getLabel({ ...at, name }).catch(unlessGone);
    if (known === undefined) await octokit.rest.issues.createLabel({ ...at, name, ...STATES[state] }).catch(unlessMade);
    await octokit.rest.issues.addLabels({ ...thread, labels: [name] });
  });
}

function unlessGone(thrown: unknown): undefined {
  if (statusOf(thrown) !== 404) throw thrown;
}

/** Somebody made it at the same time. */
function unlessMade(thrown: unknown): undefined {
  if (statusOf(thrown) !== 422) throw thrown;
}

function statusOf(thrown: unknown): unknown {
  if (thrown instanceof GitHubError) return thrown.status;
  return typeof thrown === 'object' && thrown !== null && 'status' in thrown ? thrown.status : undefined;
}
