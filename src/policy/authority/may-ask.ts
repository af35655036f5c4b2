import { allow, deny, type Decision } from '../../domain/decision.ts';
import type { Actor } from '../../domain/run.ts';
import type { Permission } from '../../domain/trigger.ts';

/** Is this an account that a program uses? */
export function isBot(actor: Pick<Actor, 'login' | 'type'>): boolean {
  return actor.type !== 'User' || /\[bot\]$/i.test(actor.login);
}

/** What GitHub says of somebody and the teams that the policy names; `unreadable`: the App may not ask. */
export type TeamStanding = 'member' | 'none' | 'unreadable';

/**
 * The teams that have to be asked about before it is decided, as slugs; none where nobody depends on them. Only teams of the
 * repository's own owner count: an installation sees no others, and another organisation's members are nobody here.
 */
export function teamsToAsk(
  actor: Pick<Actor, 'login' | 'type'>,
  permission: Permission | null,
  facts: { owner: string; askers: readonly string[] | undefined },
): string[] {
  const decision = mayAsk(actor, permission, facts.askers);
  if (decision.allow || decision.reason !== 'not_an_asker') return [];
  const named = (facts.askers ?? []).map((asker) => asker.toLowerCase().split('/'));
  return [...new Set(named.flatMap(([org, slug]) => (slug && org === facts.owner.toLowerCase() ? [slug] : [])))];
}

/**
 * May this person make Cofferdam act in this repository? Only people, only with write access, only by what the permission endpoint
 * says: an association in a payload says nothing about rights. `null`: the endpoint knows no such person. `askers`: of those, only
 * these and the members of these teams; absent: all of them.
 */
export function mayAsk(
  actor: Pick<Actor, 'login' | 'type'>,
  permission: Permission | null,
  askers?: readonly string[],
  teams: TeamStanding = 'none',
): Decision {
  if (isBot(actor)) return deny('people only', 'bot');
  if (permission !== 'admin' && permission !== 'write') return deny('write access', 'no_write_access');
  if (askers === undefined) return allow('write access');
  const named = askers.some((login) => login.toLowerCase() === actor.login.toLowerCase());
  if (named) return allow('write access and askers');
  if (teams === 'member') return allow('write access and a team of askers');
  return deny('askers', teams === 'unreadable' ? 'teams_unreadable' : 'not_an_asker');
}
