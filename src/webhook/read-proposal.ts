import { PullProposed } from './payload.ts';
import { actionOf, actorOf, checked, repoOf, sourceOf, type Delivery, type TriggerReading } from './reading.ts';

/**
 * New commits of a pull request, whoever made them: the worker looks whether they change the configuration. Nobody asks for anything
 * here, so nobody needs a right; what they wrote stays out.
 */
export function readProposal(delivery: Delivery): TriggerReading {
  const parsed = PullProposed.safeParse(delivery.payload);
  if (!parsed.success) return { ignored: actionOf(delivery.payload) === 'opened' ? 'payload' : 'event' };
  const { action, pull_request: pull, sender, repository, installation } = parsed.data;
  const { ref, sha, repo } = pull.head;
  // The default branch itself, on its way elsewhere: what is on it is there already.
  if (repo?.id === repository.id && ref === repository.default_branch) return { ignored: 'event' };
  return checked({
    deliveryId: delivery.id,
    event: `pull_request.${action}`,
    key: `proposal:${repository.id}:${pull.number}:${sha}`,
    installationId: installation.id,
    repo: repoOf(repository),
    source: { ...sourceOf(pull, true), title: '' },
    actor: actorOf(sender),
    proposal: { head: sha, base: pull.base.sha },
    commands: [],
    problems: [],
    texts: [],
    happenedAt: pull.updated_at,
  });
}
