/**
 * The one wire format that gVisor's events come in: protocol buffers, of which only the parts that it uses are read.
 *
 * Trust: the bytes come from the sandbox's kernel, which an attacker may own. Nothing here allocates by a length that the
 * bytes state, recurses, or runs past the end; whatever does not fit is `false`.
 */

/** A field's value: a whole number, or the bytes of a string, a list's member or a nested message. */
export type FieldValue = number | Buffer;

interface Cursor {
  at: number;
}

/**
 * Calls `visit` for each field in order. Numbers are read as signed 64-bit integers and rounded to what a double holds.
 * False when the bytes are no such message; fields before the fault have been visited by then.
 */
export function readFields(bytes: Buffer, visit: (field: number, value: FieldValue) => void): boolean {
  const cursor: Cursor = { at: 0 };
  while (cursor.at < bytes.length) {
    const tag = readVarint(bytes, cursor);
    if (tag === undefined || tag < 8 || tag > 0xffff_ffff) return false;
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0: {
        const value = readVarint(bytes, cursor);
        if (value === undefined) return false;
        visit(field, value);
        break;
      }
      case 1:
        cursor.at += 8;
        break;
      case 2: {
        const length = readVarint(bytes, cursor);
        if (length === undefined || length < 0 || length > bytes.length - cursor.at) return false;
        visit(field, bytes.subarray(cursor.at, cursor.at + length));
        cursor.at += length;
        break;
      }
      case 5:
        cursor.at += 4;
        break;
      default:
        return false;
    }
    if (cursor.at > bytes.length) return false;
  }
  return true;
}

/** Undefined when it does not end within ten bytes or the message. */
function readVarint(bytes: Buffer, cursor: Cursor): number | undefined {
  let value = 0;
  let scale = 1;
  // Four groups of seven bits are exact in any arithmetic; longer ones, such as times and negative numbers, need 64 bits.
  for (let index = 0; index < 4; index += 1) {
    const byte = bytes[cursor.at + index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      cursor.at += index + 1;
      return value;
    }
    scale *= 128;
  }
  let wide = BigInt(value);
  for (let index = 4; index < 10; index += 1) {
    const byte = bytes[cursor.at + index];
    if (byte === undefined) return undefined;
    wide |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) {
      cursor.at += index + 1;
      return Number(BigInt.asIntN(64, wide));
    }
  }
  return undefined;
}
