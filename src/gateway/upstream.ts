/** Connections to one host for the requests of one tunnel: one at a time, the one that was dialled for CONNECT first. */
import { Agent } from 'node:http';
import type { Socket } from 'node:net';
import { deny, UPSTREAM, type Decision } from '../domain/decision.ts';
import type { Dialer, Target } from './dialer.ts';
import { CertificateInvalid, openHandshake } from './tls/handshake.ts';
import type { Trust } from './tls/trust.ts';

/** A request that ends with a denial while it is on its way. */
export class Refused extends Error {
  readonly decision: Decision & { allow: false };
  /** What exactly, where the reason alone does not say. */
  readonly what: string | undefined;
  constructor(decision: Decision & { allow: false }, what?: string) {
    super(decision.reason);
    this.decision = decision;
    this.what = what;
  }
}

export interface Upstream {
  agent: Agent;
  close(): void;
}

export interface UpstreamOptions {
  target: Target;
  dialer: Dialer;
  /** Dialled already, with its addresses judged; TLS has not begun on it. */
  first?: Socket | undefined;
  tls: { trust: Trust; timeoutMs: number } | undefined;
}

export function createUpstream(options: UpstreamOptions): Upstream {
  const { target, dialer, tls } = options;
  const secure = (socket: Socket): Promise<Socket> =>
    tls ? openHandshake({ socket, host: target.host, ...tls }).catch(refuse) : Promise.resolve(socket);
  // At once, beside the client's own handshake.
  let ready = options.first ? secure(options.first) : undefined;
  ready?.catch(() => undefined);

  /** The name's addresses are judged anew for each connection. */
  async function open(): Promise<Socket> {
    const checked = await dialer.check(target);
    if (!checked.decision.allow) throw new Refused(checked.decision);
    const opened = await dialer.open(target, checked.addresses);
    if (!opened) throw new Refused(deny('dialer', 'dial_failed'));
    return secure(opened.socket);
  }

  async function next(): Promise<Socket> {
    const prepared = ready;
    ready = undefined;
    const socket = await prepared;
    return socket && !socket.destroyed && socket.readable && socket.writable ? socket : open();
  }

  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  // It has one host: a name made of every option of each request would tell nothing apart.
  agent.getName = () => '';
  agent.createConnection = (_options, callback) => {
    next().then(
      (socket) => callback?.(null, socket),
      (error: unknown) =>
        callback?.(error instanceof Error ? error : new Error('could not connect'), undefined as never),
    );
    return undefined;
  };
  return {
    agent,
    close: () => {
      agent.destroy();
      options.first?.destroy();
      ready?.then(
        (socket) => socket.destroy(),
        () => undefined,
      );
    },
  };
}

function refuse(error: unknown): never {
  if (error instanceof CertificateInvalid) throw new Refused(deny(UPSTREAM, error.reason), error.message);
  throw new Refused(deny(UPSTREAM, 'dial_failed'));
}
