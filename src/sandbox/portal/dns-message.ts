// Trust: queries come from the sandbox and may be anything. Only the header and one question are read, no compression
// pointer is followed, and the answer repeats the question's own bytes, so that nothing is decoded and encoded again.

export const TYPE = { A: 1, AAAA: 28, OPT: 41, SVCB: 64, HTTPS: 65 } as const;
export const RCODE = { ok: 0, malformed: 1, failed: 2, noSuchName: 3, notImplemented: 4 } as const;

const HEADER = 12;
const CLASS_IN = 1;
const EDNS_SIZE = 1232;

export interface Query {
  /** Lower case, without the last dot; a byte that no host name has is written `\DDD`. */
  name: string;
  type: number;
  internet: boolean;
}

/** A message that gets an answer: a proper query, or one that is refused with its code. */
export type Parsed = { envelope: Envelope; query: Query } | { envelope: Envelope; rcode: number };

/** What the answer repeats. */
interface Envelope {
  id: number;
  flags: number;
  question: Buffer;
  edns: boolean;
}

/** Undefined for what deserves no answer: too short, or itself an answer. */
export function parseQuery(message: Buffer): Parsed | undefined {
  if (message.length < HEADER) return undefined;
  const flags = message.readUInt16BE(2);
  if ((flags & 0x8000) !== 0) return undefined;
  const envelope: Envelope = { id: message.readUInt16BE(0), flags, question: Buffer.alloc(0), edns: false };
  if (((flags >> 11) & 0xf) !== 0) return { envelope, rcode: RCODE.notImplemented };
  if (message.readUInt16BE(4) !== 1) return { envelope, rcode: RCODE.malformed };
  const name = readName(message);
  if (name === undefined || name.end + 4 > message.length) return { envelope, rcode: RCODE.malformed };
  const end = name.end + 4;
  envelope.question = message.subarray(HEADER, end);
  envelope.edns = hasEdns(message, end);
  const query = {
    name: name.text,
    type: message.readUInt16BE(name.end),
    internet: message.readUInt16BE(name.end + 2) === CLASS_IN,
  };
  return { envelope, query };
}

/** The answer to a parsed query; with an address and a time to live (seconds) when the name has one. */
export function answer(parsed: Parsed, rcode: number, record?: { address: string; ttl: number }): Buffer {
  const { envelope } = parsed;
  const header = Buffer.alloc(HEADER);
  header.writeUInt16BE(envelope.id, 0);
  // Response, same operation and recursion-desired as asked, recursion available.
  header.writeUInt16BE(0x8080 | (envelope.flags & 0x7900) | rcode, 2);
  header.writeUInt16BE(envelope.question.length > 0 ? 1 : 0, 4);
  header.writeUInt16BE(record === undefined ? 0 : 1, 6);
  header.writeUInt16BE(envelope.edns ? 1 : 0, 10);
  return Buffer.concat([
    header,
    envelope.question,
    ...(record === undefined ? [] : [addressRecord(record)]),
    ...(envelope.edns ? [ednsRecord()] : []),
  ]);
}

function readName(message: Buffer): { text: string; end: number } | undefined {
  const labels: string[] = [];
  let at = HEADER;
  for (;;) {
    const length = message[at];
    if (length === undefined) return undefined;
    at += 1;
    if (length === 0) break;
    // Two set bits would be a compression pointer: nothing stands before the first question that it could point to.
    if (length > 63 || at + length > message.length || at + length - HEADER > 254) return undefined;
    labels.push(labelText(message.subarray(at, at + length)));
    at += length;
  }
  return { text: labels.join('.'), end: at };
}

function labelText(label: Buffer): string {
  return label
    .toString('latin1')
    .toLowerCase()
    .replace(/[^a-z0-9_-]/g, (c) => `\\${String(c.charCodeAt(0)).padStart(3, '0')}`);
}

function hasEdns(message: Buffer, at: number): boolean {
  const alone = message.readUInt16BE(6) === 0 && message.readUInt16BE(8) === 0 && message.readUInt16BE(10) > 0;
  return alone && at + 11 <= message.length && message[at] === 0 && message.readUInt16BE(at + 1) === TYPE.OPT;
}

function addressRecord(record: { address: string; ttl: number }): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16BE(0xc000 | HEADER, 0);
  bytes.writeUInt16BE(TYPE.A, 2);
  bytes.writeUInt16BE(CLASS_IN, 4);
  bytes.writeUInt32BE(Math.max(0, Math.min(record.ttl, 86_400)), 6);
  bytes.writeUInt16BE(4, 10);
  record.address.split('.').forEach((part, index) => bytes.writeUInt8(Number(part), 12 + index));
  return bytes;
}

function ednsRecord(): Buffer {
  const bytes = Buffer.alloc(11);
  bytes.writeUInt16BE(TYPE.OPT, 1);
  bytes.writeUInt16BE(EDNS_SIZE, 3);
  return bytes;
}
