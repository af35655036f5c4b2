import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Digest } from '../../src/sandbox/kernel/digest.ts';
import { KernelEntry } from '../../src/sandbox/kernel/entry.ts';
import { decodePacket } from '../../src/sandbox/kernel/packet.ts';
import {
  clonePacket,
  connectPacket,
  CONTAINER,
  execPacket,
  execvePacket,
  exitPacket,
  openPacket,
  packet,
  context,
  field,
  socketPacket,
} from './kernel-packets.ts';

function digestOf(...packets: Buffer[]): Digest {
  const digest = new Digest(CONTAINER, 0);
  for (const bytes of packets) digest.take(decodePacket(bytes), 0);
  return digest;
}

function lines(...packets: Buffer[]): KernelEntry[] {
  return digestOf(...packets)
    .end(true)
    .map((line) => KernelEntry.parse(line));
}

type Data<T extends KernelEntry['type']> = Extract<KernelEntry, { type: T }>['data'];

/** The data of all lines of one type. */
function ofType<T extends KernelEntry['type']>(entries: KernelEntry[], type: T): Data<T>[] {
  return entries.filter((entry) => entry.type === type).map(({ data }) => data as Data<T>);
}

describe('programs', () => {
  it('have a start with arguments, directory and parent, and an exit', () => {
    const found = lines(
      clonePacket(8, { pid: 7 }),
      execPacket(['ls', '-l'], { pid: 8 }),
      execvePacket({ pid: 8 }),
      exitPacket(2 * 256, { pid: 8, comm: 'ls' }),
    );
    expect(found).toEqual([
      {
        type: 'process.start',
        data: {
          'process.pid': 8,
          'process.parent_pid': 7,
          'process.executable.path': '/usr/bin/ls',
          'process.command_args': ['ls', '-l'],
          cwd: '/workspace',
        },
      },
      { type: 'process.exit', data: { 'process.pid': 8, 'process.command': 'ls', 'process.exit.code': 2 } },
      { type: 'kernel.end', data: { starts: 1, exits: 1, connects: 0, opens: 0, missed: 0, complete: true } },
    ]);
  });

  it('that a signal ended say so, and a fork without a program is not told', () => {
    const found = lines(
      execPacket(['a'], { pid: 8 }),
      exitPacket(9, { pid: 8 }),
      clonePacket(9, { pid: 7 }),
      exitPacket(0, { pid: 9 }),
    );
    expect(ofType(found, 'process.exit')).toEqual([
      { 'process.pid': 8, 'process.command': 'sh', 'process.exit.signal': 9 },
    ]);
  });

  it('that the host started are joined by name with their arguments, once', () => {
    const digest = new Digest(CONTAINER, 0);
    digest.launched(['/bin/sleep', '9']);
    digest.launched(['bash', '-c', 'true']);
    digest.take(decodePacket(openPacket('/etc/passwd', 0, { pid: 4, comm: 'bash' })), 0);
    digest.take(decodePacket(exitPacket(0, { pid: 4, comm: 'bash' })), 0);
    digest.take(decodePacket(exitPacket(256, { pid: 5, comm: 'sleep' })), 0);
    digest.take(decodePacket(exitPacket(256, { pid: 6, comm: 'stranger' })), 0);
    const found = digest.end(true);
    expect(ofType(found, 'process.start')).toEqual([
      { 'process.pid': 4, 'process.command_args': ['bash', '-c', 'true'], byHost: true },
      { 'process.pid': 5, 'process.command_args': ['/bin/sleep', '9'], byHost: true },
    ]);
    expect(ofType(found, 'process.exit').map((data) => data['process.pid'])).toEqual([4, 5]);
  });

  it('in a flood are counted exactly, by name', () => {
    const digest = new Digest(CONTAINER, 0);
    for (let pid = 10; pid < 2010; pid += 1) {
      digest.take(decodePacket(execPacket([pid % 2 === 0 ? 'even' : 'odd'], { pid })), 0);
      digest.take(decodePacket(exitPacket(0, { pid, comm: 'x' })), 0);
    }
    const found = digest.end(true);
    const [burst] = ofType(found, 'process.burst');
    const single = ofType(found, 'process.start').length;
    expect(found.length).toBeLessThan(500);
    expect(single + (burst?.starts ?? 0)).toBe(2000);
    expect(ofType(found, 'process.exit').length + (burst?.exits ?? 0)).toBe(2000);
    expect((burst?.commands['even'] ?? 0) + (burst?.commands['odd'] ?? 0)).toBe(burst?.starts);
    expect(ofType(found, 'kernel.end')).toMatchObject([{ starts: 2000, exits: 2000, complete: true }]);
  });
});

