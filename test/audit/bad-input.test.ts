import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lineHash, MAX_LINE_BYTES } from '../../src/audit/chain.ts';
import { AuditFile, type AuditLogOptions } from '../../src/audit/log.ts';
import { createAuditReader, describeReading } from '../../src/audit/read.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey, publicPem } from '../../src/audit/seal.ts';
import { verifyAuditFile, type VerifyResult } from '../../src/audit/verify.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { eventProblem } from '../../src/domain/events/events.ts';
import { directory, putAll, openLog, RUN_ID, WHOLE_RUN, type Directory } from './run-log.ts';

let dir: Directory;
let options: AuditLogOptions;
let key: string;

beforeEach(async () => {
  dir = await directory();
  const signing = await loadSigningKey(dir.path);
  key = publicPem(signing.publicKey);
  options = { file: join(dir.audit, `${RUN_ID}.jsonl`), runId: RUN_ID, redact: createRedactor([]), key: signing };
});
afterEach(() => dir[Symbol.asyncDispose]());

const NAME: AuditEntry = {
  zone: 'gateway',
  type: 'egress.name',
  decision: { allow: true, rule: 'r' },
  data: { host: 'a.test' },
};

async function whole(): Promise<{ file: string; bytes: Buffer; lines: Buffer[] }> {
  const log = await openLog(dir);
  await putAll(log, WHOLE_RUN);
  await log.seal();
  const bytes = await readFile(log.file);
  const lines = bytes
    .toString('latin1')
    .trimEnd()
    .split('\n')
    .map((line) => Buffer.from(line, 'latin1'));
  return { file: log.file, bytes, lines };
}

const verified = (file = options.file): Promise<VerifyResult> => verifyAuditFile({ file, key });

describe('AUD-001 a log that is cut at any byte', () => {
  it('is opened: verify names the line, and a reader gives every whole line and says that the rest is missing', async () => {
    const { file, bytes, lines } = await whole();
    const ends = lines.reduce<number[]>((all, line) => [...all, (all.at(-1) ?? 0) + line.length + 1], []);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: bytes.length - 1 }),
        fc.integer({ min: 1, max: 5_000 }),
        async (at, piece) => {
          await writeFile(file, bytes.subarray(0, at));
          const left = ends.filter((end) => end <= at).length;
          const { verdict, problem } = await verified();
          expect([verdict, problem?.line]).toEqual(['broken', left + 1]);
          const reader = createAuditReader();
          let events = 0;
          for (let from = 0; from < at; from += piece)
            events += reader.feed(bytes.subarray(from, Math.min(at, from + piece))).length;
          const reading = reader.reading();
          expect([events, reading.lines, reading.irregular]).toEqual([left, left, 0]);
          const open = at - (ends[left - 1] ?? 0);
          expect(describeReading(reading, true)).toEqual(
            open === 0 ? [] : [`the last line is cut off after ${open} bytes`],
          );
        },
      ),
      { numRuns: 150 },
    );
  });

  it('and so is a seal', async () => {
    const { file } = await whole();
    const seal = await readFile(`${file}.seal`);
    // The closing brace and its newline are all that it can lose and stay the same.
    for (let at = 0; at < seal.length - 1; at += 7) {
      await writeFile(`${file}.seal`, seal.subarray(0, at));
      expect((await verified()).problem?.message, `cut at ${at}`).toBe('the seal is not readable');
    }
    await writeFile(`${file}.seal`, randomBytes(2 * MAX_LINE_BYTES));
    expect((await verified()).problem?.message).toBe('the seal is not readable');
    await writeFile(`${file}.seal`, seal);
    expect((await verified()).verdict).toBe('valid');
  });
});

