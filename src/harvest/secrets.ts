import { isUtf8 } from 'node:buffer';
import { setImmediate as breathe } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { maskSecret, type SecretFinding, type SecretScanner } from '../policy/redaction/scan.ts';
import { refused } from './limits.ts';
import { blobSizes, readObjects, type Store } from './objects.ts';
import { GITLINK } from './tree-object.ts';
import type { Change } from './tree-walk.ts';

/** Blobs are scanned in windows, so that one large file does not hold up everything else in this process. */
const WINDOW = 2 ** 20;
/** Longer than any credential with a fixed shape. */
const OVERLAP = 8 * 2 ** 10;
const BATCH_BYTES = 16 * 2 ** 20;
const UNZIPPED_BYTES = 32 * 2 ** 20;
const MAX_REPORTED = 10;

interface Sighting extends SecretFinding {
  path: string;
  line: number;
}

/**
 * Looks for secrets in everything that the result adds: contents, links, names. What the replaced or removed files held
 * already is not news.
 * Errors: `harvest` with a masked list. Returns the paths whose content is not UTF-8 text.
 */
export async function refuseSecrets(
  store: Store,
  changes: readonly Change[],
  scan: SecretScanner,
): Promise<Set<string>> {
  const added = contents(changes, 'after');
  const removed = contents(changes, 'before');
  const binary = new Set<string>();
  const sightings: Sighting[] = [];
  for (const { path, after } of changes) {
    if (after === undefined) continue;
    const [finding] = scan(Buffer.from(path).toString('latin1'));
    if (finding) sightings.push({ ...finding, path: '(a file name)', line: 0 });
  }
  await eachBlob(store, added, async (path, content) => {
    if (!isUtf8(content)) binary.add(path);
    sightings.push(...(await scanContent(content, scan)).map((finding) => ({ ...finding, path })));
  });
  const before = new Set<string>();
  await eachBlob(store, removed, async (path, content) => {
    if (!isUtf8(content)) binary.add(path);
    if (sightings.length > 0) for (const { value } of await scanContent(content, scan)) before.add(value);
  });
  const news = sightings.filter(({ value }) => !before.has(value));
  if (news.length > 0) throw refused(`it holds what looks like a secret: ${describe(news)}`);
  return binary;
}

/** Errors: `harvest` when a text that will be published (commit message, branch) holds a secret. */
export function refuseSecretText(what: string, text: string, scan: SecretScanner): void {
  const [finding] = scan(Buffer.from(text).toString('latin1'));
  if (finding) throw refused(`${what} holds what looks like a secret: ${maskSecret(finding)}`);
}

function describe(sightings: readonly Sighting[]): string {
  const items = sightings.slice(0, MAX_REPORTED).map((sighting) => {
    const where = sighting.line === 0 ? '' : ` line ${sighting.line}`;
    return `${JSON.stringify(sighting.path.slice(0, 200))}${where} (${maskSecret(sighting)})`;
  });
  const more = sightings.length - items.length;
  return items.join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** Blob → the first path that has it. Unchanged content under a new mode is not read again. */
function contents(changes: readonly Change[], side: 'before' | 'after'): Map<string, string> {
  const other = side === 'before' ? 'after' : 'before';
  const blobs = new Map<string, string>();
  for (const change of changes) {
    const entry = change[side];
    if (entry && entry.mode !== GITLINK && entry.id !== change[other]?.id && !blobs.has(entry.id)) {
      blobs.set(entry.id, change.path);
    }
  }
  return blobs;
}

async function eachBlob(
  store: Store,
  blobs: ReadonlyMap<string, string>,
  visit: (path: string, content: Buffer) => Promise<void>,
): Promise<void> {
  const sizes = await blobSizes(store, [...blobs.keys()]);
  let [ids, bytes]: [string[], number] = [[], 0];
  const flush = async () => {
    const objects = await readObjects(store, ids, bytes);
    for (const [id, { content }] of objects) await visit(blobs.get(id) ?? '', content);
    [ids, bytes] = [[], 0];
  };
  for (const [id, size] of sizes) {
    // Only the base can hold a larger one: what the result adds was measured before.
    if (size > store.limits.fileBytes) continue;
    if (bytes + size > BATCH_BYTES) await flush();
    ids.push(id);
    bytes += size;
  }
  await flush();
}

async function scanContent(content: Buffer, scan: SecretScanner): Promise<(SecretFinding & { line: number })[]> {
  const findings: (SecretFinding & { line: number })[] = [];
  for (const text of [content, ...unzipped(content)].map((bytes) => bytes.toString('latin1'))) {
    for (let from = 0; from < text.length; from += WINDOW) {
      const found = scan(text.slice(from, from + WINDOW + OVERLAP));
      findings.push(...found.map((finding) => ({ ...finding, line: lineAt(text, from + finding.index) })));
      await breathe();
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
