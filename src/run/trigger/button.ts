import { repoKey } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import { buttonCommand } from '../../policy/authority/buttons.ts';
import type { TriggerPorts } from './ports.ts';

/** The click as what it asks for, on the thread and the frozen texts of its run. Null: no such run here, or no button of ours. */
export async function clicked(ports: TriggerPorts, trigger: Trigger): Promise<Trigger | null> {
  if (trigger.button === undefined) return trigger;
  const { runId, identifier } = trigger.button;
  const record = await ports.runs.load(runId);
  // An external id is what a payload says: a run of another repository is none of this one's business.
  if (record === null || repoKey(record.request.repo) !== repoKey(trigger.repo)) return null;
  const command = buttonCommand(identifier, record.denied ?? []);
  if (command === undefined) return null;
  const { number, title, isPull, url } = record.request.source;
  const { texts } = record.request.input;
  return { ...trigger, source: { number, title, isPull, url }, commands: [command], texts };
}
