/**
 * Reads an audit file as it is, for people: any size, growing, cut at any byte, damaged. Nothing here decides that a file is
 * genuine (`verify.ts` does); what looks wrong is said beside what could be read.
 * Trust: every byte is hostile. Lines are bounded, and so is what is remembered of them.
 */
import { createReadStream } from 'node:fs';
import { AuditDecision, AuditEvent, AuditSource, AuditZone } from '../domain/audit.ts';
import { CofferdamError } from '../domain/errors.ts';
import { RunId } from '../domain/ids.ts';
import { runOfFile } from './file-name.ts';
import { GENESIS, lineHash, MAX_LINE_BYTES } from './chain.ts';
import { parseSeal } from './seal.ts';

/** Something that does not fit; `line` counts from 1 in what was read. */
export interface Irregularity {
  line: number;
  message: string;
}

/** What is known of the bytes read so far. */
export interface Reading {
  /** Whole lines. */
  lines: number;
  bytes: number;
  /** Hash of the last whole line, lower-case hex; 64 zeros before the first. */
  head: string;
  /** Sequence number that the next event must have. */
  next: number;
  /** Events before the first one that was read: a live stream keeps only the newest. */
  skipped: number;
  /** Bytes of a line that has no end yet: the file grows, or it was cut. */
  open: number;
  /** The first ones; `irregular` counts all. */
  irregularities: Irregularity[];
  irregular: number;
}

const REMEMBERED = 20;

export interface AuditReader {
  /** The events of the lines that these bytes complete, in order. */
  feed(chunk: Uint8Array): AuditEvent[];
  reading(): Reading;
}

/** A reader that takes bytes in any pieces. With `partial` it may begin in the middle of a chain; `runId`: whose lines these must be. */
export function createAuditReader(options: { partial?: boolean; runId?: RunId | undefined } = {}): AuditReader {
  const state: Reading = {
    lines: 0,
    bytes: 0,
    head: GENESIS,
    next: 0,
    skipped: 0,
    open: 0,
    irregularities: [],
    irregular: 0,
  };
  let pieces: Buffer[] = [];
  let discarding = false;
  let { runId } = options;

  function odd(message: string): void {
    state.irregular += 1;
    if (state.irregularities.length < REMEMBERED) state.irregularities.push({ line: state.lines, message });
  }

  function accept(line: Buffer): AuditEvent | undefined {
    state.lines += 1;
    const first = state.lines === 1 && options.partial === true;
    const event = parse(line);
    if (typeof event === 'string') odd(event);
    else if (first) state.skipped = event.seq;
    else if (event.seq !== state.next) odd(`sequence number ${event.seq}, expected ${state.next}`);
    else if (event.prev !== state.head) odd('does not follow from the line before');
    if (typeof event !== 'string') {
      // Said once: all lines of a file that was put in another's place are of that run.
      if (event.runId !== (runId ?? event.runId)) odd(`belongs to run ${event.runId}`);
      ({ runId } = event);
    }
    state.next = typeof event === 'string' ? state.next + 1 : event.seq + 1;
    state.head = lineHash(line);
    return typeof event === 'string' ? undefined : event;
  }

  function endLine(last: Buffer): AuditEvent | undefined {
    const line = pieces.length === 0 ? last : Buffer.concat([...pieces, last]);
    pieces = [];
    state.open = 0;
    if (!discarding && line.length <= MAX_LINE_BYTES) return accept(line);
    discarding = false;
    state.lines += 1;
    state.next += 1;
    state.head = '';
    odd('the line is too long');
    return undefined;
  }

  function keep(rest: Buffer): void {
    if (rest.length === 0) return;
    state.open += rest.length;
    if (state.open > MAX_LINE_BYTES) {
      discarding = true;
      pieces = [];
    }
    // A copy: the caller may use its memory again.
    if (!discarding) pieces.push(Buffer.from(rest));
  }

  function feed(chunk: Uint8Array): AuditEvent[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const events: AuditEvent[] = [];
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      const event = endLine(bytes.subarray(from, end));
      if (event !== undefined) events.push(event);
      from = end + 1;
    }
    keep(bytes.subarray(from));
    state.bytes += bytes.length;
    return events;
  }

  return { feed, reading: () => ({ ...state, irregularities: [...state.irregularities] }) };
}

/** The event, or why the line is none. */
function parse(line: Buffer): AuditEvent | string {
  let value: unknown;
  try {
    value = JSON.parse(line.toString('utf8'));
  } catch {
    return 'not JSON';
  }
  if (plausible(value)) return value;
  const parsed = AuditEvent.safeParse(value);
  if (parsed.success) return parsed.data;
  return `not an audit event: ${parsed.error.issues[0]?.path.join('.') ?? 'unknown field'}`;
}

const PREV = /^[0-9a-f]{64}$/;
const TYPE = /^[a-z_]+(?:\.[a-z_]+)*$/;

/** The schema's own check for the common case, a tenth of its time: a page reads a hundred thousand lines. */
function plausible(value: unknown): value is AuditEvent {
  if (typeof value !== 'object' || value === null) return false;
  const { seq, prev, at, mono, runId, zone, source, type, decision, data } = value as Record<string, unknown>;
  return (
    Number.isSafeInteger(seq) &&
    (seq as number) >= 0 &&
    typeof prev === 'string' &&
    PREV.test(prev) &&
    typeof at === 'string' &&
    Number.isFinite(mono) &&
    typeof runId === 'string' &&
    RunId.safeParse(runId).success &&
    AuditZone.options.includes(zone as AuditZone) &&
    AuditSource.options.includes(source as AuditSource) &&
    typeof type === 'string' &&
    TYPE.test(type) &&
    (decision === undefined || AuditDecision.safeParse(decision).success) &&
    typeof data === 'object' &&
    data !== null &&
    !Array.isArray(data)
  );
}

/** One piece of a file: its events, and what is known after it. */
export interface AuditPiece {
  events: AuditEvent[];
  reading: Reading;
}

/** Reads a file to its present end, piece by piece. Errors: `usage` when it cannot be read. */
export async function* readAuditFile(file: string): AsyncGenerator<AuditPiece> {
  const reader = createAuditReader({ runId: runOfFile(file) });
  try {
    for await (const chunk of createReadStream(file)) {
      yield { events: reader.feed(chunk as Buffer), reading: reader.reading() };
    }
  } catch (cause) {
    throw new CofferdamError('usage', 'audit.read', `cannot read ${file}`, cause);
  }
  yield { events: [], reading: reader.reading() };
}

/**
 * What a person is told about a reading; empty when all is well. `over`: nothing more will be written. `seal`: the text of the
 * seal beside the file, by which an end that is missing shows.
 */
export function describeReading(reading: Reading, over: boolean, seal: string | null = null): string[] {
  const said: string[] = [];
  const count = seal === null ? undefined : parseSeal(seal)?.body.count;
  if (seal !== null && count === undefined) said.push('the seal is not readable');
  if (count !== undefined && count !== reading.lines + reading.skipped)
    said.push(`the seal is of ${count} lines; ${reading.lines + reading.skipped} are here`);
  if (reading.skipped > 0) said.push(`the first ${reading.skipped} events are not here`);
  if (reading.open > 0 && over) said.push(`the last line is cut off after ${reading.open} bytes`);
  for (const { line, message } of reading.irregularities.slice(0, 5)) said.push(`line ${line}: ${message}`);
  const more = reading.irregular - Math.min(reading.irregular, 5);
  if (more > 0) said.push(`and ${more} more lines that do not fit`);
  return said;
}
