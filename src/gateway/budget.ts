/** Counters of one run: connections at once and in all, bytes out for each host and in all. */
import { allow, deny, type Decision } from '../domain/decision.ts';
import type { GatewayLimits } from './limits.ts';

export interface Slot {
  decision: Decision;
  /** The connection has shown its first bytes: it is not half-open any more. */
  established: () => void;
  release: () => void;
}

export interface Budget {
  connection(): Slot;
  /** False when these bytes may not go out. */
  spend(host: string, bytes: number): boolean;
  /** May a registry be asked for this? A name that nobody has published is a message to whoever reads its log. */
  mayAskRegistry(resource: string): Decision;
  /** The registry has such a thing. */
  registryFound(resource: string): void;
  open(): { connections: number; halfOpen: number };
}

type Limits = Pick<
  GatewayLimits,
  'connections' | 'halfOpen' | 'connectionsTotal' | 'bytesOutPerHost' | 'bytesOutTotal' | 'registryMisses'
>;

/** Paths that are remembered as found; only for runs that have used up their misses. */
const MAX_HITS = 50_000;

export function createBudget(limits: Limits): Budget {
  let connections = 0;
  let halfOpen = 0;
  let total = 0;
  let bytesOut = 0;
  const perHost = new Map<string, number>();

  function refusal(): (Decision & { allow: false }) | undefined {
    if (total >= limits.connectionsTotal) return deny('limit: connectionsTotal', 'too_many_connections');
    if (connections >= limits.connections) return deny('limit: connections', 'too_many_connections');
    return halfOpen >= limits.halfOpen ? deny('limit: halfOpen', 'too_many_connections') : undefined;
  }

  function connection(): Slot {
    const refused = refusal();
    if (refused) return { decision: refused, established: () => undefined, release: () => undefined };
    connections += 1;
    halfOpen += 1;
    total += 1;
    let waiting = true;
    let held = true;
    const established = (): void => {
      if (waiting) halfOpen -= 1;
      waiting = false;
    };
    const release = (): void => {
      established();
      if (held) connections -= 1;
      held = false;
    };
    return { decision: allow('limits'), established, release };
  }

  function spend(host: string, bytes: number): boolean {
    const ofHost = (perHost.get(host) ?? 0) + bytes;
    if (ofHost > limits.bytesOutPerHost || bytesOut + bytes > limits.bytesOutTotal) return false;
    perHost.set(host, ofHost);
    bytesOut += bytes;
    return true;
  }

  const misses = new Set<string>();
  const hits = new Set<string>();

  // Counted as a miss until it is answered, so that many at once are not more than one after the other.
  function mayAskRegistry(resource: string): Decision {
    if (hits.has(resource) || misses.has(resource)) return allow('limits');
    if (misses.size >= limits.registryMisses) return deny('limit: registryMisses', 'miss_limit');
    misses.add(resource);
    return allow('limits');
  }

  function registryFound(resource: string): void {
    misses.delete(resource);
    if (hits.size < MAX_HITS) hits.add(resource);
  }

  return { connection, spend, mayAskRegistry, registryFound, open: () => ({ connections, halfOpen }) };
}
