/** Packets as gVisor's kernel makes them, for tests of what reads them. */

export interface By {
  pid?: number;
  tid?: number;
  comm?: string;
  cwd?: string;
  container?: string;
}

export const CONTAINER = 'c'.repeat(64);

export function varint(value: number | bigint): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Buffer.from(bytes);
}

/** One field; numbers as varints, everything else with its length. */
export function field(number: number, value: number | bigint | string | Buffer): Buffer {
  if (typeof value === 'number' || typeof value === 'bigint') return Buffer.concat([varint(number * 8), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

export function packet(type: number, fields: Buffer[], dropped = 0): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16LE(8, 0);
  header.writeUInt16LE(type, 2);
  header.writeUInt32LE(dropped, 4);
  return Buffer.concat([header, ...fields]);
}

export function context({
  pid = 7,
  tid = pid,
  comm = 'sh',
  cwd = '/workspace',
  container = CONTAINER,
}: By = {}): Buffer {
  return field(
    1,
    Buffer.concat([
      field(1, 1_795_597_061_198_544_000n),
      field(2, tid),
      field(4, pid),
      field(6, container),
      field(8, cwd),
      field(9, comm),
    ]),
  );
}

function exit(errno = 0, result = 0): Buffer {
  return field(2, Buffer.concat([field(1, result), ...(errno === 0 ? [] : [field(2, errno)])]));
}

export function execPacket(argv: string[], by: By = {}, options: { env?: string[]; dropped?: number } = {}): Buffer {
  return packet(
    3,
    [
      context(by),
      field(2, `/usr/bin/${argv[0] ?? ''}`),
      ...argv.map((argument) => field(3, argument)),
      ...(options.env ?? []).map((variable) => field(4, variable)),
    ],
    options.dropped,
  );
}

/** An execve that came back, without its arguments. */
export function execvePacket(by: By = {}, errno = 0, dropped = 0): Buffer {
  return packet(6, [context(by), exit(errno), field(4, 59)], dropped);
}

export function exitPacket(status: number, by: By = {}): Buffer {
  return packet(4, [context(by), ...(status === 0 ? [] : [field(2, status)])]);
}

export function clonePacket(child: number, by: By = {}): Buffer {
  return packet(2, [context(by), field(3, child), field(4, child)]);
}

export function openPacket(path: string, flags: number, by: By & { directory?: string; errno?: number } = {}): Buffer {
  const directory = by.directory === undefined ? [] : [field(5, by.directory)];
  return packet(7, [
    context(by),
    exit(by.errno, 3),
    field(3, 257),
    field(4, -100),
    ...directory,
    field(6, path),
    field(7, flags),
  ]);
}

export function connectPacket(ip: string, port: number, by: By & { fd?: number; errno?: number } = {}): Buffer {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(2, 0);
  address.writeUInt16BE(port, 2);
  Buffer.from(ip.split('.').map(Number)).copy(address, 4);
  return packet(10, [context(by), exit(by.errno), field(3, 42), field(4, by.fd ?? 3), field(6, address)]);
}

export function socketPacket(domain: number, type: number, by: By & { fd?: number } = {}): Buffer {
  return packet(12, [context(by), exit(0, by.fd ?? 3), field(3, 41), field(4, domain), field(5, type)]);
}
