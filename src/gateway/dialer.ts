/**
 * The one file that reaches the outside. The address that was checked is the address that is dialled: a name is resolved
 * for each connection, or was seconds before, all of its answers are judged together, and only those answers are tried.
 *
 * Trust: names were allowed by the policy before; resolver and upstream may be slow, lie or answer garbage.
 */
import { lookup } from 'node:dns/promises';
import { connect, type OnReadOpts, type Socket } from 'node:net';
import { deny, type Decision } from '../domain/decision.ts';
import { judgeAddresses } from '../policy/egress/address.ts';
import { createInflow, type Inflow } from './inflow.ts';
import type { GatewayLimits } from './limits.ts';

/** All addresses of a name. Rejects with a `code` such as `ENOTFOUND`. */
export type Resolve = (host: string, signal: AbortSignal) => Promise<string[]>;
/** A connected TCP socket. */
export type Dial = (
  target: { address: string; port: number; onread?: OnReadOpts },
  signal: AbortSignal,
) => Promise<Socket>;

export interface Target {
  host: string;
  port: number;
  allowPrivate: boolean;
}

export interface Resolved {
  decision: Decision;
  addresses: string[];
}

export interface Opened {
  socket: Socket;
  inflow?: Inflow;
}

export interface Dialer {
  /** Resolves and judges; the answers that may be dialled. */
  check(target: Target): Promise<Resolved>;
  /**
   * Dials checked addresses in order; undefined when none answers. With `passed` the socket's bytes come by `inflow`
   * (where the dialer knows how), not as a stream.
   */
  open(target: Target, addresses: readonly string[], passed?: boolean): Promise<Opened | undefined>;
}

const MAX_ATTEMPTS = 3;
/** Less than the shortest time that names are usually good for; the host's resolver does not tell. */
const REMEMBER_MS = 5_000;
const MAX_REMEMBERED = 256;

export function createDialer(options: {
  resolve?: Resolve | undefined;
  dial?: Dial | undefined;
  limits: Pick<GatewayLimits, 'resolveMs' | 'dialMs'>;
  signal: AbortSignal;
}): Dialer {
  const { resolve = resolveOnHost, dial = dialTcp, limits, signal } = options;
  // Only of the host's own resolver.
  const known = options.resolve ? undefined : createMemory();

  async function check(target: Target): Promise<Resolved> {
    let addresses = known?.get(target.host);
    if (addresses) return { decision: judgeAddresses(addresses, target.allowPrivate), addresses };
    const timeout = AbortSignal.timeout(limits.resolveMs);
    try {
      addresses = await bounded(resolve(target.host, AbortSignal.any([signal, timeout])), timeout);
    } catch (error) {
      if (timeout.aborted) return { decision: deny('resolver', 'timeout'), addresses: [] };
      const absent = ['ENOTFOUND', 'ENODATA', 'EAI_NONAME'].includes(codeOf(error));
      return { decision: deny('resolver', absent ? 'name_not_found' : 'resolver_failed'), addresses: [] };
    }
    known?.keep(target.host, addresses);
    return { decision: judgeAddresses(addresses, target.allowPrivate), addresses };
  }

  async function open(target: Target, addresses: readonly string[], passed = false): Promise<Opened | undefined> {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.dialMs)]);
    for (const address of addresses.slice(0, MAX_ATTEMPTS)) {
      try {
        // Only our own sockets are known to read that way.
        const inflow = passed && dial === dialTcp ? createInflow() : undefined;
        const onread = inflow ? { onread: inflow.onread } : {};
        const socket = await dial({ address, port: target.port, ...onread }, deadline);
        socket.setNoDelay(true);
        return { socket, ...(inflow ? { inflow } : {}) };
      } catch {
        if (deadline.aborted) return undefined;
      }
    }
    return undefined;
  }

  return { check, open };
}

/** Answers of a moment ago, so that a client that opens connection after connection does not wait for each. They are judged again. */
function createMemory(): { get(host: string): string[] | undefined; keep(host: string, addresses: string[]): void } {
  const answers = new Map<string, { addresses: string[]; until: number }>();
  return {
    get: (host) => {
      const answer = answers.get(host);
      return answer && answer.until > performance.now() ? answer.addresses : undefined;
    },
    keep: (host, addresses) => {
      if (answers.size >= MAX_REMEMBERED) answers.clear();
      answers.set(host, { addresses, until: performance.now() + REMEMBER_MS });
    },
  };
}

/** A resolver that ignores its signal must not hold a connection. */
function bounded<T>(work: Promise<T>, timeout: AbortSignal): Promise<T> {
  return Promise.race([
    work,
    new Promise<never>((_resolve, reject) => {
      timeout.addEventListener('abort', () => {
        reject(new Error('timed out'));
      });
    }),
  ]);
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}

/** The host's own resolver, hosts file included; IPv4 first. */
async function resolveOnHost(host: string): Promise<string[]> {
  const answers = await lookup(host, { all: true, order: 'ipv4first' });
  return answers.map((answer) => answer.address);
}

function dialTcp({ address, ...rest }: Parameters<Dial>[0], signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, ...rest, allowHalfOpen: true });
    const abort = (): void => {
      socket.destroy(new Error('timed out'));
    };
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    // Stays: an error between here and the tunnel's own handlers must not end the process.
    socket.on('error', reject);
    socket.once('close', () => {
      signal.removeEventListener('abort', abort);
    });
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort);
      resolve(socket);
    });
  });
}
