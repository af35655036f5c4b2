import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_ARGUMENTS, MAX_TEXT } from '../../src/domain/events/process.ts';
import { KernelEvent } from '../../src/sandbox/kernel/event.ts';
import { decodePacket, isHandshake, MAX_PACKET } from '../../src/sandbox/kernel/packet.ts';
import {
  clonePacket,
  connectPacket,
  CONTAINER,
  context,
  execPacket,
  execvePacket,
  exitPacket,
  field,
  openPacket,
  packet,
  socketPacket,
  varint,
} from './kernel-packets.ts';

const by = { pid: 7, tid: 7, comm: 'sh', cwd: '/workspace' };

function event(bytes: Buffer): KernelEvent {
  const decoded = decodePacket(bytes);
  if (!decoded.ok) throw new Error(`not decoded: ${decoded.why}`);
  return decoded.event;
}

const unix = (path: Buffer): Buffer => packet(10, [context(), field(4, 3), field(6, path)]);

describe('one packet', () => {
  const cases: [string, Buffer, KernelEvent][] = [
    ['a start', execPacket(['ls', '-l']), { kind: 'exec', ...by, binary: '/usr/bin/ls', argv: ['ls', '-l'], argc: 2 }],
    ['an execve that went well', execvePacket(), { kind: 'execve', ...by, errno: 0 }],
    ['an execve that did not', execvePacket({}, 2), { kind: 'execve', ...by, errno: 2 }],
    ['an execve that begins', packet(6, [context(), field(4, 59)]), { kind: 'entry', ...by }],
    ['a fork', clonePacket(8), { kind: 'clone', ...by, child: 8, thread: 8 }],
    ['an exit', exitPacket(7 * 256), { kind: 'exit', ...by, status: 1792 }],
    ['a signal', exitPacket(9), { kind: 'exit', ...by, status: 9 }],
    [
      'an open for writing',
      openPacket('x', 577),
      { kind: 'open', ...by, path: 'x', directory: '', write: true, errno: 0 },
    ],
    [
      'an open for reading, in a directory, refused',
      openPacket('x', 0o2000000, { directory: '/d', errno: 13 }),
      { kind: 'open', ...by, path: 'x', directory: '/d', write: false, errno: 13 },
    ],
    [
      'a connect',
      connectPacket('1.2.3.4', 80, { errno: 111 }),
      { kind: 'connect', ...by, fd: 3, address: { family: 'inet', ip: '1.2.3.4', port: 80 }, errno: 111 },
    ],
    [
      'a connect whose path is followed by rubbish',
      unix(Buffer.from('\x01\0/run/x.sock\0\x04\xff\0rubbish', 'latin1')),
      { kind: 'connect', ...by, fd: 3, address: { family: 'unix', path: '/run/x.sock' }, errno: 0 },
    ],
    [
      'an abstract name',
      unix(Buffer.from('\x01\0\0name\0rubbish', 'latin1')),
      { kind: 'connect', ...by, fd: 3, address: { family: 'unix', path: '@name' }, errno: 0 },
    ],
    [
      'an address that is cut',
      unix(Buffer.from([2, 0, 0])),
      { kind: 'connect', ...by, fd: 3, address: { family: 'other', number: 2 }, errno: 0 },
    ],
    [
      'a datagram socket',
      socketPacket(2, 2 | 0o2000000, { fd: 5 }),
      { kind: 'socket', ...by, fd: 5, domain: 2, type: 2, errno: 0 },
    ],
    ['a type that nobody asked for', packet(999, [context()]), { kind: 'other', ...by, type: 999 }],
  ];
  it.each(cases)('%s', (_name, bytes, expected) => {
    expect(decodePacket(bytes)).toEqual({ ok: true, dropped: 0, container: CONTAINER, event: expected });
  });

  it('says how many events were dropped before it', () => {
    expect(decodePacket(execPacket(['a'], {}, { dropped: 4_000_000_000 }))).toMatchObject({ dropped: 4_000_000_000 });
  });

  it('never keeps a value of the environment', () => {
    const secret = 'TOKEN=hunter2-hunter2';
    const decoded = decodePacket(execPacket(['env'], {}, { env: [secret, secret] }));
    expect(decoded.ok).toBe(true);
    expect(JSON.stringify(decoded)).not.toContain('hunter2');
  });

  it('cuts long texts and long lists, and says how many there were', () => {
    const argv = ['x'.repeat(MAX_TEXT + 10), ...Array.from({ length: 200 }, () => 'y')];
    const decoded = event(execPacket(argv));
    expect(decoded).toMatchObject({ kind: 'exec', argc: 201 });
    if (decoded.kind !== 'exec') throw new Error('unreachable');
    expect([decoded.argv.length, decoded.argv[0]?.length]).toEqual([MAX_ARGUMENTS, MAX_TEXT]);
  });

  it('reads names that are no text', () => {
    expect(event(execPacket(['a'], { comm: '\u2028\n' }))).toMatchObject({ comm: '\u2028\n' });
    const odd = event(packet(3, [context(), field(3, Buffer.from([0xff, 0xfe, 0x41]))]));
    expect(odd).toMatchObject({ argv: ['\ufffd\ufffdA'] });
  });
});

