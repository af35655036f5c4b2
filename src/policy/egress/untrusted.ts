/** What a person is told about a client that does not take the run's certificate. */
import type { EgressPolicy } from '../../domain/policy.ts';
import { rulesOf } from './decide.ts';
import { isGithubHost } from './github.ts';

/**
 * What helps a client that broke off its handshake: it pins certificates, or has a list of authorities of its own. The path
 * is the sandbox's. Passing through is named only where a policy that says so can be loaded.
 */
export function untrustedHint(policy: EgressPolicy, at: { host: string; port: number }): string {
  const { host, port } = at;
  const own =
    "the client may not trust the run's authority: it has to read /run/cofferdam/ca.pem, to which SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, DENO_CERT and others point in the environment of every command, or which it takes by an option of its own";
  const isRead = isGithubHost(host) || rulesOf(policy, host, port).some((rule) => rule.registry !== undefined);
  if (isRead) return `${own}; what is allowed of ${host} depends on the path, so its TLS cannot be passed through`;
  return `${own}; or an operator can add passThrough: true to the rule of ${host}, which then may not have methods, paths, upgrade or credential`;
}
