/** Names of one run and the addresses that stand for them inside the sandbox. Nothing is looked up here. */
import { allow, BUILT_IN, deny, type Decision } from '../domain/decision.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import { INTERNAL_SUFFIX, judgeLabel, judgeName } from '../policy/egress/decide.ts';
import { canonicalHost } from '../policy/egress/host.ts';
import type { GatewayLimits } from './limits.ts';
import { printable, type Recorder } from './recorder.ts';

export interface NameAnswer {
  decision: Decision;
  /** The host in canonical form, when it is one. */
  host?: string;
  address?: string;
}

export interface Names {
  /** An address for a name that the policy could allow; recorded before it is answered, once for each name. */
  answer(raw: string): Promise<NameAnswer>;
  /** A record of another type than an address was asked for. There is none of any name; that it was asked for is recorded. */
  refuse(raw: string, type: number): Promise<NameAnswer>;
  /** Limits on names, without an address: asked before the host's resolver is. */
  admit(host: string, wildcard: boolean): Decision;
}

/** First address of the pool after the sandbox's own 198.18.0.1, and its size (198.18.0.0/15 without the last). */
const FIRST = 2;
const LAST = 0x1fffe;

/** Types of records that clients ask for by name. */
const RECORDS: Readonly<Record<number, string>> = {
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  10: 'NULL',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  33: 'SRV',
  35: 'NAPTR',
  255: 'ANY',
  257: 'CAA',
};

export function createNames(options: {
  policy: EgressPolicy;
  limits: Pick<GatewayLimits, 'names' | 'wildcardNames' | 'wildcardLabel'>;
  recorder: Recorder;
  /** Full names of the services that the gateway answers itself. */
  internal: ReadonlySet<string>;
}): Names {
  const { policy, limits, recorder, internal } = options;
  const answers = new Map<string, Promise<NameAnswer>>();
  const wildcards = new Set<string>();
  let next = FIRST;

  function admit(host: string, wildcard: boolean): Decision {
    if (!wildcard || wildcards.has(host)) return allow('names');
    if (wildcards.size >= limits.wildcardNames) return deny('limit: wildcardNames', 'name_limit');
    const label = judgeLabel(host, limits.wildcardLabel);
    if (!label.allow) return label;
    wildcards.add(host);
    return allow('names');
  }

  function judge(host: string): Decision {
    if (internal.has(host)) return allow(BUILT_IN);
    if (host.endsWith(INTERNAL_SUFFIX)) return deny(BUILT_IN, 'not_allowed');
    const verdict = judgeName(policy, host);
    if (!verdict.decision.allow) return verdict.decision;
    const admitted = admit(host, verdict.wildcard);
    if (!admitted.allow) return admitted;
    if (answers.size >= limits.names || next > LAST) return deny('limit: names', 'name_limit');
    return verdict.decision;
  }

  async function answer(raw: string): Promise<NameAnswer> {
    const found = canonicalHost(raw);
    if (!found.ok) {
      const decision = deny('names', found.reason);
      await recorder.judged({ type: 'egress.name', host: printable(raw), port: 0, decision });
      return { decision };
    }
    const { host } = found;
    const known = answers.get(host);
    if (known) return known;
    const decision = judge(host);
    if (!decision.allow) {
      await recorder.judged({ type: 'egress.name', host, port: 0, decision });
      return { decision, host };
    }
    const fresh = allot(host, decision);
    answers.set(host, fresh);
    // What could not be recorded was not answered; the next question tries again, with another address.
    fresh.catch(() => answers.delete(host));
    return fresh;
  }

  async function allot(host: string, decision: Decision): Promise<NameAnswer> {
    const address = `198.${18 + (next >> 16)}.${(next >> 8) & 255}.${next & 255}`;
    next += 1;
    await recorder.judged({ type: 'egress.name', host, port: 0, decision, data: { address } });
    return { decision: allow('names'), host, address };
  }

  async function refuse(raw: string, type: number): Promise<NameAnswer> {
    // Labels of a service stand before the name that it is asked of.
    const of = raw.replace(/^(?:_[a-z0-9-]+\.)+/i, '');
    const found = canonicalHost(of);
    const host = found.ok ? found.host : printable(raw);
    const decision = found.ok ? recordDenial(found.host) : deny('names', found.reason);
    const data = { record: RECORDS[type] ?? String(type), ...(of === raw ? {} : { asked: printable(raw, 256) }) };
    await recorder.judged({ type: 'egress.name', host, port: 0, decision, data });
    return { decision, host };
  }

  /** The same denial as for the address of a name that is not allowed. */
  function recordDenial(host: string): Decision & { allow: false } {
    const known = answers.has(host) || internal.has(host);
    const decision = known ? allow('names') : judgeName(policy, host).decision;
    return decision.allow ? deny('names', 'record_type') : decision;
  }

  return { answer, admit, refuse };
}
