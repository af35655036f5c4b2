import { PassThrough, Readable, Writable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { demultiplex } from '../../src/sandbox/demultiplex.ts';

function frame(stream: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

function collector(): { target: Writable; text: () => Buffer } {
  const pieces: Buffer[] = [];
  const target = new Writable({
    write(piece: Buffer, _encoding, done) {
      pieces.push(piece);
      done();
    },
  });
  return { target, text: () => Buffer.concat(pieces) };
}

describe('demultiplex', () => {
  it('separates the streams however the bytes are cut', async () => {
    const frames = fc.array(fc.tuple(fc.constantFrom(1, 2), fc.uint8Array({ maxLength: 40 })), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(frames, fc.integer({ min: 1, max: 17 }), async (list, size) => {
        const all = Buffer.concat(list.map(([stream, payload]) => frame(stream, payload)));
        const cuts: Buffer[] = [];
        for (let at = 0; at < all.length; at += size) cuts.push(all.subarray(at, at + size));
        const [out, err] = [collector(), collector()];
        await demultiplex(Readable.from(cuts), { stdout: out.target, stderr: err.target });
        const expected = (stream: number) => Buffer.concat(list.filter(([s]) => s === stream).map(([, p]) => p));
        expect(out.text().equals(expected(1))).toBe(true);
        expect(err.text().equals(expected(2))).toBe(true);
      }),
    );
  });

  it('RES-005 waits for a slow reader instead of collecting', async () => {
    const source = new PassThrough();
    const slow = new PassThrough({ highWaterMark: 16 });
    const done = demultiplex(source, { stdout: slow });
    let accepted = 0;
    while (accepted < 1000 && source.write(frame(1, Buffer.alloc(1024)))) accepted += 1;
    await new Promise((resolve) => setImmediate(resolve));
    // The source is not drained while nobody reads.
    expect(source.readableLength + slow.readableLength).toBeGreaterThan(0);
    expect(slow.readableLength).toBeLessThan(4096);
    slow.resume();
    source.end();
    await done;
  });

  it('goes on without a reader that is gone', async () => {
    const gone = new PassThrough();
    gone.destroy();
    const err = collector();
    await demultiplex(Readable.from([frame(1, Buffer.from('a')), frame(2, Buffer.from('b'))]), {
      stdout: gone,
      stderr: err.target,
    });
    expect(err.text().toString()).toBe('b');
  });
});
