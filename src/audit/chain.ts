import { createHash } from 'node:crypto';
import { AuditEntry, type AuditEvent } from '../domain/audit.ts';
import { Digest, type RunId } from '../domain/ids.ts';

/** What stands before the first line. */
export const GENESIS = '0'.repeat(64);

/** A line of the file may have this many bytes; larger data is cut where it is recorded, never here. */
export const MAX_LINE_BYTES = 1_048_576;

/** Characters of a decision's rule that stay on a line whose data was too large. */
const MAX_RULE = 1_000;

/** SHA-256 of a line's exact bytes without its newline, lower-case hex. */
export function lineHash(line: string | Uint8Array): string {
  return createHash('sha256').update(line).digest('hex');
}

export function digestOf(hex: string): Digest {
  return Digest.parse(`sha256:${hex}`);
}

/** Control, bidi, separator and lone-surrogate code units: shown as `\uXXXX`, so that a line stays one line and a terminal stays sane. */
const UNPRINTABLE =
  // eslint-disable-next-line no-control-regex -- these are the characters to find
  /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** One event as the exact line that is stored. JSON already escapes C0; the rest is escaped here so that `cat` is safe too. */
export function encodeLine(event: AuditEvent): string {
  const json = JSON.stringify(event);
  // Nearly every line is plain ASCII, and this look is a tenth of the search.
  if (!/[^ -~]/.test(json)) return json;
  return json.replace(UNPRINTABLE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export interface ChainState {
  seq: number;
  prev: string;
}

/** Puts an entry at the end of the chain. Pure: the clock's readings come in. */
export function link(
  state: ChainState,
  entry: AuditEntry,
  context: { runId: RunId; at: string; mono: number },
): { event: AuditEvent; line: string; next: ChainState } {
  const parsed = AuditEntry.parse(entry);
  const event: AuditEvent = {
    seq: state.seq,
    prev: state.prev,
    at: context.at,
    mono: context.mono,
    runId: context.runId,
    zone: parsed.zone,
    source: parsed.source,
    type: parsed.type,
    ...(parsed.decision === undefined ? {} : { decision: parsed.decision }),
    data: parsed.data,
  };
  let line = encodeLine(event);
  if (Buffer.byteLength(line) > MAX_LINE_BYTES) {
    // A record that is too large is still a record: its own hash and size stand in for it.
    event.data = { truncated: true, bytes: Buffer.byteLength(line), sha256: lineHash(line) };
    if (event.decision !== undefined)
      event.decision = { ...event.decision, rule: event.decision.rule.slice(0, MAX_RULE) };
    line = encodeLine(event);
  }
  return { event, line, next: { seq: state.seq + 1, prev: lineHash(line) } };
}
