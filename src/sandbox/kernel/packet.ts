/**
 * One packet of gVisor's remote event sink: a header of little-endian numbers (its own size, the message's type, how many
 * events were dropped before this one), then the message. Source: gVisor's `pkg/sentry/seccheck/sinks/remote/wire` and
 * `points/*.proto`, checked against what release 20240729 sends.
 *
 * Trust: as in `wire.ts`. What a message says about whose it is, is never used: a connection is bound to its run by its
 * peer process before the first packet.
 */
import { MAX_ARGUMENTS, MAX_TEXT } from '../../domain/events/process.ts';
import { KernelEvent } from './event.ts';
import type { KernelAddress } from './event.ts';
import { readFields } from './wire.ts';
import type { FieldValue } from './wire.ts';

/** Version of the protocol that both ends speak. */
const VERSION = 1;
const HEADER = 8;
/** More than the kernel lets one packet be with gVisor's socket buffer. */
export const MAX_PACKET = 2 ** 18;
/** The host's answer to a handshake that it accepts. */
export const HANDSHAKE_ANSWER: Buffer = Buffer.from([8, VERSION]);

export type Packet =
  /** `container` is the id that the sender claims, for comparison only. */
  | { ok: true; dropped: number; container: string; event: KernelEvent }
  | { ok: false; dropped: number | undefined; why: 'header' | 'message' | 'values' | 'oversized' };

/** Whether the first packet of a connection is a handshake of a version that can be spoken with. */
export function isHandshake(bytes: Buffer): boolean {
  let version = 0;
  const whole = readFields(bytes, (field, value) => {
    if (field === 1 && typeof value === 'number') version = value;
  });
  return whole && bytes.length <= 64 && version >= VERSION;
}

/** Never throws and keeps no reference to the bytes. */
export function decodePacket(bytes: Buffer): Packet {
  if (bytes.length > MAX_PACKET) return { ok: false, dropped: undefined, why: 'oversized' };
  if (bytes.length < HEADER) return { ok: false, dropped: undefined, why: 'header' };
  const size = bytes.readUInt16LE(0);
  if (size < HEADER || size > bytes.length) return { ok: false, dropped: undefined, why: 'header' };
  const dropped = bytes.readUInt32LE(4);
  const type = bytes.readUInt16LE(2);
  const fields = new Collected(type);
  if (!readFields(bytes.subarray(size), (field, value) => fields.take(field, value)) || fields.broken) {
    return { ok: false, dropped, why: 'message' };
  }
  const event = KernelEvent.safeParse(toEvent(type, fields));
  if (!event.success) return { ok: false, dropped, why: 'values' };
  return { ok: true, dropped, container: fields.container, event: event.data };
}

/** Types of messages, as gVisor numbers them. */
const TYPE = { container: 1, clone: 2, exec: 3, exit: 4, raw: 6, open: 7, connect: 10, socket: 12 } as const;
/** Field that holds a list of texts, by type; a process's environment is none of them. */
const LIST: Partial<Record<number, number>> = { [TYPE.container]: 4, [TYPE.exec]: 3 };

/** The fields of one message that are kept, each within its bound. */
class Collected {
  readonly by = { pid: 0, tid: 0, comm: '', cwd: '' };
  container = '';
  errno = 0;
  /** Whether it is the end of a call, which has a result. */
  returned = false;
  result = 0;
  broken = false;
  readonly list: string[] = [];
  count = 0;
  readonly #values = new Map<number, FieldValue>();
  readonly #type: number;

  constructor(type: number) {
    this.#type = type;
  }

