/** Reads the first bytes inside a tunnel and says what they are: a TLS hello, an HTTP request, or something else. */
import type { Duplex } from 'node:stream';
import { parseClientHello, type ClientHello } from '../policy/egress/client-hello.ts';

export type Opening =
  | { kind: 'tls'; hello: Extract<ClientHello, { kind: 'hello' }>; bytes: Buffer }
  | { kind: 'http'; bytes: Buffer }
  | { kind: 'other'; what: string }
  | { kind: 'timeout' }
  | { kind: 'closed' };

const MAX_OPENING = 128 * 1024;
const METHOD = /^[A-Z]{1,16}$/;

/** The socket is left paused; what was read is in `bytes` and has to be sent on. */
export function readOpening(client: Duplex, head: Buffer, timeoutMs: number): Promise<Opening> {
  return new Promise((resolve) => {
    let bytes = head;
    let wanted = 1;
    const settle = (opening: Opening): void => {
      clearTimeout(timer);
      client.pause();
      client.off('data', more).off('end', gone).off('close', gone).off('error', gone);
      resolve(opening);
    };
    const look = (): void => {
      const found = classify(bytes);
      if (found.kind === 'needMore') wanted = found.atLeast;
      else settle(found);
    };
    const more = (chunk: Buffer): void => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      if (bytes.length > MAX_OPENING) settle({ kind: 'other', what: 'hello too long' });
      else if (bytes.length >= wanted) look();
    };
    const gone = (): void => {
      settle({ kind: 'closed' });
    };
    const timer = setTimeout(() => {
      settle({ kind: 'timeout' });
    }, timeoutMs);
    client.on('data', more).once('end', gone).once('close', gone).on('error', gone);
    client.resume();
    if (client.destroyed) gone();
    else if (bytes.length > 0) look();
  });
}

function classify(bytes: Buffer): Opening | { kind: 'needMore'; atLeast: number } {
  const hello = parseClientHello(bytes);
  if (hello.kind === 'hello') return { kind: 'tls', hello, bytes };
  if (hello.kind === 'malformed') return { kind: 'other', what: hello.what };
  if (hello.kind === 'needMore') return hello;
  // A method and a space are enough: the strict parser that reads the request comes after.
  const start = bytes.subarray(0, 17).toString('latin1');
  const space = start.indexOf(' ');
  if (space > 0 && METHOD.test(start.slice(0, space))) return { kind: 'http', bytes };
  if (space === -1 && start.length <= 16 && METHOD.test(start)) return { kind: 'needMore', atLeast: bytes.length + 1 };
  return { kind: 'other', what: 'neither TLS nor HTTP' };
}