describe('AUD-001 bytes that are no line of ours', () => {
  it.each<[string, (line: Buffer) => Buffer, string]>([
    [
      'invalid UTF-8 in a name',
      (line) => Buffer.concat([line.subarray(0, -2), Buffer.from([0xc3, 0x28, 0xff]), line.subarray(-2)]),
      'not valid UTF-8',
    ],
    [
      'an overlong form of a character',
      (line) => Buffer.concat([line.subarray(0, -2), Buffer.from([0xc0, 0xaf]), line.subarray(-2)]),
      'not valid UTF-8',
    ],
    ['a key twice', (line) => replaced(line, '{"seq"', '{"seq":1,"seq"'), 'not in canonical form'],
    [
      'a key twice in the data',
      (line) => replaced(line, '"data":{', '"data":{"step":"publish",'),
      'not in canonical form',
    ],
    [
      'another spelling of a character',
      (line) => replaced(line, '"worker"', '"\\u0077orker"'),
      'not in canonical form',
    ],
    ['a byte order mark', (line) => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), line]), 'not JSON'],
    ['a carriage return', (line) => Buffer.concat([line, Buffer.from('\r')]), 'not in canonical form'],
    ['NUL bytes', (line) => Buffer.concat([line, Buffer.alloc(3)]), 'not JSON'],
    ['a number of another form', (line) => replaced(line, '"mono":', '"mono":0'), 'not JSON'],
    [
      'a negative zero',
      (line) => Buffer.from(line.toString().replace(/"mono":[0-9.]+/, '"mono":-0')),
      'not in canonical form',
    ],
    ['a list', () => Buffer.from('[]'), 'not an audit event'],
    ['nothing', () => Buffer.alloc(0), 'not JSON'],
    ['a line of 1 MiB and one byte', () => Buffer.alloc(MAX_LINE_BYTES + 1, 'x'), 'too long'],
  ])('%s: the line is named, by a reader too or it reads what was meant', async (_what, change, message) => {
    const { file, lines } = await whole();
    const [first, second, ...rest] = lines as [Buffer, Buffer, ...Buffer[]];
    const changed = change(second);
    expect(changed.equals(second)).toBe(false);
    const bytes = Buffer.concat([first, changed, ...rest].map((line) => Buffer.concat([line, Buffer.from('\n')])));
    await writeFile(file, bytes);
    const { verdict, problem } = await verified();
    expect([verdict, problem?.line]).toEqual(['broken', 2]);
    expect(problem?.message).toContain(message);
    const reader = createAuditReader();
    const events = reader.feed(bytes);
    // Every other line is still there, and that the chain does not hold is said.
    expect(events.length).toBeGreaterThanOrEqual(lines.length - 1);
    expect(describeReading(reader.reading(), true).join()).toMatch(/line [23]: /);
  });

  it('a line that is another run’s, in place', async () => {
    const { file, lines } = await whole();
    const foreign = lines.map((line, at) => (at === 3 ? replaced(line, RUN_ID, 'rbbbbbbbbbbbb') : line));
    await writeFile(file, Buffer.concat(foreign.map((line) => Buffer.concat([line, Buffer.from('\n')]))));
    expect((await verified()).problem).toEqual({ line: 4, message: `belongs to run rbbbbbbbbbbbb, not to ${RUN_ID}` });
  });
});

function replaced(line: Buffer, from: string, to: string): Buffer {
  return Buffer.from(line.toString('utf8').replace(from, to));
}

describe('two writers of one file', () => {
  it('the second is refused while it would begin, and whoever was overtaken writes nothing more', async () => {
    const first = await AuditFile.create(options);
    await first.append(NAME);
    await expect(AuditFile.create(options)).rejects.toMatchObject({ code: 'audit' });
    // Another worker takes the first one for dead.
    const second = await AuditFile.resume(options);
    await second?.append(NAME);
    const before = await readFile(options.file);
    await expect(first.append(NAME)).rejects.toThrow(/another process writes to it/);
    await expect(first.append(NAME)).rejects.toMatchObject({ code: 'audit' });
    await expect(first.seal({})).rejects.toMatchObject({ code: 'audit' });
    expect(await readFile(options.file)).toEqual(before);
    await second?.seal({});
    await Promise.all([first.close(), second?.close()]);
    expect(await verified()).toMatchObject({ verdict: 'valid', lines: 4 });
  });

  it('of many that go on at once one does, and the file stays whole', async () => {
    const gone = await AuditFile.create(options);
    await gone.append(NAME);
    await gone.close();
    await appendFile(options.file, '{"seq":1,"pre');
    const tried = await Promise.allSettled(Array.from({ length: 8 }, () => AuditFile.resume(options)));
    const logs = tried.flatMap((one) => (one.status === 'fulfilled' && one.value !== null ? [one.value] : []));
    const writes = await Promise.allSettled(logs.map((log) => log.append(NAME)));
    const able = logs.filter((_log, at) => writes[at]?.status === 'fulfilled');
    expect(able).toHaveLength(1);
    await able[0]?.seal({});
    await Promise.all(logs.map((log) => log.close()));
    expect((await verified()).verdict).toBe('valid');
  });

  it('a file that was removed, or written to by somebody else, ends the writer', async () => {
    const log = await AuditFile.create(options);
    await log.append(NAME);
    await rm(options.file);
    await expect(log.append(NAME)).rejects.toThrow('it was removed');
    await log.close();
    const other = await AuditFile.create(options);
    await other.append(NAME);
    await truncate(options.file, 10);
    await expect(other.append(NAME)).rejects.toThrow('it has 10 bytes instead of');
    await other.close();
  });
});