  take(field: number, value: FieldValue): void {
    if (field === 1) this.#nested(value, (inner, part) => this.#context(inner, part));
    else if (field === 2 && this.#type >= TYPE.raw) {
      this.returned = true;
      this.#nested(value, (inner, part) => this.#exit(inner, part));
    } else if (field === LIST[this.#type]) this.#append(value);
    else if (field <= 16) this.#values.set(field, value);
  }

  number(field: number): number {
    const value = this.#values.get(field);
    return typeof value === 'number' ? value : 0;
  }

  text(field: number): string {
    return asText(this.#values.get(field));
  }

  bytes(field: number): Buffer {
    const value = this.#values.get(field);
    return typeof value === 'object' ? value : Buffer.alloc(0);
  }

  #nested(value: FieldValue, visit: (field: number, value: FieldValue) => void): void {
    if (typeof value === 'number' || !readFields(value, visit)) this.broken = true;
  }

  #context(field: number, value: FieldValue): void {
    if (field === 2 && typeof value === 'number') this.by.tid = value;
    else if (field === 4 && typeof value === 'number') this.by.pid = value;
    else if (field === 6) this.container = asText(value).slice(0, 128);
    else if (field === 8) this.by.cwd = asText(value);
    else if (field === 9) this.by.comm = asText(value).slice(0, 64);
  }

  #exit(field: number, value: FieldValue): void {
    if (typeof value !== 'number') return;
    if (field === 1) this.result = value;
    else if (field === 2) this.errno = value;
  }

  #append(value: FieldValue): void {
    this.count += 1;
    if (this.list.length < MAX_ARGUMENTS) this.list.push(asText(value));
  }
}

function asText(value: FieldValue | undefined): string {
  return typeof value === 'object' ? value.subarray(0, MAX_TEXT).toString('utf8') : '';
}

/** Flags of open(2) that let a file be changed: write, read and write, create, truncate. */
const O_WRITES = 0o1 | 0o2 | 0o100 | 0o1000;

function toEvent(type: number, fields: Collected): KernelEvent {
  const { by, errno, list, count } = fields;
  switch (type) {
    case TYPE.container:
      return { kind: 'container', argv: list, argc: count, cwd: fields.text(3) };
    case TYPE.clone:
      return { kind: 'clone', ...by, thread: fields.number(3), child: fields.number(4) };
    case TYPE.exec:
      return { kind: 'exec', ...by, binary: fields.text(2), argv: list, argc: count };
    case TYPE.exit:
      return { kind: 'exit', ...by, status: fields.number(2) };
    case TYPE.raw:
      return fields.returned ? { kind: 'execve', ...by, errno } : { kind: 'entry', ...by };
    case TYPE.open: {
      const write = (fields.number(7) & O_WRITES) !== 0 || fields.number(3) === SYS_CREAT;
      return { kind: 'open', ...by, path: fields.text(6), directory: fields.text(5), write, errno };
    }
    case TYPE.connect:
      return { kind: 'connect', ...by, fd: fields.number(4), address: addressOf(fields.bytes(6)), errno };
    case TYPE.socket: {
      const [domain, kind] = [fields.number(4), fields.number(5)];
      return { kind: 'socket', ...by, fd: fields.result, domain, type: kind & 0xf, errno };
    }
    default:
      return { kind: 'other', ...by, type };
  }
}

/** creat(2) has no flags and always writes. */
const SYS_CREAT = 85;

/** A `sockaddr` as the process gave it: the family in the host's order, the rest as the family has it. */
function addressOf(bytes: Buffer): KernelAddress {
  const family = bytes.length < 2 ? 0 : bytes.readUInt16LE(0);
  if (family === 1) {
    // What follows the first NUL is left over from the caller's stack; a leading one marks an abstract name.
    const name = bytes.subarray(2, 110);
    const end = name.indexOf(0, name[0] === 0 ? 1 : 0);
    const path = name.subarray(0, end < 0 ? name.length : end).toString('utf8');
    return { family: 'unix', path: path.replace('\0', '@') };
  }
  if (family === 2 && bytes.length >= 8) {
    return { family: 'inet', ip: [...bytes.subarray(4, 8)].join('.'), port: bytes.readUInt16BE(2) };
  }
  if (family === 10 && bytes.length >= 24) {
    const groups = Array.from({ length: 8 }, (_unused, index) => bytes.readUInt16BE(8 + 2 * index).toString(16));
    return { family: 'inet', ip: groups.join(':'), port: bytes.readUInt16BE(2) };
  }
  return { family: 'other', number: family };
}
