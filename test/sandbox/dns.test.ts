import dgram from 'node:dgram';
import net from 'node:net';
import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { parseQuery } from '../../src/sandbox/portal/dns-message.ts';
import { respond, serveDns } from '../../src/sandbox/portal/dns.ts';
import type { DnsServer } from '../../src/sandbox/portal/dns.ts';
import { createNames, type Names } from '../../src/sandbox/portal/names.ts';

type Allotted = Awaited<ReturnType<Names['lookup']>>;

const asked: string[] = [];
const names = createNames({
  ask: (name, type) => {
    asked.push(type === undefined ? name : `${type} ${name}`);
    const known = name === 'allowed.test' && type === undefined;
    return Promise.resolve(known ? { address: '198.18.0.7', ttl: 60 } : 'refused');
  },
});

function query(name: string, type = 'A', edns = false): Buffer {
  const additionals = edns
    ? [{ type: 'OPT' as const, name: '.' as const, udpPayloadSize: 4096, flags: 0, options: [] }]
    : [];
  const packet = { type: 'query' as const, id: 77, flags: 0x100, questions: [{ type, name } as never], additionals };
  return dnsPacket.encode(packet as never);
}

async function ask(message: Buffer): Promise<dnsPacket.DecodedPacket & { rcode: string }> {
  const reply = await respond(message, names);
  if (reply === undefined) throw new Error('no answer');
  return dnsPacket.decode(reply) as dnsPacket.DecodedPacket & { rcode: string };
}

describe('the portal’s answers', () => {
  it('gives the address that the gateway allotted', async () => {
    const reply = await ask(query('Allowed.TEST', 'A', true));
    expect(reply).toMatchObject({ id: 77, type: 'response', rcode: 'NOERROR' });
    expect(reply.answers).toEqual([expect.objectContaining({ type: 'A', data: '198.18.0.7', ttl: 60 })]);
    expect(reply.additionals).toHaveLength(1);
  });

  it('says that a refused name does not exist', async () => {
    expect(await ask(query('evil.test'))).toMatchObject({ rcode: 'NXDOMAIN', answers: [] });
  });

  it.each(['AAAA', 'UNKNOWN_65'] as const)(
    'DNS-005 has no data for %s of a name that policy holds, not “no such name”; the gateway hears of every other',
    async (type) => {
      expect(await ask(query('allowed.test', type))).toMatchObject({ rcode: 'NOERROR', answers: [] });
      expect(await ask(query(`${type}.evil.test`, type))).toMatchObject({ rcode: 'NXDOMAIN', answers: [] });
      expect(asked.at(-1)).toBe(`${type}.evil.test`.toLowerCase());
    },
  );

  it.each([
    ['TXT', 16],
    ['PTR', 12],
    ['NULL', 10],
    ['SRV', 33],
    ['CAA', 257],
    ['UNKNOWN_255', 255],
    ['UNKNOWN_65280', 65_280],
  ] as const)('DNS-001 has no %s of any name, and the gateway hears of each', async (type, number) => {
    for (const name of ['allowed.test', 'secret.evil.test']) {
      expect(await ask(query(name, type))).toMatchObject({ rcode: 'NXDOMAIN', answers: [] });
      expect(asked.at(-1)).toBe(`${number} ${name}`);
    }
    expect((await ask(query('allowed.test'))).answers).toHaveLength(1);
  });

  it('answers other types of its own names without asking', async () => {
    const before = asked.length;
    for (const name of ['localhost', 'portal.cofferdam.internal'])
      expect(await ask(query(name, 'TXT'))).toMatchObject({ rcode: 'NXDOMAIN', answers: [] });
    expect(asked.length).toBe(before);
  });

  it('knows localhost and itself', async () => {
    expect((await ask(query('localhost'))).answers).toEqual([expect.objectContaining({ data: '127.0.0.1' })]);
    expect((await ask(query('portal.cofferdam.internal'))).answers).toEqual([
      expect.objectContaining({ data: '198.18.0.1' }),
    ]);
  });
});

