import type { AuditEvent } from '../../domain/audit.ts';
import { field, listAt, numberAt, textAt } from './field.ts';

/** All that a run had to do with one host and port. Port 0: only its name was asked for. */
export interface HostFact {
  host: string;
  port: number;
  /** Connections that went on. */
  allowed: number;
  /** HTTP requests that went on, where the gateway sees them. */
  requests: number;
  denied: number;
  /** Denied attempts that the sandbox's self-test made on purpose, before anything of the task ran. */
  probes: number;
  bytesIn: number;
  bytesOut: number;
  rules: string[];
  /** Why it was denied, with counts. */
  reasons: Record<string, number>;
  firstMs: number;
  lastMs: number;
}

export interface NetworkStory {
  /** In the order of their first appearance. */
  hosts: HostFact[];
  /** Denials of hosts beyond those that are kept one by one. */
  overflow: number;
  allowed: number;
  bytesIn: number;
  bytesOut: number;
}

const MAX_HOSTS = 2_000;
const MAX_RULES = 8;
const MAX_REASONS = 20;
/** A name of the DNS has 253 characters; what is longer is none. */
const MAX_NAME = 300;
/** A name that cannot exist: only the self-test asks for it. */
const SELF_TEST_NAME = 'cofferdam-self-test.invalid';

export interface Network {
  take: (event: AuditEvent) => void;
  selfTest: (event: AuditEvent) => void;
  story: NetworkStory;
}

/** Who was spoken to: decisions, counts of repeated denials, bytes of connections that ended. */
export function createNetwork(): Network {
  const hosts = new Map<string, HostFact>();
  const story: NetworkStory = { hosts: [], overflow: 0, allowed: 0, bytesIn: 0, bytesOut: 0 };

  function hostOf(event: AuditEvent): HostFact | undefined {
    const host = (textAt(event.data, 'host') ?? '').slice(0, MAX_NAME);
    const port = numberAt(event.data, 'port') ?? 0;
    const key = `${host}|${port}`;
    const known = hosts.get(key);
    if (known !== undefined) return known;
    if (hosts.size >= MAX_HOSTS) return undefined;
    const fresh: HostFact = {
      host,
      port,
      allowed: 0,
      requests: 0,
      denied: 0,
      probes: 0,
      bytesIn: 0,
      bytesOut: 0,
      rules: [],
      reasons: {},
      firstMs: event.mono,
      lastMs: event.mono,
    };
    hosts.set(key, fresh);
    story.hosts.push(fresh);
    return fresh;
  }

  function deny(event: AuditEvent, reason: string): void {
    // A repeated denial is written with the number of times since the last record.
    const count = event.type === 'egress.repeated' ? (numberAt(event.data, 'more') ?? 0) : 1;
    const found = hostOf(event);
    if (found === undefined) story.overflow += count;
    else {
      found.denied += count;
      if (Object.hasOwn(found.reasons, reason) || Object.keys(found.reasons).length < MAX_REASONS)
        found.reasons[reason] = (found.reasons[reason] ?? 0) + count;
      found.lastMs = event.mono;
    }
    if (found?.host === SELF_TEST_NAME) found.probes = found.denied;
  }

  function allow(event: AuditEvent, rule: string): void {
    // A name that was given an address is not traffic yet.
    if (event.type !== 'egress.connect' && event.type !== 'egress.request') return;
    const found = hostOf(event);
    if (event.type === 'egress.connect') story.allowed += 1;
    if (found === undefined) return;
    if (event.type === 'egress.connect') found.allowed += 1;
    else found.requests += 1;
    found.lastMs = event.mono;
    if (found.rules.length < MAX_RULES && !found.rules.includes(rule)) found.rules.push(rule);
  }

  function traffic(event: AuditEvent): void {
    const bytesIn = numberAt(event.data, 'bytesIn') ?? 0;
    const bytesOut = numberAt(event.data, 'bytesOut') ?? 0;
    story.bytesIn += bytesIn;
    story.bytesOut += bytesOut;
    const found = hostOf(event);
    if (found === undefined) return;
    found.bytesIn += bytesIn;
    found.bytesOut += bytesOut;
    found.lastMs = event.mono;
  }

  return {
    story,
    take(event) {
      const { decision } = event;
      if (decision === undefined) {
        if (field(event.data, 'bytesIn') !== undefined) traffic(event);
      } else if (decision.allow) allow(event, decision.rule);
      else deny(event, decision.reason);
    },
    selfTest(event) {
      for (const check of listAt(event.data, 'checks')) {
        const [, host, port] = /^(\S+):(\d+) refused/.exec(textAt(check, 'observed') ?? '') ?? [];
        const found = host === undefined ? undefined : hosts.get(`${host}|${Number(port)}`);
        if (found !== undefined) found.probes += 1;
      }
    },
  };
}

/** Denied attempts that the self-test did not make. */
export function attempts(host: HostFact): number {
  return Math.max(0, host.denied - host.probes);
}

/** All denied attempts of a run that the self-test did not make. */
export function allAttempts(network: NetworkStory): number {
  return network.hosts.reduce((sum, host) => sum + attempts(host), network.overflow);
}
