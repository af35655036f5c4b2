import { allow, deny, type Decision } from '../../domain/decision.ts';
import type { Actor } from '../../domain/run.ts';
import type { Permission } from '../../domain/trigger.ts';

/** Is this an account that a program uses? */
function isBot(actor: Pick<Actor, 'login' | 'type'>): boolean {
  return actor.type !== 'User' || /\[bot\]$/i.test(actor.login);
}

/**
 * May this person make Cofferdam act in this repository? Only people, only with write access, only by what the permission endpoint
 * says: an association in a payload says nothing about rights. `null`: the endpoint knows no such person. `askers`: of those, only
 * these; absent: all of them.
 */
export function mayAsk(
  actor: Pick<Actor, 'login' | 'type'>,
  permission: Permission | null,
  askers?: readonly string[],
): Decision {
  if (isBot(actor)) return deny('people only', 'bot');
  if (permission !== 'admin' && permission !== 'write') return deny('write access', 'no_write_access');
  if (askers === undefined) return allow('write access');
  const named = askers.some((login) => login.toLowerCase() === actor.login.toLowerCase());
  return named ? allow('write access and askers') : deny('askers', 'not_an_asker');
}
