/**
 * The request format of git's smart protocol. Trust assumptions: every byte comes from the sandbox; a length may lie.
 */

/** One packet: its payload, or `null` for flush, delimiter and response-end. */
export type Packet = Buffer | null;

/** All packets of a whole request, or undefined when it is malformed or has more than `maxPackets`. */
export function parsePackets(body: Buffer, maxPackets = 500_000): Packet[] | undefined {
  const packets: Packet[] = [];
  for (let at = 0; at < body.length;) {
    const length = packetLength(body, at);
    if (length === undefined || packets.length >= maxPackets) return undefined;
    if (length < 4) packets.push(null);
    else packets.push(body.subarray(at + 4, at + length));
    at += Math.max(length, 4);
  }
  return packets;
}

function packetLength(body: Buffer, at: number): number | undefined {
  const digits = body.toString('latin1', at, at + 4);
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) return undefined;
  const length = Number.parseInt(digits, 16);
  // 0000 flush, 0001 delimiter, 0002 response end; 0003 means nothing, and 0004 (empty) is not sent by git.
  if (length === 3 || length > 65_520 || at + length > body.length) return undefined;
  return length;
}

/** Encodes a text packet. */
export function packet(text: string): Buffer {
  const payload = Buffer.from(text);
  return Buffer.concat([Buffer.from((payload.length + 4).toString(16).padStart(4, '0')), payload]);
}

/** The object names that a fetch request wants (protocol 0, 1 or 2), or undefined when a want is not an object name. */
export function wantedIds(packets: readonly Packet[]): string[] | undefined {
  const ids = new Set<string>();
  for (const payload of packets) {
    const line = payload?.toString('latin1');
    if (line?.startsWith('want') !== true) continue;
    const id = /^want ([0-9a-f]{40}(?:[0-9a-f]{24})?)(?:[ \n]|$)/.exec(line)?.[1];
    if (id === undefined) return undefined;
    ids.add(id);
  }
  return [...ids];
}
