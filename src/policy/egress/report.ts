/** What a person is told about a denial: of what kind it is, and the line of policy that would allow it. */
import { BUILT_IN, UPSTREAM, type Decision, type DenyReason } from '../../domain/decision.ts';
import type { EgressEntry } from '../../domain/policy.ts';
import { DEFAULT_PORTS, INTERNAL_SUFFIX, isServedMethod } from './decide.ts';
import { GITHUB_READ, githubRepository, isGithubHost, isReadableGithub } from './github.ts';
import { canonicalHost } from './host.ts';
import { isModelHost } from './lint.ts';
import { canonicalPath } from './path.ts';

export interface Asked {
  host: string;
  /** 0 for a look-up of a name. */
  port: number;
  method?: string;
  path?: string;
}

/**
 * `telemetry`: a tool that reports home, nothing is missed. `needed`: the work may want it. `suspicious`: no honest client
 * does this.
 */
export type DenialClass = 'telemetry' | 'needed' | 'suspicious';

const REPORTING =
  /(?:^|[.-])(?:telemetry|analytics?|metrics?|stats|statsig|statsigapi|sentry|segment|posthog|amplitude|mixpanel|datadoghq|honeycomb|bugsnag|rollbar|newrelic|google-analytics|googletagmanager|crashlytics|app-measurement|events?|beacon|tracking|otel|otlp)(?=[.\d-]|$)/;

/** What only a mistake in an honest client, or an attempt to get around the rules, leads to. */
const SUSPICIOUS: ReadonlySet<DenyReason> = new Set([
  'malformed',
  'ip_literal',
  'address_forbidden',
  'denied_by_policy',
  'name_limit',
  'miss_limit',
  'bytes_limit',
  'too_many_connections',
  'not_tls',
  'sni_missing',
  'sni_mismatch',
  'ech_refused',
  'host_mismatch',
  'too_large',
  'git_push',
]);

export function classOf(asked: Asked, reason: DenyReason): DenialClass {
  if (reason === 'method_not_allowed' && asked.method !== 'GET' && asked.method !== 'HEAD') return 'suspicious';
  if (SUSPICIOUS.has(reason) || METADATA_NAMES.has(asked.host) || isModelHost(asked.host)) return 'suspicious';
  // A name without such a record, and one for an address: a client asks, and goes on without.
  if (reason === 'record_type' || isReverse(asked.host)) return 'telemetry';
  return REPORTING.test(asked.host) ? 'telemetry' : 'needed';
}

/** Names by which clouds give their machines' credentials away. */
const METADATA_NAMES = new Set(['metadata.google.internal', 'metadata', 'instance-data', 'instance-data.ec2.internal']);

/**
 * The line that an operator would add under `egress.allow`; undefined for what no line allows. With it the policy is accepted, and
 * what was refused is not refused again.
 */
export function wouldAllow(asked: Asked, decision: Decision & { allow: false }): string | undefined {
  const { host } = asked;
  if (decision.rule.startsWith(BUILT_IN) || decision.rule === UPSTREAM || !isAllowable(asked, decision.reason))
    return undefined;
  const at = `host: ${scalar(host)}${portsOf(asked)}`;
  switch (decision.reason) {
    case 'not_allowed':
    case 'port_not_allowed':
      return `- { ${at} }`;
    case 'method_not_allowed':
    case 'path_not_allowed':
      return requestLine(at, asked);
    case 'upgrade_not_allowed':
      return `- { ${at}, upgrade: true }`;
    case 'address_forbidden':
      return `- { ${at}, allowPrivate: true }`;
    default:
      return undefined;
  }
}

/** May a rule name this host at all? */
function isAllowable(asked: Asked, reason: DenyReason): boolean {
  const { host } = asked;
  if (isModelHost(host) || isReverse(host) || METADATA_NAMES.has(host) || host.endsWith(INTERNAL_SUFFIX)) return false;
  return canonicalHost(host).ok && (!isGithubHost(host) || isGithubLine(asked, reason));
}

/** Where a rule without ports would not do. Port 0 is a look-up. */
function portsOf({ port }: Asked): string {
  return port === 0 || DEFAULT_PORTS.includes(port) ? '' : `, ports: [${port}]`;
}

function requestLine(at: string, { method = 'GET', path }: Asked): string | undefined {
  if (!isServedMethod(method)) return undefined;
  if (path === undefined) return `- { ${at}, methods: [${method}] }`;
  const canonical = canonicalPath(path);
  return canonical.ok ? `- { ${at}, methods: [${method}], paths: [${JSON.stringify(canonical.path)}] }` : undefined;
}

/** A name that YAML would read as a number, a truth or nothing is quoted. */
function scalar(host: string): string {
  return /^[a-z].*\.|\.[a-z]+$/.test(host) ? host : JSON.stringify(host);
}

/** The name by which an address is looked up. */
function isReverse(host: string): boolean {
  return host.endsWith('.in-addr.arpa') || host.endsWith('.ip6.arpa');
}

/** Of GitHub a line can allow reads that name a repository. */
function isGithubLine({ host, method = 'GET', path }: Asked, reason: DenyReason): boolean {
  if (reason === 'not_allowed' || reason === 'port_not_allowed') return isReadableGithub(host);
  const request = reason === 'method_not_allowed' || reason === 'path_not_allowed';
  return request && GITHUB_READ.includes(method) && path !== undefined && githubRepository(host, path) !== undefined;
}

/** An entry of an allowlist in one line: its name, and how far it is narrowed. */
export function entryText(entry: EgressEntry): string {
  if (typeof entry === 'string') return entry;
  const { host, ports, methods, paths } = entry;
  return [host, ports?.map((port) => `:${port}`).join(' '), methods?.join(' '), paths?.join(' ')]
    .filter((part) => part !== undefined)
    .join(' ');
}
