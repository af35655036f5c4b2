import { repoKey, type RunRequest } from '../../domain/run.ts';
import { stormReply, stormMarker } from '../../policy/markdown/replies.ts';
import { once, type Handling } from './answer.ts';

/** From this many open runs of one person in one repository on, those that wait are not announced one by one. */
const STORM = 5;

/** Does this run come in a storm of its person's? */
export function inStorm(mine: number): boolean {
  return mine >= STORM;
}

/**
 * Instead of a comment on each thread that only says "it waits": one a day for the person and the repository, on the thread of the
 * first run that is not announced, with what the day may still cost. The others get their 👀, and their status comment when they begin.
 */
export async function summarise(handling: Handling, request: RunRequest): Promise<void> {
  const { ports, trigger } = handling;
  const day = ports.now().slice(0, 10);
  const key = `storm:${repoKey(request.repo)}:${request.actor.id}:${day}`;
  if ((await ports.claim({ ...trigger, key }, [])) === null) return;
  const facts = { login: request.actor.login, announced: STORM, prefix: ports.help.prefix };
  await once(handling, stormMarker(day), stormReply({ ...facts, budget: await ports.budget(trigger) }));
}

/** Is this the first of a person's requests today that the full queue turns away? The others get the reaction only. */
export async function firstTurnedAway({ ports, trigger }: Handling): Promise<boolean> {
  const key = `queue-full:${repoKey(trigger.repo)}:${trigger.actor.id}:${ports.now().slice(0, 10)}`;
  return (await ports.claim({ ...trigger, key }, [])) !== null;
}
