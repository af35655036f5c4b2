import { isUtf8 } from 'node:buffer';
import { createSecretScanner, maskSecret } from '../policy/redaction/scan.ts';
import { refused } from './limits.ts';
import { blobSizes, readObjects, type Store } from './objects.ts';
import type { ContentFinding } from './scan-content.ts';
import { createScanThread } from './scan-thread.ts';
import { GITLINK } from './tree-object.ts';
import type { Change } from './tree-walk.ts';

const BATCH_BYTES = 16 * 2 ** 20;
const MAX_REPORTED = 10;

interface Sighting extends ContentFinding {
  path: string;
}

/**
 * Looks for secrets in everything that the result adds: contents, links, names. What the replaced or removed files held
 * already is not news.
 * Errors: `harvest` with a masked list. Returns the paths whose content is not UTF-8 text.
 */
export async function refuseSecrets(
  store: Store,
  changes: readonly Change[],
  secrets: readonly string[],
): Promise<Set<string>> {
  const binary = new Set<string>();
  const sightings = inNames(changes, secrets);
  await using thread = createScanThread({ secrets, timeoutMs: store.limits.scanMs, signal: store.signal });
  await eachBlob(store, contents(changes, 'after'), async (path, content) => {
    if (!isUtf8(content)) binary.add(path);
    sightings.push(...(await thread.scan(content)).map((finding) => ({ ...finding, path })));
  });
  const before = new Set<string>();
  await eachBlob(store, contents(changes, 'before'), async (path, content) => {
    if (!isUtf8(content)) binary.add(path);
    if (sightings.length > 0) for (const { value } of await thread.scan(content)) before.add(value);
  });
  const news = sightings.filter(({ value }) => !before.has(value));
  if (news.length > 0) throw refused(`it holds what looks like a secret: ${describe(news, secrets)}`);
  return binary;
}

/** Errors: `harvest` when a text that will be published (commit message, branch) holds a secret. */
export function refuseSecretText(what: string, text: string, secrets: readonly string[]): void {
  const [finding] = createSecretScanner(secrets)(Buffer.from(text).toString('latin1'));
  if (finding) throw refused(`${what} holds what looks like a secret: ${maskSecret(finding)}`);
}

function inNames(changes: readonly Change[], secrets: readonly string[]): Sighting[] {
  const scan = createSecretScanner(secrets);
  return changes.flatMap(({ path, after }) => {
    const [finding] = after === undefined ? [] : scan(Buffer.from(path).toString('latin1'));
    return finding === undefined ? [] : [{ ...finding, path: '(a file name)', line: 0 }];
  });
}

/** Where and what, masked: a name that holds one is not said. */
function describe(sightings: readonly Sighting[], secrets: readonly string[]): string {
  const scan = createSecretScanner(secrets);
  const nameOf = (path: string): string =>
    scan(Buffer.from(path).toString('latin1')).length > 0
      ? 'a file whose name holds one'
      : JSON.stringify(path.slice(0, 200));
  const items = sightings.slice(0, MAX_REPORTED).map((sighting) => {
    const where = sighting.line === 0 ? '' : ` line ${sighting.line}`;
    return `${nameOf(sighting.path)}${where} (${maskSecret(sighting)})`;
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
