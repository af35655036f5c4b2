/** Names of one run and the addresses that stand for them inside the sandbox. Nothing is looked up here. */
import { allow, deny, type Decision } from '../domain/decision.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import { INTERNAL_SUFFIX, judgeName } from '../policy/egress/decide.ts';
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
  /** Limits on names, without an address: asked before the host's resolver is. */
  admit(host: string, wildcard: boolean): Decision;
}

/** First address of the pool after the sandbox's own 198.18.0.1, and its size (198.18.0.0/15 without the last). */
const FIRST = 2;
const LAST = 0x1fffe;

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
    if ((host.split('.')[0]?.length ?? 0) > limits.wildcardLabel) return deny('limit: wildcardLabel', 'name_limit');
    wildcards.add(host);
    return allow('names');
  }

  function judge(host: string): Decision {
    if (internal.has(host)) return allow('built-in');
    if (host.endsWith(INTERNAL_SUFFIX)) return deny('built-in', 'not_allowed');
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

  return { answer, admit };
}