describe('a clock that jumps', () => {
  it.each([
    ['the wall clock, back by a year', { now: jumping(-31_536_000_000) }],
    ['the wall clock, forward by a year', { now: jumping(31_536_000_000) }],
    ['the monotonic clock, back', { mono: steps(5_000, 6_000, 10, 20, 30, 40, 50) }],
    ['the monotonic clock, forward', { mono: steps(1, 2, 1e12, 1e12 + 1, 1e12 + 2, 1e12 + 3) }],
    ['the monotonic clock, standing', { mono: () => 1 }],
  ])('%s: the chain holds, in a file that is gone on with too', async (_what, clocks) => {
    const log = await AuditFile.create({ ...options, ...clocks });
    for (let n = 0; n < 3; n += 1) await log.append(NAME);
    await log.close();
    const again = await AuditFile.resume({ ...options, ...clocks });
    await again?.append(NAME);
    await again?.seal({});
    await again?.close();
    expect(await verified()).toMatchObject({ verdict: 'valid', lines: 6 });
  });

  it('one that gives no time is a failure, not a line without one', async () => {
    const log = await AuditFile.create({ ...options, now: () => new Date(Number.NaN) });
    await expect(log.append(NAME)).rejects.toMatchObject({ code: 'audit' });
    expect((await stat(options.file)).size).toBe(0);
    await log.close();
  });
});

function jumping(ms: number): () => Date {
  let calls = 0;
  return () => new Date(Date.UTC(2026, 10, 25) + ((calls += 1) > 2 ? ms : calls));
}

function steps(...readings: number[]): () => number {
  let at = 0;
  return () => readings[Math.min(at++, readings.length - 1)] ?? 0;
}

describe('AUD-002 an event of a megabyte and more', () => {
  it.each<[string, AuditEntry]>([
    ['in its data', { ...NAME, data: { host: 'h'.repeat(3_000_000) } }],
    ['in a key', { ...NAME, data: { ['k'.repeat(2_000_000)]: 1 } }],
    ['in characters that grow when they are escaped', { ...NAME, data: { host: '\u2028'.repeat(400_000) } }],
    ['in its rule', { ...NAME, decision: { allow: false, rule: 'r'.repeat(2_000_000), reason: 'not_allowed' } }],
  ])('%s: one line says how large it was, and the file is valid', async (_what, entry) => {
    const log = await AuditFile.create(options);
    await log.append(entry);
    await log.append(NAME);
    await log.seal({});
    await log.close();
    const [line = ''] = (await readFile(options.file, 'utf8')).split('\n');
    expect(line.length).toBeLessThan(2_000);
    const event = JSON.parse(line) as { type: string; data: Record<string, unknown> };
    expect(event.data).toEqual({
      truncated: true,
      bytes: expect.any(Number) as number,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    expect(event.data['bytes']).toBeGreaterThan(MAX_LINE_BYTES);
    expect(eventProblem(event)).toBeNull();
    expect((await verified()).verdict).toBe('valid');
  });

  it('one that is just small enough is kept whole', async () => {
    const log = await AuditFile.create(options);
    const host = 'h'.repeat(MAX_LINE_BYTES - 1_000);
    await log.append({ ...NAME, data: { host } });
    await log.seal({});
    await log.close();
    const [line = ''] = (await readFile(options.file, 'utf8')).split('\n');
    expect((JSON.parse(line) as { data: { host: string } }).data.host).toBe(host);
    expect(lineHash(line)).toMatch(/^[0-9a-f]{64}$/);
    expect((await verified()).verdict).toBe('valid');
  });
});

it('a directory, or a file that may not be read, is an error that names it', async () => {
  await mkdir(options.file, { recursive: true });
  await expect(verified()).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining(options.file) as string,
  });
  await expect(verified(join(dir.path, 'none.jsonl'))).rejects.toMatchObject({ code: 'usage' });
});
