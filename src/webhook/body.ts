import type { IncomingMessage } from 'node:http';

export type BodyReading = { bytes: Buffer } | { refused: 'too_large' | 'timeout' | 'aborted' };

/**
 * Reads a request body that may be of any size and slowness: never holds more than `maxBytes`, never waits longer than `timeoutMs`.
 * A body that was refused is not read to its end.
 */
export async function readBody(
  request: IncomingMessage,
  options: { maxBytes: number; timeoutMs: number },
): Promise<BodyReading> {
  if (Number(request.headers['content-length'] ?? 0) > options.maxBytes) return { refused: 'too_large' };
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(() => {
      finish({ refused: 'timeout' });
    }, options.timeoutMs);
    function finish(reading: BodyReading): void {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      request.on('error', () => undefined);
      request.pause();
      resolve(reading);
    }
    function onData(chunk: Buffer): void {
      size += chunk.length;
      if (size > options.maxBytes) finish({ refused: 'too_large' });
      else chunks.push(chunk);
    }
    function onEnd(): void {
      finish({ bytes: Buffer.concat(chunks) });
    }
    function onClose(): void {
      finish({ refused: 'aborted' });
    }
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

/** Throws away what is still coming of a body that was refused; after `maxBytes` or `timeoutMs` the connection ends. */
export function drainBody(request: IncomingMessage, options: { maxBytes: number; timeoutMs: number }): void {
  let size = 0;
  const timer = setTimeout(() => {
    request.destroy();
  }, options.timeoutMs);
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > options.maxBytes) request.destroy();
  });
  for (const event of ['end', 'close']) request.once(event, () => clearTimeout(timer));
  request.on('error', () => undefined);
  request.resume();
}
