import { gunzipSync } from 'node:zlib';
import type { SecretFinding, SecretScanner } from '../policy/redaction/scan.ts';

/** A finding in a file. */
export interface ContentFinding extends SecretFinding {
  line: number;
}

/** A file is scanned in windows: matching is linear, but the decoded forms are held beside it. */
const WINDOW = 2 ** 20;
/** Longer than any credential with a fixed shape. */
const OVERLAP = 8 * 2 ** 10;
const UNZIPPED_BYTES = 32 * 2 ** 20;

/** Looks for secrets in the bytes of a file, and in what it holds when it is gzip. */
export function scanContent(content: Buffer, scan: SecretScanner): ContentFinding[] {
  const findings: ContentFinding[] = [];
  for (const text of [content, ...unzipped(content)].map((bytes) => bytes.toString('latin1'))) {
    for (let from = 0; from < text.length; from += WINDOW) {
      const found = scan(text.slice(from, from + WINDOW + OVERLAP));
      findings.push(...found.map((finding) => ({ ...finding, line: lineAt(text, from + finding.index) })));
    }
  }
  return findings;
}

function unzipped(content: Buffer): Buffer[] {
  if (content[0] !== 0x1f || content[1] !== 0x8b) return [];
  try {
    return [gunzipSync(content, { maxOutputLength: UNZIPPED_BYTES })];
  } catch {
    // Not gzip after all, or more than is looked into; then it is as opaque as any other binary file.
    return [];
  }
}

function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < index; at = text.indexOf('\n', at + 1)) line++;
  return line;
}