describe('what is no packet', () => {
  it.each([
    ['nothing', Buffer.alloc(0), 'header'],
    ['half a header', Buffer.from([8, 0, 3]), 'header'],
    ['a header that is longer than the packet', Buffer.from([0xff, 0xff, 3, 0, 0, 0, 0, 0]), 'header'],
    ['a header that is shorter than one', Buffer.from([4, 0, 3, 0, 0, 0, 0, 0]), 'header'],
    ['a message that ends in the middle', execPacket(['abc']).subarray(0, -1), 'message'],
    ['a length beyond the end', packet(3, [varint(2 * 8 + 2), varint(2 ** 40)]), 'message'],
    ['a negative length', packet(3, [varint(2 * 8 + 2), varint(-1)]), 'message'],
    ['a number without an end', packet(3, [Buffer.alloc(20, 0xff)]), 'message'],
    ['a group, which the format gave up', packet(3, [varint(2 * 8 + 3)]), 'message'],
    ['a context that is a number', packet(3, [field(1, 5)]), 'message'],
    ['a pid that is no pid', packet(4, [field(1, field(4, 2n ** 62n))]), 'values'],
    ['more than fits', Buffer.alloc(MAX_PACKET + 1), 'oversized'],
  ])('%s', (_name, bytes, why) => {
    expect(decodePacket(bytes)).toMatchObject({ ok: false, why });
  });

  it('never throws, and whatever it takes is an event within its bounds', () => {
    const whole = [execPacket(['ls', '/']), connectPacket('1.1.1.1', 1), openPacket('/x', 1), exitPacket(3)];
    const mangled = fc
      .tuple(fc.constantFrom(...whole), fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 8 }), fc.nat(300))
      .map(([bytes, edits, cut]) => {
        const copy = Buffer.from(bytes);
        for (const [at, value] of edits) copy[at % copy.length] = value;
        return copy.subarray(0, Math.max(0, copy.length - (cut % 40)));
      });
    const garbage = fc
      .tuple(fc.nat(40), fc.uint8Array({ maxLength: 2000 }))
      .map(([type, body]) => packet(type, [Buffer.from(body)]));
    fc.assert(
      fc.property(
        fc.oneof(
          mangled,
          garbage,
          fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
        ),
        (bytes) => {
          const decoded = decodePacket(bytes);
          if (decoded.ok) expect(KernelEvent.safeParse(decoded.event).success).toBe(true);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('the handshake', () => {
  it('is taken from version 1 on, and nothing else is one', () => {
    expect(isHandshake(field(1, 1))).toBe(true);
    expect(isHandshake(field(1, 2))).toBe(true);
    for (const bytes of [Buffer.alloc(0), field(1, 0), field(1, 'x'), field(2, 1), Buffer.alloc(4, 0xff)]) {
      expect(isHandshake(bytes)).toBe(false);
    }
    expect(isHandshake(Buffer.concat([field(1, 1), field(3, 'x'.repeat(100))]))).toBe(false);
  });
});
