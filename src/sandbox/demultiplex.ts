import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

// Trust: the payload is whatever the sandbox writes. The frame headers are the daemon's, but lengths are still bounded here,
// and a frame is passed on piece by piece, never collected.

const HEADER = 8;
const STDOUT = 1;
const STDERR = 2;

/**
 * Takes Docker's framed output apart (8 bytes of header: stream, 3 × 0, length in big-endian). Waits for a slow reader, so
 * that a sandbox which floods its output is slowed down instead of filling this process's memory. Resolves at the end of
 * the stream; does not end `stdout` and `stderr`. A reader that is gone is not an error: the rest is thrown away.
 */
export async function demultiplex(
  source: Readable,
  targets: { stdout?: Writable | undefined; stderr?: Writable | undefined },
): Promise<void> {
  const header = Buffer.alloc(HEADER);
  let have = 0;
  let left = 0;
  let target: Writable | undefined;
  for await (const piece of source) {
    let chunk = piece as Buffer;
    while (chunk.length > 0) {
      if (left === 0) {
        const take = Math.min(HEADER - have, chunk.length);
        chunk.copy(header, have, 0, take);
        have += take;
        chunk = chunk.subarray(take);
        if (have < HEADER) continue;
        have = 0;
        target = header[0] === STDOUT ? targets.stdout : header[0] === STDERR ? targets.stderr : undefined;
        left = header.readUInt32BE(4);
        continue;
      }
      const payload = chunk.subarray(0, left);
      left -= payload.length;
      chunk = chunk.subarray(payload.length);
      if (target !== undefined) await write(target, payload);
    }
  }
}

async function write(target: Writable, payload: Buffer): Promise<void> {
  if (target.destroyed || target.writableEnded || !target.writable) return;
  if (target.write(payload)) return;
  const settled = new AbortController();
  const waits = [once(target, 'drain', settled), once(target, 'close', settled)];
  try {
    // `once` rejects on 'error': the reader is gone, which is its own business.
    await Promise.race(waits).catch(() => undefined);
  } finally {
    settled.abort();
    await Promise.allSettled(waits);
  }
}
