import { deny, type Decision } from '../../domain/decision.ts';
import { askedBy, repoKey, type ReactionTarget } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import { REFUSAL_MARKER, refusalReply, replyMarker } from '../../policy/markdown/replies.ts';
import type { TriggerPorts, TriggerRepository } from './ports.ts';

/** A trigger that is being handled, and what was decided about it. */
export interface Handling {
  ports: TriggerPorts;
  trigger: Trigger;
  repository: TriggerRepository;
  decision: Decision;
}

/** A no that people see: a reaction each time, a comment once per thread, so that nobody can make the bot talk. */
export async function refuse(handling: Handling, decision: Decision & { allow: false }): Promise<void> {
  const { ports, trigger, repository } = handling;
  await repository.react(targetOf(trigger), 'confused', trigger.source.number);
  if (trigger.label !== undefined) await repository.removeLabel(trigger.source.number, trigger.label);
  // Several at the same time would all find that nothing was said yet.
  const key = `refusal:${repoKey(trigger.repo)}#${trigger.source.number}:${decision.reason}`;
  if ((await ports.claim({ ...trigger, key }, [])) === null) return;
  const text = refusalReply(decision.reason, { login: trigger.actor.login });
  const marker = `${REFUSAL_MARKER.replace(' -->', '')} ${decision.reason} -->`;
  await once(handling, marker, text);
}

/** A refusal for another reason than missing rights: recorded, then shown. */
export async function refuseFor(
  handling: Handling,
  rule: string,
  reason: 'closed' | 'queue_full',
  options: { silent?: boolean } = {},
): Promise<void> {
  const { ports, trigger } = handling;
  const decision = deny(rule, reason);
  await ports.audit({ type: 'trigger.refused', trigger, decision, data: {} });
  await handling.repository.react(targetOf(trigger), 'confused', trigger.source.number);
  // The reaction is a no that can be seen; in a storm it is enough.
  if (options.silent === true) return;
  await reply(handling, refusalReply(reason, { login: trigger.actor.login }), reason);
}

/** An answer to this delivery, once. */
export async function reply(handling: Handling, text: string, key: string): Promise<void> {
  await once(handling, replyMarker(`${handling.trigger.deliveryId}-${key}`), text);
}

/** An answer with this first line, unless it was given already. */
export async function once({ repository, trigger }: Handling, marker: string, text: string): Promise<void> {
  const { number } = trigger.source;
  const comments = await repository.comments(number);
  if (comments.some((comment) => comment.ours && comment.body.startsWith(marker))) return;
  await repository.createComment(number, `${marker}\n${text}`);
}

/** What the reaction goes to: the command, or the thread that got the label. */
export function targetOf(trigger: Trigger): ReactionTarget {
  return askedBy(trigger.source);
}

export function threadOf(trigger: Trigger): { owner: string; name: string; number: number } {
  return { owner: trigger.repo.owner, name: trigger.repo.name, number: trigger.source.number };
}

/** When it was said (ISO 8601); a click does not tell. */
export function saidAt(trigger: Trigger): string | undefined {
  return trigger.button === undefined ? trigger.happenedAt : undefined;
}
