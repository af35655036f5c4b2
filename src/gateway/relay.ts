/** Moves bytes of an accepted tunnel in both directions, within the run's limits. Looks at none of them. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Inflow } from './inflow.ts';

export interface RelayEnd {
  bytesIn: number;
  bytesOut: number;
  reason: 'ended' | 'idle' | 'bytes_limit' | 'reset';
}

/**
 * Resolves when both directions are over and both sockets are closed.
 * `spend` is asked before bytes from the sandbox go out; false ends the tunnel.
 */
export function relay(options: {
  client: Duplex;
  /** A stream, or a socket whose bytes come by an inflow. */
  upstream: Duplex | { socket: Socket; inflow: Inflow };
  /** First bytes of the client, already inspected. */
  opening: Buffer;
  idleMs: number;
  spend: (bytes: number) => boolean;
}): Promise<RelayEnd> {
  const { client, opening, idleMs, spend } = options;
  const { socket: upstream, inflow } =
    'inflow' in options.upstream ? options.upstream : { socket: options.upstream, inflow: undefined };
  const end: RelayEnd = { bytesIn: 0, bytesOut: 0, reason: 'ended' };
  return new Promise((resolve) => {
    const over = new Set<Duplex>();
    let idle: NodeJS.Timeout | undefined;
    let lastByte = performance.now();

    const stop = (reason: RelayEnd['reason']): void => {
      if (end.reason === 'ended') end.reason = reason;
      client.destroy();
      upstream.destroy();
    };
    const closed = (side: Duplex): void => {
      over.add(side);
      if (over.size < 2) return;
      clearTimeout(idle);
      resolve(end);
    };
    // Re-armed by what is left instead of by every byte: a timer for each chunk would cost more than the chunk.
    const watch = (ms: number): void => {
      idle = setTimeout(() => {
        const left = idleMs - (performance.now() - lastByte);
        if (left > 1) watch(left);
        else stop('idle');
      }, ms);
    };
    const outward = (chunk: Buffer): boolean => {
      if (!spend(chunk.length)) {
        stop('bytes_limit');
        return true;
      }
      end.bytesOut += chunk.length;
      return upstream.write(chunk);
    };
    const inward = (chunk: Buffer): boolean => {
      end.bytesIn += chunk.length;
      return client.write(chunk);
    };
    const flow = (from: Duplex, to: Duplex, forward: (chunk: Buffer) => boolean): void => {
      from.on('data', (chunk: Buffer) => {
        lastByte = performance.now();
        if (!forward(chunk)) from.pause();
      });
      to.on('drain', () => {
        from.resume();
      });
    };
    const join = (from: Duplex, to: Duplex): void => {
      from.once('end', () => {
        to.end();
      });
      from.on('error', () => {
        stop('reset');
      });
      from.once('close', () => {
        // A socket that closed without its end leaves the other side waiting otherwise.
        if (!from.readableEnded) stop('reset');
        closed(from);
      });
    };

    watch(idleMs);
    if (client.destroyed || upstream.destroyed) stop('reset');
    join(client, upstream);
    join(upstream, client);
    flow(client, upstream, outward);
    if (inflow)
      inflow.start(upstream, (bytes, written) => {
        lastByte = performance.now();
        end.bytesIn += bytes.length;
        // Called in either case; resuming what was not stopped does nothing.
        client.write(bytes, written);
        return client.writableLength === 0;
      });
    else flow(upstream, client, inward);
    if (opening.length > 0) outward(opening);
    for (const side of [client, upstream]) if (side.closed) closed(side);
    client.resume();
  });
}
