/** What a person is told about a denial: of what kind it is, and the line of policy that would allow it. */
import type { DenyReason } from '../../domain/decision.ts';
import type { EgressEntry } from '../../domain/policy.ts';
import { GITHUB_READ, githubRepository, isGithubHost } from './github.ts';
import { isModelHost } from './lint.ts';

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

/** The line that an operator would add under `egress.allow`; undefined for what no line allows. */
export function wouldAllow(asked: Asked, reason: DenyReason): string | undefined {
  const { host, port, method, path } = asked;
  if (isModelHost(host) || isReverse(host) || (isGithubHost(host) && !isGithubLine(asked, reason))) return undefined;
  switch (reason) {
    case 'not_allowed':
      if (host.endsWith('.cofferdam.internal')) return undefined;
      return `- { host: ${host}${[0, 80, 443].includes(port) ? '' : `, ports: [${port}]`} }`;
    case 'port_not_allowed':
      return `- { host: ${host}, ports: [${port}] }`;
    case 'method_not_allowed':
      return method === undefined ? undefined : `- { host: ${host}, methods: [${method}]${pathOf(path)} }`;
    case 'path_not_allowed':
      return path === undefined ? undefined : `- { host: ${host}, methods: [${method ?? 'GET'}]${pathOf(path)} }`;
    case 'upgrade_not_allowed':
      return `- { host: ${host}, upgrade: true }`;
    case 'address_forbidden':
      return `- { host: ${host}, allowPrivate: true }`;
    default:
      return undefined;
  }
}

/** The name by which an address is looked up. */
function isReverse(host: string): boolean {
  return host.endsWith('.in-addr.arpa') || host.endsWith('.ip6.arpa');
}

/** Of GitHub a line can allow reads that name a repository. */
function isGithubLine({ host, method = 'GET', path }: Asked, reason: DenyReason): boolean {
  if (reason === 'not_allowed') return true;
  return GITHUB_READ.includes(method) && path !== undefined && githubRepository(host, path) !== undefined;
}

function pathOf(path: string | undefined): string {
  return path === undefined ? '' : `, paths: [${JSON.stringify(path)}]`;
}

/** An entry of an allowlist in one line: its name, and how far it is narrowed. */
export function entryText(entry: EgressEntry): string {
  if (typeof entry === 'string') return entry;
  const { host, ports, methods, paths } = entry;
  return [host, ports?.map((port) => `:${port}`).join(' '), methods?.join(' '), paths?.join(' ')]
    .filter((part) => part !== undefined)
    .join(' ');
}
