import { createHash } from 'node:crypto';
import { Digest } from './ids.ts';
import type { FrozenText } from './run.ts';

/**
 * One text as it was at the trigger. The hash covers author, time, title and body, each with its length in front, so that no two
 * texts share one.
 */
export function freezeText(text: Omit<FrozenText, 'sha256' | 'authorMayWrite'>): FrozenText {
  const hash = createHash('sha256');
  for (const part of [text.kind, String(text.id ?? ''), text.author, text.updatedAt, text.title ?? '', text.body]) {
    const bytes = Buffer.from(part, 'utf8');
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return { ...text, sha256: Digest.parse(`sha256:${hash.digest('hex')}`) };
}
