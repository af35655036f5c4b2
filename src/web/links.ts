import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeOnce } from '../audit/write-once.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { RunId } from '../domain/ids.ts';

/** The key that signs operators' links: 32 bytes in `<dataDir>/keys/links` (0600), made when it is not there. */
export async function loadLinkKey(dataDir: string): Promise<Buffer> {
  const file = join(dataDir, 'keys', 'links');
  try {
    await writeOnce(file, randomBytes(32).toString('hex'));
    const key = Buffer.from((await readFile(file, 'utf8')).trim(), 'hex');
    if (key.length === 32) return key;
    throw new CofferdamError(
      'config',
      'web.loadLinkKey',
      `${file} is not a key of 32 bytes in hex; remove it to get a new one`,
    );
  } catch (cause) {
    if (cause instanceof CofferdamError) throw cause;
    throw new CofferdamError('config', 'web.loadLinkKey', `cannot use ${file}`, cause);
  }
}

function mac(key: Buffer, runId: RunId, until: number): Buffer {
  return createHmac('sha256', key).update(`run page ${runId} until ${until}`).digest();
}

/** A ticket for the page of one run, until a moment in milliseconds. */
export function signTicket(key: Buffer, runId: RunId, until: number): string {
  return `${until}.${mac(key, runId, until).toString('base64url')}`;
}

/** When the ticket ends, if it is for this run, signed by this key, and not over. */
export function readTicket(options: { key: Buffer; runId: RunId; ticket: string; now: number }): number | null {
  const [, stamp = '', signature = ''] = /^(\d{10,16})\.([A-Za-z0-9_-]{43})$/.exec(options.ticket) ?? [];
  const until = Number(stamp);
  if (signature === '' || until <= options.now) return null;
  const given = Buffer.from(signature, 'base64url');
  const wanted = mac(options.key, options.runId, until);
  return given.length === wanted.length && timingSafeEqual(given, wanted) ? until : null;
}
