import { open, stat } from 'node:fs/promises';
import { AuditEvent } from '../domain/audit.ts';
import { CofferdamError } from '../domain/errors.ts';
import { GENESIS, lineHash, MAX_LINE_BYTES } from './chain.ts';

/** Where an audit file that nobody writes any more ends. */
interface FileEnd {
  /** Whole lines, and their bytes. */
  seq: number;
  bytes: number;
  prev: string;
  /** Monotonic milliseconds of the last line. */
  mono: number;
  /** Bytes of a line that was not finished. */
  cut: number;
  /** Data of the last line when that is the one before the seal. */
  sealing?: Record<string, unknown>;
}

/** Reads the end only, however long the file is. Null: not there, or sealed. Errors: `audit`. */
export async function findEnd(file: string): Promise<FileEnd | null> {
  if (await exists(`${file}.seal`)) return null;
  const size = await stat(file).then(
    (found) => found.size,
    () => undefined,
  );
  if (size === undefined) return null;
  const tail = await readTail(file, size);
  const newline = tail.lastIndexOf(10);
  const cut = tail.length - newline - 1;
  if (newline < 0) {
    if (size > tail.length) throw unreadable(file);
    return { seq: 0, bytes: 0, prev: GENESIS, mono: 0, cut };
  }
  const line = tail.subarray(tail.lastIndexOf(10, newline - 1) + 1, newline);
  const event = parse(line.toString('utf8'));
  if (event === undefined) throw unreadable(file);
  return {
    seq: event.seq + 1,
    bytes: size - cut,
    prev: lineHash(line),
    mono: event.mono,
    cut,
    ...(event.type === 'seal' && cut === 0 ? { sealing: sealData(event.data) } : {}),
  };
}

/** What the seal names: the last line carries it with one field more. */
function sealData({ syncWindowMs: _, ...data }: Record<string, unknown>): Record<string, unknown> {
  return data;
}

async function readTail(file: string, size: number): Promise<Buffer> {
  const length = Math.min(size, 2 * MAX_LINE_BYTES + 2);
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

function parse(text: string): AuditEvent | undefined {
  try {
    return AuditEvent.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function unreadable(file: string): CofferdamError {
  return new CofferdamError(
    'audit',
    'audit.resume',
    `the last line of ${file} is no audit event; cofferdam verify names what is wrong`,
  );
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
