/* Trust: a provider may send what unpacks to far more than it is. */
import type { IncomingMessage } from 'node:http';
import type { Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';

export interface ExpansionLimits {
  /** Bytes that may come out whatever went in. */
  maxMeteredBytes: number;
  /** Above that, how many times what went in. */
  maxExpansion: number;
}

/** Identity was asked for; what comes packed all the same is unpacked within a ratio. */
export function decoded(response: IncomingMessage, limits: ExpansionLimits, abort: () => void): Readable {
  const create = decoderOf(response.headers['content-encoding']);
  if (create === undefined) return response;
  const decoder = create();
  let packed = 0;
  let plain = 0;
  response.on('data', (chunk: Buffer) => (packed += chunk.length));
  decoder.on('data', (chunk: Buffer) => {
    plain += chunk.length;
    if (plain > limits.maxMeteredBytes && plain > packed * limits.maxExpansion) abort();
  });
  response.once('error', (error) => decoder.destroy(error));
  response.once('close', () => {
    if (!response.complete) decoder.destroy();
  });
  return response.pipe(decoder);
}

/** The encoding that nothing here unpacks: what it packs is passed on as it is, and not read. */
export function unreadable({ headers }: IncomingMessage): string | undefined {
  const encoding = headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity' || decoderOf(encoding)) return undefined;
  return encoding;
}

const DECODERS = new Map<string, () => Transform>([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
  ['br', createBrotliDecompress],
  ['zstd', createZstdDecompress],
]);

function decoderOf(encoding: string | undefined): (() => Transform) | undefined {
  return encoding === undefined ? undefined : DECODERS.get(encoding.trim().toLowerCase());
}
