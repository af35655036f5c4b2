/**
 * The header of a git bundle. Trust assumptions: every byte was written by the sandbox; git never sees the header, only the
 * pack behind it.
 */
export interface BundleHeader {
  /** The commit that the one expected ref names. */
  tip: string;
  /** Where the pack begins. */
  packOffset: number;
  /** Number of objects that the pack says it has. */
  objects: number;
}

export type HeaderResult = { ok: true; header: BundleHeader } | { ok: false; problem: string };

/** One line of comment for each prerequisite is all that may vary; 64 KiB is far more than that. */
export const HEADER_BYTES = 64 * 2 ** 10;

/**
 * Reads a header from the first bytes of a bundle. Exactly one form is accepted: version 2 or 3, no filter and no unknown
 * capability, `base` as the only prerequisite, `ref` as the only ref, a pack of version 2.
 */
export function readBundleHeader(start: Buffer, expected: { base: string; ref: string }): HeaderResult {
  const lines = headerLines(start);
  if (!lines) return fail('its header has no end, or is not text');
  const [signature, ...rest] = lines.text;
  if (signature !== '# v2 git bundle' && signature !== '# v3 git bundle') return fail('it is not a git bundle');
  const body = signature === '# v3 git bundle' ? rest.filter((line) => !isObjectFormat(line, expected.base)) : rest;
  if (body.some((line) => line.startsWith('@'))) return fail('it asks for a capability that is not accepted');
  const needs = body.filter((line) => line.startsWith('-')).map((line) => /^-([0-9a-f]+)(?: |$)/.exec(line)?.[1]);
  if (needs.length !== 1 || needs[0] !== expected.base) return fail('it does not build on the base commit alone');
  const refs = body.filter((line) => !line.startsWith('-'));
  const [, tip, ref] = /^([0-9a-f]+) (\S+)$/.exec(refs[0] ?? '') ?? [];
  if (refs.length !== 1 || ref !== expected.ref || tip?.length !== expected.base.length) {
    return fail('it does not hold exactly the one expected ref');
  }
  const pack = start.subarray(lines.end);
  if (pack.length < 12 || pack.toString('latin1', 0, 4) !== 'PACK' || pack.readUInt32BE(4) !== 2) {
    return fail('no pack follows its header');
  }
  return { ok: true, header: { tip, packOffset: lines.end, objects: pack.readUInt32BE(8) } };
}

function isObjectFormat(line: string, base: string): boolean {
  return line === `@object-format=${base.length === 64 ? 'sha256' : 'sha1'}`;
}

function headerLines(start: Buffer): { text: string[]; end: number } | undefined {
  const end = start.subarray(0, HEADER_BYTES).indexOf('\n\n');
  if (end < 0) return undefined;
  const text = start.toString('utf8', 0, end);
  if (text.includes('\0')) return undefined;
  return { text: text.split('\n'), end: end + 2 };
}

function fail(problem: string): HeaderResult {
  return { ok: false, problem };
}
