import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { deflateSync } from 'node:zlib';

/** Git objects, packs and bundles made byte by byte, so that they can be as wrong as no git would make them. */
export type ObjectType = 'commit' | 'tree' | 'blob';
export interface CraftedObject {
  type: ObjectType;
  data: Buffer;
}

const TYPE_BITS: Record<ObjectType, number> = { commit: 1, tree: 2, blob: 3 };
const REF_DELTA = 7;

export function idOf({ type, data }: CraftedObject): string {
  return createHash('sha1').update(`${type} ${data.length}\0`).update(data).digest('hex');
}

export function blob(content: string | Buffer): CraftedObject {
  return { type: 'blob', data: Buffer.from(content) };
}

/** A tree of exactly these entries, in exactly this order. */
export function tree(entries: readonly (readonly [mode: string, name: string | Buffer, id: string])[]): CraftedObject {
  const rows = entries.map(([mode, name, id]) =>
    Buffer.concat([Buffer.from(`${mode} `), Buffer.from(name), Buffer.from([0]), Buffer.from(id, 'hex')]),
  );
  return { type: 'tree', data: Buffer.concat(rows) };
}

export function commit(treeId: string, parents: readonly string[], headers = ''): CraftedObject {
  const who = 'agent <agent@sandbox.invalid> 1700000000 +0000';
  const lines = [`tree ${treeId}`, ...parents.map((parent) => `parent ${parent}`), `author ${who}`, `committer ${who}`];
  return { type: 'commit', data: Buffer.from(`${lines.join('\n')}\n${headers}\nresult\n`) };
}

function entryHeader(type: number, size: number): Buffer {
  const bytes = [(type << 4) | (size & 15)];
  for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 128)) {
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 128;
    bytes.push(rest & 127);
  }
  return Buffer.from(bytes);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 128 : low);
  } while (rest > 0);
  return Buffer.from(bytes);
}

export function packed(object: CraftedObject): Buffer {
  return Buffer.concat([entryHeader(TYPE_BITS[object.type], object.data.length), deflated(object.data)]);
}

/** Quickly rather than well: packs here are a gigabyte of zeros, or a hundred thousand commits, for each of which zlib would lay out its tables. */
function deflated(data: Buffer): Buffer {
  return deflateSync(data, data.length < 512 ? { level: 1, windowBits: 9, memLevel: 1 } : { level: 1 });
}

/** A delta that copies its whole base `times` times. */
export function deltaBomb(base: CraftedObject, times: number): Buffer {
  const size = base.data.length;
  const copy = Buffer.from([0x80 | 0x70, size & 255, (size >> 8) & 255, (size >> 16) & 255]);
  const delta = Buffer.concat([varint(size), varint(size * times), ...Array.from({ length: times }, () => copy)]);
  return Buffer.concat([entryHeader(REF_DELTA, delta.length), Buffer.from(idOf(base), 'hex'), deflated(delta)]);
}

export function pack(entries: readonly Buffer[], count = entries.length): Buffer {
  const header = Buffer.alloc(12);
  header.write('PACK');
  header.writeUInt32BE(2, 4);
  header.writeUInt32BE(count, 8);
  const body = Buffer.concat([header, ...entries]);
  return Buffer.concat([body, createHash('sha1').update(body).digest()]);
}

export const RESULT_REF = 'refs/cofferdam/result';

/** Writes a bundle file: header lines as given, then the pack. */
export function writeBundle(file: string, header: readonly (string | Buffer)[], packBytes: Buffer): string {
  const out = openSync(file, 'w');
  for (const line of header) writeSync(out, Buffer.concat([Buffer.from(line), Buffer.from('\n')]));
  writeSync(out, '\n');
  writeSync(out, packBytes);
  closeSync(out);
  return file;
}

/** A bundle with one commit of this root tree on `base`; `objects` are all other objects. */
export function bundleOf(
  file: string,
  options: { base: string; root: CraftedObject; objects?: readonly CraftedObject[]; entries?: readonly Buffer[] },
): string {
  const tip = commit(idOf(options.root), [options.base]);
  const entries = [...[tip, options.root, ...(options.objects ?? [])].map(packed), ...(options.entries ?? [])];
  return writeBundle(file, ['# v2 git bundle', `-${options.base} first`, `${idOf(tip)} ${RESULT_REF}`], pack(entries));
}