describe('files and connections', () => {
  it('opened for writing are told once a window for each process, with full paths and an exact count', () => {
    const many = Array.from({ length: 300 }, (_unused, index) => openPacket(`./f${index}`, 577));
    const found = lines(
      ...many,
      openPacket('/etc/passwd', 0),
      openPacket('/dev/null', 1),
      openPacket('shadow', 1, { errno: 13, directory: '/etc', pid: 9 }),
    );
    const [first, second] = ofType(found, 'kernel.open');
    expect(first).toMatchObject({ 'process.pid': 7, count: 300, refused: 0 });
    expect(first?.paths.slice(0, 2)).toEqual(['/workspace/f0', '/workspace/f1']);
    expect(first?.paths.length).toBe(20);
    expect(second).toMatchObject({ 'process.pid': 9, count: 0, refused: 1, paths: ['/etc/shadow'] });
  });

  it('tell a refused connect and a datagram socket (NET-002, NET-016)', () => {
    const found = lines(
      socketPacket(2, 1, { fd: 3 }),
      connectPacket('1.1.1.1', 25, { fd: 3, errno: 111 }),
      connectPacket('1.1.1.1', 25, { fd: 3, errno: 111 }),
      socketPacket(2, 2, { fd: 4 }),
      connectPacket('8.8.8.8', 443, { fd: 4, errno: 115 }),
      socketPacket(2, 3, { fd: 5 }),
      socketPacket(17, 3, { fd: 6 }),
      socketPacket(1, 2, { fd: 7 }),
    );
    expect(
      ofType(found, 'kernel.connect').map((data) => [
        data['network.peer.address'],
        data['network.peer.port'],
        data['network.transport'],
        data.outcome,
        data.count,
      ]),
    ).toEqual([
      ['1.1.1.1', 25, 'tcp', 'ECONNREFUSED', 2],
      ['8.8.8.8', 443, 'udp', 'EINPROGRESS', 1],
    ]);
    expect(ofType(found, 'kernel.socket').map((data) => data['network.transport'])).toEqual(['udp', 'raw', 'packet']);
  });

  it('to more places than a window tells apart lose their names, not their number', () => {
    const many = Array.from({ length: 1000 }, (_unused, index) => connectPacket('9.9.9.9', index + 1));
    const found = ofType(lines(...many), 'kernel.connect');
    expect(found.length).toBeLessThan(150);
    expect(found.reduce((sum, { count }) => sum + count, 0)).toBe(1000);
  });
});

