/** Egress decisions. Hosts given here are canonical (`canonicalHost`), paths too (`canonicalPath`). Deny is checked before allow. */
import { allow, BUILT_IN, deny, type Decision } from '../../domain/decision.ts';
import type { EgressPolicy } from '../../domain/policy.ts';
import { GITHUB_READ, githubRuleFits, isGithubHost } from './github.ts';
import { matchesAllow, matchesDeny } from './host.ts';
import { matchesPath } from './path.ts';
import { fitsRegistry } from './registry.ts';

export type PolicyRule = EgressPolicy['rules'][number];

/** What refuses DNS over HTTPS, by path here and by media type where heads are read. */
export const DNS_OVER_HTTPS = `${BUILT_IN}: dns over https`;

/** Ports of a rule that names none. */
export const DEFAULT_PORTS: readonly number[] = [80, 443];
/** Methods of a rule that names none. Everything else (WebDAV, inventions, lower case) must be named. */
export const DEFAULT_METHODS: readonly string[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
/** What a rule may name: methods that the gateway's HTTP parser knows. TRACE would send back what the gateway added. */
const SERVED_METHODS: ReadonlySet<string> = new Set(
  `ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND
  PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE`.split(/\s+/),
);
/** Names of the services that the gateway itself answers; no rule may name a host below it. */
export const INTERNAL_SUFFIX = '.cofferdam.internal';

/** What a connection to an allowed host and port is bound by. */
export interface ConnectVerdict {
  decision: Decision;
  allowPrivate: boolean;
  /** Every rule of this host and port says pass-through. */
  passThrough: boolean;
  /** The name was allowed by a wildcard only: limits on look-ups apply. */
  wildcard: boolean;
}

export function isServedMethod(method: string): boolean {
  return SERVED_METHODS.has(method);
}

/** May a wildcard stand for the first label of this name? A long one is a message to whoever answers for the domain. */
export function judgeLabel(host: string, maxLength: number): Decision {
  const tooLong = (host.split('.')[0]?.length ?? 0) > maxLength;
  return tooLong ? deny('limit: wildcardLabel', 'name_limit') : allow('names');
}

/** How a rule is named in events and reports: where it came from and its host. */
export function ruleName(rule: PolicyRule): string {
  return `${rule.source}: ${rule.host}`;
}

/** The rules that name this host, on this port where one is given. */
export function rulesOf(policy: EgressPolicy, host: string, port?: number): PolicyRule[] {
  return policy.rules.filter(
    (rule) => matchesAllow(rule.host, host) && (port === undefined || (rule.ports ?? DEFAULT_PORTS).includes(port)),
  );
}

function denied(policy: EgressPolicy, host: string): (Decision & { allow: false }) | undefined {
  const pattern = policy.deny.find((entry) => matchesDeny(entry, host));
  return pattern === undefined ? undefined : deny(`deny: ${pattern}`, 'denied_by_policy');
}

/** May this name be looked up (and have an address allotted)? */
export function judgeName(policy: EgressPolicy, host: string): ConnectVerdict {
  const closed = { allowPrivate: false, passThrough: false, wildcard: false };
  const refused = denied(policy, host);
  if (refused) return { decision: refused, ...closed };
  const rules = rulesOf(policy, host);
  const [first] = rules;
  if (first === undefined) return { decision: deny('default', 'not_allowed'), ...closed };
  return { decision: allow(ruleName(first)), ...bounds(rules) };
}

/** May a connection to this host and port be opened? Address, server name and requests are judged after this. */
export function judgeConnect(policy: EgressPolicy, host: string, port: number): ConnectVerdict {
  const named = judgeName(policy, host);
  if (!named.decision.allow) return named;
  const rules = rulesOf(policy, host, port);
  const [first] = rules;
  if (first === undefined) {
    return { ...named, decision: deny(named.decision.rule, 'port_not_allowed') };
  }
  return { decision: allow(ruleName(first)), ...bounds(rules) };
}

function bounds(rules: PolicyRule[]): Omit<ConnectVerdict, 'decision'> {
  return {
    allowPrivate: rules.some((rule) => rule.allowPrivate === true),
    passThrough: rules.every((rule) => rule.passThrough === true),
    wildcard: rules.every((rule) => rule.host.startsWith('*.')),
  };
}

export interface RequestQuestion {
  host: string;
  port: number;
  method: string;
  /** Canonical, without the query. */
  path: string;
  /** Asks for a protocol change (WebSocket). */
  upgrade?: boolean;
  /** An allowed answer has just named exactly this address. */
  redirected?: boolean;
}

/** A verdict with the rule that allowed it, for what the rule adds (credential). */
export interface RequestVerdict {
  decision: Decision;
  rule?: PolicyRule;
}

/** May this request be sent? Each request of a kept-alive connection is asked anew. */
export function judgeRequest(policy: EgressPolicy, question: RequestQuestion): RequestVerdict {
  const connect = judgeConnect(policy, question.host, question.port);
  if (!connect.decision.allow) return { decision: connect.decision };
  // DNS over HTTPS on an allowed host would be a resolver that nobody judges.
  if (/\/dns-query\/?$/i.test(question.path)) return { decision: deny(DNS_OVER_HTTPS, 'not_allowed') };
  const rules = rulesOf(policy, question.host, question.port);
  const github = isGithubHost(question.host);
  const byMethod = rules.filter(
    (rule) =>
      (rule.methods ?? DEFAULT_METHODS).includes(question.method) && (!github || GITHUB_READ.includes(question.method)),
  );
  if (byMethod.length === 0) return { decision: deny(connect.decision.rule, 'method_not_allowed') };
  const byPath = byMethod.filter((rule) => fitsPath(policy, rule, question));
  const [first] = byPath;
  if (first === undefined) return { decision: deny(connect.decision.rule, 'path_not_allowed') };
  const chosen =
    question.upgrade === true ? byPath.find((rule) => rule.upgrade === true) : preferCredential(byPath, first);
  if (chosen === undefined) return { decision: deny(ruleName(first), 'upgrade_not_allowed') };
  return { decision: allow(ruleName(chosen)), rule: chosen };
}

function fitsPath(policy: EgressPolicy, rule: PolicyRule, question: RequestQuestion): boolean {
  if (rule.redirected === true) return question.redirected === true;
  if (isGithubHost(question.host)) return githubRuleFits(rule, policy, question);
  const matches = rule.paths?.some((pattern) => matchesPath(pattern, question.path)) ?? true;
  return matches && (rule.registry === undefined || fitsRegistry(question.path));
}

/** Of several rules that allow a request the one that adds a credential wins. */
function preferCredential(rules: PolicyRule[], first: PolicyRule): PolicyRule {
  return rules.find((rule) => rule.credential !== undefined) ?? first;
}
