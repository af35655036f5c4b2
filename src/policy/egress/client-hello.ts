/**
 * Reads the server name out of a TLS ClientHello, whatever its fragmentation into records and segments.
 *
 * Trust: every byte is hostile. The parser only ever answers about complete, well-formed messages; anything that two TLS
 * stacks might read differently (two names, duplicate extensions, wrong inner lengths) is `malformed`, never guessed.
 */
export type ClientHello =
  /** Not complete; asking again is useless before there are `atLeast` bytes in all. */
  | { kind: 'needMore'; atLeast: number }
  /** The first bytes are not a TLS handshake record (SSH, plain HTTP, SSLv2, …). */
  | { kind: 'notTls' }
  | { kind: 'malformed'; what: string }
  /** `sni` as sent (ASCII bytes), undefined when there is none; `ech` for encrypted hellos of any draft, GREASE included. */
  | { kind: 'hello'; sni: string | undefined; ech: boolean; alpn: string[] };

const HANDSHAKE = 0x16;
const CLIENT_HELLO = 1;
/** Post-quantum key shares fit many times over; more is not a hello that an honest client sends. */
const MAX_HELLO = 65_536;
const MAX_RECORD = 16_384;
/** A hello in records of one byte each still fits; more is work without sense. */
const MAX_RECORDS = 4096;
const EXT = { serverName: 0, alpn: 16, esni: 0xffce, ech: 0xfe0d, echOuter: 0xfd00 } as const;

class Malformed extends Error {}

/** `bytes`: everything received so far on the connection. Call again with more when it answers `needMore`. */
export function parseClientHello(bytes: Uint8Array): ClientHello {
  try {
    const records = reassemble(bytes);
    return records.kind === 'message' ? readHello(records.message) : records;
  } catch (error) {
    if (error instanceof Malformed) return { kind: 'malformed', what: error.message };
    throw error;
  }
}

type Reassembled =
  { kind: 'needMore'; atLeast: number } | { kind: 'notTls' } | { kind: 'message'; message: Uint8Array };

/** The handshake message over as many records as it takes, without its header. */
function reassemble(bytes: Uint8Array): Reassembled {
  const parts: Uint8Array[] = [];
  let have = 0;
  let offset = 0;
  for (let records = 0; records < MAX_RECORDS; records += 1) {
    const header = recordHeader(bytes, offset);
    if (typeof header === 'string') return { kind: header };
    if (header === undefined) return { kind: 'needMore', atLeast: offset + 5 };
    const part = bytes.subarray(offset + 5, offset + 5 + header);
    parts.push(part);
    have += part.length;
    offset += 5 + header;
    const message = complete(parts, have);
    if (message !== undefined) return { kind: 'message', message };
    if (part.length < header) return { kind: 'needMore', atLeast: offset };
  }
  throw new Malformed('too many records');
}

/** Length of the handshake record that starts here; undefined when its header is not complete. */
function recordHeader(bytes: Uint8Array, offset: number): number | 'notTls' | undefined {
  const type = bytes[offset];
  const version = bytes[offset + 1];
  if ((type !== undefined && type !== HANDSHAKE) || (version !== undefined && version !== 3)) {
    if (offset === 0) return 'notTls';
    throw new Malformed('another record inside the hello');
  }
  if (offset + 5 > bytes.length) return undefined;
  const length = u16(bytes, offset + 3);
  if (length === 0 || length > MAX_RECORD) throw new Malformed('record length');
  return length;
}

function complete(parts: Uint8Array[], have: number): Uint8Array | undefined {
  const first = parts[0]?.[0];
  if (first !== undefined && first !== CLIENT_HELLO) throw new Malformed('not a ClientHello');
  if (have < 4) return undefined;
  const header = Uint8Array.from(parts.slice(0, 4).flatMap((part) => [...part.subarray(0, 4)]));
  const length = ((header[1] ?? 0) << 16) | u16(header, 2);
  if (length > MAX_HELLO) throw new Malformed('hello too long');
  if (have < 4 + length) return undefined;
  if (have > 4 + length) throw new Malformed('bytes after the hello in its record');
  return concat(parts, have).subarray(4);
}

function concat(parts: Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1 && parts[0]) return parts[0];
  const all = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}

function u16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0);
}

/** Reads length-prefixed vectors; running over an end is `Malformed`. */
class Cursor {
  readonly bytes: Uint8Array;
  offset = 0;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  atEnd(): boolean {
    return this.offset === this.bytes.length;
  }
  take(length: number): Uint8Array {
    if (this.offset + length > this.bytes.length) throw new Malformed('a length runs over its end');
    this.offset += length;
    return this.bytes.subarray(this.offset - length, this.offset);
  }
  number(width: 1 | 2): number {
    const part = this.take(width);
    return width === 1 ? (part[0] ?? 0) : u16(part, 0);
  }
  vector(width: 1 | 2): Cursor {
    return new Cursor(this.take(this.number(width)));
  }
}

function readHello(message: Uint8Array): ClientHello {
  const cursor = new Cursor(message);
  if (cursor.number(1) !== 3) throw new Malformed('hello version');
  cursor.take(1 + 32);
  if (cursor.vector(1).bytes.length > 32) throw new Malformed('session id');
  const ciphers = cursor.vector(2).bytes.length;
  if (ciphers < 2 || ciphers % 2 !== 0) throw new Malformed('cipher suites');
  if (cursor.vector(1).bytes.length < 1) throw new Malformed('compression methods');
  const hello: Extract<ClientHello, { kind: 'hello' }> = { kind: 'hello', sni: undefined, ech: false, alpn: [] };
  if (cursor.atEnd()) return hello;
  const extensions = cursor.vector(2);
  if (!cursor.atEnd()) throw new Malformed('bytes after the extensions');
  const seen = new Set<number>();
  while (!extensions.atEnd()) {
    const type = extensions.number(2);
    const body = extensions.vector(2);
    if (seen.has(type)) throw new Malformed('an extension twice');
    seen.add(type);
    if (type === EXT.serverName) hello.sni = readServerName(body);
    else if (type === EXT.alpn) hello.alpn = readAlpn(body);
    else if (type === EXT.ech || type === EXT.esni || type === EXT.echOuter) hello.ech = true;
  }
  return hello;
}

function readServerName(body: Cursor): string {
  const list = body.vector(2);
  if (!body.atEnd() || list.atEnd()) throw new Malformed('server name list');
  if (list.number(1) !== 0) throw new Malformed('server name type');
  const name = list.vector(2).bytes;
  if (!list.atEnd()) throw new Malformed('more than one server name');
  return Buffer.from(name).toString('latin1');
}

function readAlpn(body: Cursor): string[] {
  const list = body.vector(2);
  if (!body.atEnd()) throw new Malformed('protocol list');
  const protocols: string[] = [];
  while (!list.atEnd()) protocols.push(Buffer.from(list.vector(1).bytes).toString('latin1'));
  return protocols;
}
