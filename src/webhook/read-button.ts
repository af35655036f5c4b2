import { ButtonClicked } from './payload.ts';
import { actionOf, actorOf, checked, isProgram, repoOf, type Delivery, type TriggerReading } from './reading.ts';

/** A button of a check run. What it stands for is with the run's record, which the worker looks up. */
export function readButton(delivery: Delivery): TriggerReading {
  const parsed = ButtonClicked.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'requested_action' ? 'payload' : 'event' };
  const { check_run: run, requested_action: action, sender, repository, installation } = parsed.data;
  if (isProgram(sender)) return { ignored: 'bot' };
  const [pull] = run.pull_requests;
  if (pull === undefined) return { ignored: 'not_ours' };
  return checked({
    deliveryId: delivery.id,
    event: 'check_run.requested_action',
    // Each person's click counts once: one that is refused takes nobody else's away.
    key: `button:${repository.id}:${run.id}:${action.identifier}:${sender.id}`,
    installationId: installation.id,
    repo: repoOf(repository),
    source: { number: pull.number, title: '', isPull: true, url: `${repository.html_url}/pull/${pull.number}` },
    actor: actorOf(sender),
    button: { runId: run.external_id, identifier: action.identifier },
    commands: [],
    problems: [],
    texts: [],
    happenedAt: run.completed_at ?? run.started_at ?? '',
  });
}
