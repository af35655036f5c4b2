import { freezeText } from '../../domain/freeze.ts';
import type { FrozenInput, FrozenText, PullHead } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import { mayAsk } from '../../policy/authority/may-ask.ts';
import { before, followUpTexts, type MayWrite } from './follow-up.ts';
import type { TriggerRepository } from './ports.ts';

/** Newest comments that are read, people whose rights are looked up, and characters of all comments together. */
const MAX_COMMENTS = 30;
const MAX_AUTHORS = 20;
const MAX_CHARS = 60_000;

/**
 * What the agent may see, frozen: the texts that the delivery carried, and the comments of people with write access that were
 * there at the trigger and have not been touched since. Other comments are left out.
 */
export async function freezeInput(
  trigger: Trigger,
  repository: TriggerRepository,
  options: { frozenAt: string; pull?: PullHead | undefined },
): Promise<FrozenInput> {
  const mayWrite = rights(repository, trigger);
  const carried: FrozenText[] = [];
  for (const text of trigger.texts) carried.push({ ...text, authorMayWrite: (await mayWrite(text.author)) === true });
  const known = new Set(trigger.texts.filter((text) => text.kind === 'comment').map((text) => text.id));
  const [thread, ...rest] = carried;
  const comments = await repository.comments(trigger.source.number);
  const eligible = comments
    .filter((one) => !one.ours && !known.has(one.id) && before(one.updatedAt, trigger.happenedAt))
    .slice(-MAX_COMMENTS);
  const spoken: FrozenText[] = [];
  let chars = 0;
  for (const comment of eligible.reverse()) {
    chars += comment.body.length;
    if (chars > MAX_CHARS) break;
    if ((await mayWrite(comment.author, comment.authorType)) !== true) continue;
    const { id, author, updatedAt, body } = comment;
    spoken.unshift({ ...freezeText({ kind: 'comment', id, author, updatedAt, body }), authorMayWrite: true });
  }
  const { pull, frozenAt } = options;
  const shown = pull === undefined ? [] : await followUpTexts({ trigger, repository, pull, mayWrite });
  return { texts: [...(thread === undefined ? [] : [thread]), ...spoken, ...rest, ...shown], frozenAt };
}

/** Looks each person up once; undefined when there are too many of them. */
function rights(repository: TriggerRepository, trigger: Trigger): MayWrite {
  // Whoever asked was looked up before.
  const known = new Map<string, Promise<boolean>>([[trigger.actor.login.toLowerCase(), Promise.resolve(true)]]);
  return async (login, type = 'User') => {
    const key = login.toLowerCase();
    const found = known.get(key);
    if (found !== undefined) return found;
    if (known.size > MAX_AUTHORS) return undefined;
    const asked = repository.permission(login).then((permission) => mayAsk({ login, type }, permission).allow);
    known.set(key, asked);
    return asked;
  };
}
