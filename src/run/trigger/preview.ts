import type { Decision } from '../../domain/decision.ts';
import type { FrozenText, PullHead } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import { freezeInput, type LeftOut } from './input.ts';
import type { InputRepository, TriggerRepository } from './ports.ts';

/** What would come of a trigger, without doing any of it. */
export interface TriggerPreview {
  decision: Decision;
  texts: FrozenText[];
  left: LeftOut[];
  /** The head that a run on a pull request would work on. */
  pull?: (PullHead & { open: boolean }) | undefined;
}

/** Reads what a run would be made of. Writes nothing, claims nothing. Errors: `github`. */
export async function previewTrigger(
  repository: InputRepository & Pick<TriggerRepository, 'authority' | 'pull'>,
  trigger: Trigger,
  askers?: readonly string[],
): Promise<TriggerPreview> {
  const { actor, source } = trigger;
  const decision = await repository.authority(actor, askers);
  const pull = source.isPull ? await repository.pull(source.number) : undefined;
  const left: LeftOut[] = [];
  // Somebody who may not ask is looked up like everybody else.
  const asked: Trigger = decision.allow ? trigger : { ...trigger, actor: { ...actor, login: '' } };
  const { texts } = await freezeInput(asked, repository, {
    frozenAt: trigger.happenedAt,
    pull,
    left: (out) => left.unshift(out),
  });
  return { decision, texts, left, ...(pull === undefined ? {} : { pull }) };
}