describe('gaps', () => {
  it('are the difference of the header’s counts, of which older ones may come later', () => {
    const counts = [3, 10, 7, 10, 9];
    const digest = digestOf(...counts.map((dropped, at) => execPacket([`p${at}`], {}, { dropped })));
    const found = digest.end(true);
    expect(ofType(found, 'kernel.gap')).toEqual([{ reason: 'dropped', count: 10 }]);
    expect(ofType(found, 'kernel.end')).toMatchObject([{ missed: 10, complete: false }]);
  });

  it('show a start whose event did not come, and not one that failed (AUD-007)', () => {
    const found = lines(
      execPacket(['a']),
      execvePacket(),
      execvePacket({}, 2),
      execvePacket({ comm: 'hidden' }),
      execPacket(['b']),
      execvePacket(),
    );
    expect(ofType(found, 'kernel.gap')).toEqual([{ reason: 'start_unseen', count: 1, detail: 'hidden' }]);
  });

  it('are what is garbled, unknown, or says that it is of another sandbox (AUD-008)', () => {
    const found = lines(
      execPacket(['mine']),
      execPacket(['forged'], { container: 'd'.repeat(64) }),
      packet(999, [context()]),
      packet(3, [field(1, 5)]),
    );
    expect(JSON.stringify(found)).not.toContain('forged');
    expect(ofType(found, 'kernel.gap')).toEqual([
      { reason: 'foreign', count: 1 },
      { reason: 'garbled', count: 1, detail: 'type' },
      { reason: 'garbled', count: 1, detail: 'message' },
    ]);
  });

  it('stand at the end when the last count is not known', () => {
    expect(ofType(digestOf(execPacket(['a'])).end(false), 'kernel.end')).toMatchObject([{ complete: false }]);
  });
});

describe('a hostile kernel', () => {
  it('gets lines of the agreed shapes and a bounded number of them, whatever it sends and for how long', () => {
    const number = fc.oneof(fc.integer({ min: -5, max: 50 }), fc.integer());
    const text = fc.string({ maxLength: 100, unit: 'binary' });
    const any = fc
      .record({
        kind: fc.nat(6),
        pid: number,
        comm: text,
        text,
        number,
        dropped: fc.nat(9),
        container: fc.constantFrom(CONTAINER, 'x'),
      })
      .map(({ kind, pid, comm, text: name, number: value, dropped, container }) => {
        const by = { pid, comm, container };
        const made = [
          () => execPacket([name], by, { dropped }),
          () => exitPacket(value, by),
          () => clonePacket(value, by),
          () => openPacket(name, value, by),
          () => connectPacket('1.2.3.4', value & 0xffff, { ...by, errno: value }),
          () => socketPacket(value, value, by),
          () => execvePacket(by, value, dropped),
        ];
        return decodePacket((made[kind] ?? (() => Buffer.alloc(3)))());
      });
    fc.assert(
      fc.property(fc.array(any, { minLength: 20, maxLength: 80 }), (packets) => {
        const digest = new Digest(CONTAINER, 0);
        const found: KernelEntry[] = [];
        for (const [index, one] of packets.entries()) {
          digest.take(one, index * 100);
          found.push(...digest.lines(index * 100));
        }
        found.push(...digest.end(true));
        expect(found.filter((entry) => !KernelEntry.safeParse(entry).success)).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });

  it('cannot make the record grow without end', () => {
    const digest = new Digest(CONTAINER, 0);
    const [start, connect] = [decodePacket(execPacket(['x'])), decodePacket(connectPacket('9.9.9.9', 1))];
    if (!start.ok || !connect.ok || start.event.kind !== 'exec' || connect.event.kind !== 'connect') throw new Error();
    let written = 0;
    // An hour at fifty new names a second, of everything at once.
    for (let second = 0; second < 3600; second += 1) {
      for (let index = 0; index < 50; index += 1) {
        const pid = second * 50 + index;
        digest.take({ ...start, event: { ...start.event, pid, argv: [`p${pid}`] } }, second * 1000);
        const address = { family: 'inet' as const, ip: '9.9.9.9', port: pid & 0xffff };
        digest.take({ ...connect, event: { ...connect.event, pid, address } }, second * 1000);
      }
      written += digest.lines(second * 1000).length;
    }
    expect(written).toBeLessThan(25_000);
    const [end] = ofType(digest.end(true), 'kernel.end');
    expect(end).toMatchObject({ starts: 180_000, connects: 180_000 });
  });
});
