import type { Decision } from '../domain/decision.ts';
import { CofferdamError } from '../domain/errors.ts';
import { repoKey, type Actor } from '../domain/run.ts';
import type { Permission } from '../domain/trigger.ts';
import { mayAsk, teamsToAsk, type TeamStanding } from '../policy/authority/may-ask.ts';
import type { Publisher } from '../run/ports.ts';
import type { Call, RepositoryRef } from './call.ts';
import { GitHubError, unless } from './failure.ts';
import type { PublisherOptions } from './publisher.ts';

export interface AuthorityVerbs {
  /** May this person make Cofferdam act here, now? About bots nobody is asked. Errors: `github`. */
  authority(actor: Actor, askers: readonly string[] | undefined): Promise<Decision>;
}

export function authorityVerbs(
  call: Call,
  options: {
    repository: RepositoryRef;
    permission: (login: string, id: number) => Promise<Permission | null>;
  },
): AuthorityVerbs {
  const { owner } = options.repository;
  return {
    async authority(actor, askers) {
      const early = mayAsk(actor, 'write');
      if (!early.allow) return early;
      const permission = await options.permission(actor.login, actor.id);
      let standing: TeamStanding = 'none';
      for (const slug of teamsToAsk(actor, permission, { owner, askers })) {
        standing = await standingIn(call, { org: owner, slug, login: actor.login });
        if (standing !== 'none') break;
      }
      return mayAsk(actor, permission, askers, standing);
    },
  };
}

/** Whoever was invited and has not accepted is no member, and of a team that is gone nobody is. */
async function standingIn(call: Call, team: { org: string; slug: string; login: string }): Promise<TeamStanding> {
  const { org, slug, login } = team;
  try {
    const answer = await unless(
      ['not_found'],
      call('github.team', { members: 'read', metadata: 'read' }, (octokit) =>
        octokit.rest.teams.getMembershipForUserInOrg({ org, team_slug: slug, username: login }),
      ),
    );
    return answer?.data.state === 'active' ? 'member' : 'none';
  } catch (thrown) {
    // The token is refused where the installation has not granted the permission, the call where it was taken back.
    const refused = thrown instanceof GitHubError && (thrown.kind === 'invalid' || thrown.kind === 'permission');
    if (refused) return 'unreadable';
    throw thrown;
  }
}

/** Whoever asked must still have the right when the result is published. Errors: `no_authority`, `github`. */
export async function checkAuthority(
  options: Pick<PublisherOptions, 'approvedBy' | 'request' | 'repository' | 'askers'>,
  audit: Parameters<Publisher['publish']>[0]['audit'],
): Promise<void> {
  const { request, repository } = options;
  const who = options.approvedBy ?? request.actor;
  const decision = await repository.authority(who, options.askers);
  const data = { login: who.login, ...(options.approvedBy === undefined ? {} : { requester: request.actor.login }) };
  await audit.append({ zone: 'github', type: 'publish.authority', decision, data });
  if (decision.allow) return;
  const { reason } = decision;
  const why =
    reason === 'teams_unreadable'
      ? `cannot be looked up in the teams of the policy's askers in ${repoKey(request.repo)}: grant the App the permission members: read`
      : reason === 'not_an_asker'
        ? "is not among the policy's askers any more"
        : 'has no write access any more';
  throw new CofferdamError('no_authority', 'github.publish', `${who.login} ${why}`);
}
