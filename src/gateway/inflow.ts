/**
 * Bytes of one outside socket, read into the same memory again and again: a buffer for each read would have the garbage
 * collector work as much as the tunnel itself.
 */
import type { OnReadOpts, Socket } from 'node:net';

export interface Inflow {
  /** For `net.connect`. The socket reads nothing ahead: one buffer, and nothing more until it has been written on. */
  onread: OnReadOpts;
  /**
   * Takes what comes from now on. True: the bytes are not needed any more. False: `written` will be called when they are
   * not; until then nothing is read.
   */
  start(socket: Socket, take: (bytes: Buffer, written: () => void) => boolean): void;
}

const BUFFER = 64 * 1024;

export function createInflow(): Inflow {
  const buffer = Buffer.allocUnsafeSlow(BUFFER);
  let take: ((bytes: Buffer) => boolean) | undefined;
  let early: Buffer | undefined;
  return {
    onread: {
      buffer,
      callback: (length) => {
        if (take) return take(buffer.subarray(0, length));
        // It spoke before it was spoken to; the rest waits in the kernel.
        early = Buffer.from(buffer.subarray(0, length));
        return false;
      },
    },
    start: (socket, onward) => {
      const resume = (): void => void socket.resume();
      take = (bytes) => onward(bytes, resume);
      if (early === undefined) socket.resume();
      else if (take(early)) socket.resume();
      early = undefined;
    },
  };
}
