/** Checks of a policy when it is loaded: what would be a hole or could never match is refused, with the line that is wrong. */
import { findProvider } from '@pydantic/genai-prices';
import { getPublicSuffix } from 'tldts';
import type { EgressPolicy } from '../../domain/policy.ts';
import { GITHUB_READ, isGithubHost } from './github.ts';
import { canonicalHost } from './host.ts';
import { nearest } from '../../domain/nearest.ts';
import { DEFAULT_METHODS, INTERNAL_SUFFIX, isServedMethod, ruleName, type PolicyRule } from './decide.ts';
import { canonicalPath } from './path.ts';

export interface PolicyProblem {
  rule: string;
  message: string;
}

/** Every problem of a settled policy; empty when it may be used. */
export function lintPolicy(policy: EgressPolicy): PolicyProblem[] {
  const rules = policy.rules.flatMap((rule) => lintRule(rule).map((message) => ({ rule: ruleName(rule), message })));
  const denials = policy.deny.flatMap((pattern) => {
    const message = lintHost(pattern);
    return message === undefined ? [] : [{ rule: `deny: ${pattern}`, message }];
  });
  return [...rules, ...denials];
}

function lintRule(rule: PolicyRule): string[] {
  const hostProblem = lintHost(rule.host);
  if (hostProblem !== undefined) return [hostProblem];
  const bare = rule.host.replace(/^\*\./, '');
  return [
    rule.host.startsWith('*.') && rule.unsafe !== true && isSharedSuffix(bare)
      ? `everybody can register a name below ${bare}: name the hosts, or add unsafe: true`
      : undefined,
    `.${bare}`.endsWith(INTERNAL_SUFFIX) ? 'names below cofferdam.internal belong to the gateway' : undefined,
    isModelHost(rule.host)
      ? 'hosts of model providers are reached through llm.providers only, where calls are metered'
      : undefined,
    rule.passThrough === true && (rule.methods ?? rule.paths ?? rule.credential ?? rule.upgrade) !== undefined
      ? 'methods, paths, upgrade and credential need TLS to be terminated: remove passThrough'
      : undefined,
    ...(rule.methods ?? [])
      .filter((method) => !isServedMethod(method))
      .map(
        (method) =>
          `method ${method} is never sent on: write one of HTTP's methods, such as ${nearest(method, DEFAULT_METHODS, 3) ?? 'GET'}`,
      ),
    isGithubHost(bare) && (rule.passThrough === true || rule.upgrade === true)
      ? 'GitHub is read by path, which needs TLS to be terminated: remove passThrough and upgrade'
      : undefined,
    isGithubHost(bare) && rule.methods?.some((method) => !GITHUB_READ.includes(method)) === true
      ? 'GitHub can be read only: what a run has to write is its pull request'
      : undefined,
    rule.credential !== undefined && rule.upgrade === true
      ? 'a credential is kept out of answers, which cannot be done for a WebSocket: give upgrade a rule of its own'
      : undefined,
    rule.credential !== undefined && rule.host.startsWith('*.') ? 'a credential needs an exact host' : undefined,
    ...(rule.paths ?? []).map(lintPath),
  ].filter((message) => message !== undefined);
}

function lintHost(pattern: string): string | undefined {
  const bare = pattern.startsWith('*.') ? pattern.slice(2) : pattern;
  const found = canonicalHost(bare);
  if (found.ok) return found.host === bare ? undefined : `write the host as ${found.host}`;
  if (found.reason === 'ip_literal')
    return 'IP addresses cannot be allowed: name the host (with allowPrivate when it is on your own network)';
  return 'not a host name: an exact name in ASCII (punycode), or *. and a suffix';
}

function lintPath(pattern: string): string | undefined {
  const probe = canonicalPath(pattern);
  if (!probe.ok || probe.query !== '')
    return `path ${pattern}: write a plain path pattern without query or dot segments`;
  return probe.path === pattern ? undefined : `path ${pattern}: write it as ${probe.path}`;
}

/** A suffix below which strangers can have names: the public suffix list, both of its parts; unknown top-level domains count too. */
function isSharedSuffix(suffix: string): boolean {
  return getPublicSuffix(suffix, { allowPrivateDomains: true }) === suffix;
}

/** Does the price library know this host as a model provider's API? A wildcard is asked with the usual first label. */
export function isModelHost(pattern: string): boolean {
  const host = pattern.replace(/^\*\./, 'api.');
  // The library's pattern for one provider covers the whole of a cloud's API domain.
  if (host.endsWith('.googleapis.com')) return /^(?:api|generativelanguage|.*aiplatform)\.googleapis\.com$/.test(host);
  return findProvider({ providerApiUrl: `https://${host}/` }) !== undefined;
}
