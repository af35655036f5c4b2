import { createHash } from 'node:crypto';
import type { EgressEntry } from '../../domain/policy.ts';
import { type Command, type RunResult } from '../../domain/run.ts';
import { shortHash } from '../../domain/held.ts';
import { mayAdd } from './may-add.ts';

/** A button of a check run. GitHub takes 20 characters of label and identifier and 40 of description, and three buttons. */
export interface Button {
  label: string;
  description: string;
  identifier: string;
}

const MAX_BUTTONS = 3;
const AGAIN: readonly RunResult['state'][] = [
  'verify_failed',
  'no_change',
  'partial',
  'timed_out',
  'over_budget',
  'cancelled',
  'failed',
  'held',
];

/** Hosts that the run was refused and that people may add here: the only names of an agent that reach a button. */
export function allowableHosts(egress: RunResult['egress'], permitted: readonly EgressEntry[]): string[] {
  const refused = egress.filter(({ allow, reason }) => !allow && reason === 'not_allowed').map(({ host }) => host);
  const covered = refused.filter((name) => mayAdd(permitted, { name, methods: [] }).decision.allow);
  return [...new Set(covered)].slice(0, MAX_BUTTONS);
}

/** What makes sense to click when a run goes on. */
export const RUNNING_BUTTONS: readonly Button[] = [
  { label: 'Stop', description: 'Ends the run; nothing is kept', identifier: 'stop' },
];

/** What makes sense to click when a run is over. */
export function endButtons(result: RunResult, permitted: readonly EgressEntry[]): Button[] {
  const buttons: Button[] = [];
  if (result.held !== undefined) {
    const hash = shortHash(result.held.diffHash);
    buttons.push({ label: 'Publish', description: `Exactly the diff ${hash}`, identifier: `publish:${hash}` });
  }
  if (AGAIN.includes(result.state)) {
    buttons.push({ label: 'Retry', description: 'The same request once more', identifier: 'retry' });
  }
  for (const host of allowableHosts(result.egress, permitted)) {
    const description = host.length <= 40 ? host : `${host.slice(0, 39)}…`;
    buttons.push({ label: 'Allow host', description, identifier: `allow:${hostMark(host)}` });
  }
  return buttons.slice(0, MAX_BUTTONS);
}

/** A host in an identifier: names may be longer than that. */
function hostMark(host: string): string {
  return createHash('sha256').update(host).digest('hex').slice(0, 12);
}

/** What a click asks for. Undefined: no button of ours. `denied`: the hosts that the run's buttons stood for. */
export function buttonCommand(identifier: string, denied: readonly string[]): Command | undefined {
  const [name, mark] = identifier.split(':');
  if (identifier === 'retry' || identifier === 'stop') return { verb: identifier, text: '', flags: {} };
  if (name === 'publish' && /^[0-9a-f]{12}$/.test(mark ?? '')) return { verb: 'publish', text: mark ?? '', flags: {} };
  const host = name === 'allow' ? denied.find((one) => hostMark(one) === mark) : undefined;
  return host === undefined ? undefined : { verb: 'allow', text: host, flags: {} };
}