describe('DNS-008 malformed messages', () => {
  const header = (counts: number[], flags = 0x100) => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt16BE(flags, 2);
    counts.forEach((count, index) => bytes.writeUInt16BE(count, 4 + 2 * index));
    return bytes;
  };
  const question = Buffer.from([1, 97, 0, 0, 1, 0, 1]);

  it.each([
    ['no question', header([0, 0, 0, 0]), 1],
    ['two questions', Buffer.concat([header([2, 0, 0, 0]), question, question]), 1],
    ['a compression loop', Buffer.concat([header([1, 0, 0, 0]), Buffer.from([0xc0, 12, 0, 1, 0, 1])]), 1],
    ['a label of 64', Buffer.concat([header([1, 0, 0, 0]), Buffer.from([64]), Buffer.alloc(70)]), 1],
    ['a name that does not end', Buffer.concat([header([1, 0, 0, 0]), Buffer.from([3, 97, 97])]), 1],
    ['a cut type', Buffer.concat([header([1, 0, 0, 0]), question.subarray(0, 4)]), 1],
    ['a name of 300', Buffer.concat([header([1, 0, 0, 0]), Buffer.alloc(300, Buffer.from([1, 97])), question]), 1],
    ['another operation', Buffer.concat([header([1, 0, 0, 0], 0x2800), question]), 4],
  ])('refuses %s', async (_what, message, code) => {
    const reply = await respond(message, names);
    expect((reply?.readUInt16BE(2) ?? 0) & 0xf).toBe(code);
  });

  it('does not answer an answer, nor what is too short', async () => {
    expect(await respond(Buffer.concat([header([1, 0, 0, 0], 0x8100), question]), names)).toBeUndefined();
    expect(await respond(Buffer.alloc(11), names)).toBeUndefined();
  });

  it('never throws, and answers nothing larger than the question with one record', async () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 600 }),
      fc
        .tuple(fc.constantFrom(query('allowed.test'), query('a.b.c', 'AAAA', true)), fc.nat(40), fc.nat(255))
        .map(([message, at, value]) => Object.assign(Buffer.from(message), { [at % message.length]: value })),
    );
    await fc.assert(
      fc.asyncProperty(anything, async (bytes) => {
        const message = Buffer.from(bytes);
        const reply = await respond(message, names);
        expect(reply?.length ?? 0).toBeLessThanOrEqual(message.length + 27);
        if (reply !== undefined) expect(() => dnsPacket.decode(reply)).not.toThrow();
      }),
      { numRuns: 2000 },
    );
  });

  it('reads the same name as an independent decoder', () => {
    const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);
    fc.assert(
      fc.property(fc.array(label, { minLength: 1, maxLength: 6 }), (labels) => {
        const parsed = parseQuery(query(labels.join('.')));
        expect(parsed !== undefined && 'query' in parsed && parsed.query.name).toBe(labels.join('.'));
      }),
    );
  });
});

describe('the portal’s sockets', () => {
  let server: DnsServer | undefined;
  afterEach(() => server?.close());

  it('answers on UDP and TCP, and survives lengths that lie', async () => {
    server = await serveDns({ names, port: 0, hosts: ['127.0.0.1'] });
    const { port } = server;
    const liar = net.connect(port, '127.0.0.1', () => liar.write(Buffer.from([0xff, 0xff, 1, 2, 3])));
    await new Promise((resolve) => liar.on('close', resolve));
    const tcp = await new Promise<Buffer>((resolve) => {
      const message = query('allowed.test');
      const socket = net.connect(port, '127.0.0.1', () => {
        // One byte at a time: the length and the message arrive in pieces.
        for (const byte of Buffer.concat([Buffer.from([0, message.length]), message]))
          socket.write(Buffer.from([byte]));
      });
      socket.once('data', (piece) => {
        socket.destroy();
        resolve(piece.subarray(2));
      });
    });
    const udp = await new Promise<Buffer>((resolve) => {
      const socket = dgram.createSocket('udp4');
      socket.once('message', (message) => {
        socket.close();
        resolve(message);
      });
      socket.send(Buffer.alloc(5), port, '127.0.0.1');
      socket.send(query('allowed.test'), port, '127.0.0.1');
    });
    for (const reply of [tcp, udp]) {
      expect(dnsPacket.decode(reply).answers).toEqual([expect.objectContaining({ data: '198.18.0.7' })]);
    }
  });

  it('DNS-010 has a bound on questions in hand, above which none is answered, and one again below it', async () => {
    let inHand = 0;
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const lookup = async (): Promise<Allotted> => {
      inHand += 1;
      await held;
      return { address: '198.18.0.7', ttl: 60 };
    };
    server = await serveDns({ names: { lookup, nameOf: () => undefined }, port: 0, hosts: ['127.0.0.1'] });
    const { port } = server;
    const flood = dgram.createSocket('udp4');
    try {
      for (let sent = 0; inHand < 512; sent += 1) {
        flood.send(query(`n${sent}.allowed.test`), port, '127.0.0.1');
        // So few at once that the socket loses none.
        if (sent % 16 === 15) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      expect(await overTcp(port)).toBe(0);
      expect(inHand).toBe(512);
      release();
      await new Promise((resolve) => flood.once('message', resolve));
      await expect.poll(() => overTcp(port)).toBeGreaterThan(0);
    } finally {
      release();
      flood.close();
    }
  });
});

/** Bytes that came back on a connection of its own before an answer was whole or the portal closed it. */
function overTcp(port: number): Promise<number> {
  const message = query('allowed.test');
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.write(Buffer.concat([Buffer.from([0, message.length]), message]));
    });
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(socket.bytesRead));
    socket.once('data', () => socket.destroy());
  });
}

describe('names', () => {
  it('asks once for a name that many ask for, and again when its time is over', async () => {
    let now = 0;
    let count = 0;
    const own = createNames({
      now: () => now,
      ask: () => {
        count += 1;
        return Promise.resolve({ address: '198.18.0.9', ttl: 10 });
      },
    });
    await Promise.all([own.lookup('a.test'), own.lookup('a.test'), own.lookup('a.test')]);
    expect(count).toBe(1);
    now = 10_001;
    await own.lookup('a.test');
    expect(count).toBe(2);
    expect(own.nameOf('198.18.0.9')).toBe('a.test');
    expect(own.nameOf('198.18.0.10')).toBeUndefined();
  });

  it('DNS-010 has a bound on names that wait', async () => {
    const own = createNames({ ask: () => new Promise(() => undefined) });
    for (let i = 0; i < 256; i += 1) void own.lookup(`n${i}.test`);
    expect(await own.lookup('one-more.test')).toBe('failed');
  });
});
