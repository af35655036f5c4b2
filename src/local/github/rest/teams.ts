import { GitHubError, notFound } from '../errors.ts';
import { apiUrl } from '../json/people.ts';
import { sameName, userOf } from '../world.ts';
import { ok, type Handlers } from './call.ts';

export const teamHandlers = {
  'teams/get-membership-for-user-in-org': ({ world, caller, path }) => {
    // An installation sees the teams of its own account.
    if (caller.kind !== 'installation' || !sameName(caller.installation.account, path.org))
      throw new GitHubError(403, 'Resource not accessible by integration');
    const team = world.state.teams.find((one) => sameName(one.org, path.org) && sameName(one.slug, path.team_slug));
    const { login } = userOf(world, path.username);
    const state = Object.entries(team?.members ?? {}).find(([member]) => sameName(member, login))?.[1];
    if (team === undefined || state === undefined) throw notFound();
    const url = apiUrl(world, `/organizations/${userOf(world, team.org).id}/team/${team.id}/memberships/${login}`);
    return ok({ state, role: 'member', url });
  },
} satisfies Partial<Handlers>;
