import { freezeText } from '../../domain/freeze.ts';
import type { FrozenInput, FrozenText, PullHead } from '../../domain/run.ts';
import type { Trigger } from '../../domain/trigger.ts';
import { mayAsk } from '../../policy/authority/may-ask.ts';
import { before, followUpTexts, type MayWrite } from './follow-up.ts';
import { pointedAt } from './pointed.ts';
import type { InputRepository } from './ports.ts';

/** Newest comments that are read, people whose rights are looked up, and characters of all comments together. */
const MAX_COMMENTS = 30;
const MAX_AUTHORS = 20;
const MAX_CHARS = 60_000;

/** A comment that the agent does not see, and why. */
export interface LeftOut {
  text: FrozenText;
  why: 'own' | 'later' | 'older' | 'length' | 'no_write_access' | 'too_many_people';
}

/**
 * What the agent may see, frozen: the texts that the delivery carried, and the comments of people with write access that were
 * there at the trigger and have not been touched since, and those that the request points at, whoever wrote them. Other comments are
 * left out; `left` hears of each.
 */
export async function freezeInput(
  trigger: Trigger,
  repository: InputRepository,
  options: { frozenAt: string; pull?: PullHead | undefined; left?: (out: LeftOut) => void },
): Promise<FrozenInput> {
  const mayWrite = rights(repository, trigger);
  const carried: FrozenText[] = [];
  for (const text of trigger.texts)
    carried.push({ ...text, authorMayWrite: (await mayWrite(text.author, { id: text.authorId })) === true });
  const known = new Set(trigger.texts.filter((text) => text.kind === 'comment').map((text) => text.id));
  const [thread, ...rest] = carried;
  const comments = (await repository.comments(trigger.source.number)).filter((one) => !known.has(one.id));
  const pointed = pointedAt(
    trigger.texts.filter(({ kind }) => kind === 'comment' || kind === 'review'),
    comments,
  );
  const spoken: FrozenText[] = [];
  let chars = 0;
  let read = 0;
  for (const comment of comments.reverse()) {
    const { id, author, authorId, authorType, updatedAt, body } = comment;
    const text = freezeText({ kind: 'comment', id, author, authorId, updatedAt, body });
    const out = (why: LeftOut['why']): void => options.left?.({ text, why });
    if (comment.ours) out('own');
    else if (!before(updatedAt, trigger.happenedAt)) out('later');
    else if (read >= MAX_COMMENTS && !pointed.has(id)) out('older');
    else {
      read += 1;
      chars += body.length;
      const right = chars > MAX_CHARS ? 'length' : await mayWrite(author, { id: authorId, type: authorType });
      const vouched = right !== 'length' && pointed.has(id);
      if (right === true || vouched) spoken.unshift({ ...text, authorMayWrite: right === true });
      else out(right === 'length' ? right : right === false ? 'no_write_access' : 'too_many_people');
    }
  }
  const { pull, frozenAt } = options;
  const shown = pull === undefined ? [] : await followUpTexts({ trigger, repository, pull, mayWrite });
  return { texts: [...(thread === undefined ? [] : [thread]), ...spoken, ...rest, ...shown], frozenAt };
}

/** Looks each person up once, by the account where it is known; undefined when there are too many of them. */
function rights(repository: InputRepository, trigger: Trigger): MayWrite {
  const keyOf = (login: string, id: number | undefined): string => `${login.toLowerCase()} ${id ?? ''}`;
  const { actor } = trigger;
  // Whoever asked was looked up before.
  const asked = Promise.resolve(true);
  const known = new Map([
    [keyOf(actor.login, actor.id), asked],
    [keyOf(actor.login, undefined), asked],
  ]);
  return async (login, { id, type = 'User' } = {}) => {
    const key = keyOf(login, id);
    const found = known.get(key);
    if (found !== undefined) return found;
    if (known.size > MAX_AUTHORS + 1) return undefined;
    const looked = repository.permission(login, id).then((permission) => mayAsk({ login, type }, permission).allow);
    known.set(key, looked);
    return looked;
  };
}
