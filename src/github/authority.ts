import { CofferdamError } from '../domain/errors.ts';
import { mayAsk } from '../policy/authority/may-ask.ts';
import type { Publisher } from '../run/ports.ts';
import type { PublisherOptions } from './publisher.ts';

/** Whoever asked must still have the right when the result is published. Errors: `no_authority`, `github`. */
export async function checkAuthority(
  options: Pick<PublisherOptions, 'approvedBy' | 'request' | 'repository' | 'askers'>,
  audit: Parameters<Publisher['publish']>[0]['audit'],
): Promise<void> {
  const { request, repository } = options;
  const who = options.approvedBy ?? request.actor;
  const decision = mayAsk(who, await repository.permission(who.login, who.id), options.askers);
  const data = { login: who.login, ...(options.approvedBy === undefined ? {} : { requester: request.actor.login }) };
  await audit.append({ zone: 'github', type: 'publish.authority', decision, data });
  if (decision.allow) return;
  const why = decision.reason === 'not_an_asker' ? "is not among the policy's askers" : 'has no write access';
  throw new CofferdamError('no_authority', 'github.publish', `${who.login} ${why} any more`);
}
