/**
 * Who is signed in. The browser holds a random id; Redis holds, under a hash of it, the person's own token, encrypted with a key
 * that only the id gives. Whoever reads Redis can neither take a session over nor use a token.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { ShortLived } from './ports.ts';

const Stored = z.object({ token: z.string(), login: z.string() });

export interface Session {
  /** Names the session without giving it away. */
  key: string;
  token: string;
  login: string;
}

export const SESSION_SECONDS = 3_600;

export function randomId(): string {
  return randomBytes(32).toString('base64url');
}

/** Under what something is stored that only its holder may find. */
export function keyOf(kind: string, id: string): string {
  return `${kind}:${createHash('sha256').update(`${kind} ${id}`).digest('hex')}`;
}

function cipherKey(id: string): Buffer {
  return Buffer.from(hkdfSync('sha256', Buffer.from(id), Buffer.alloc(0), 'cofferdam session', 32));
}

function seal(id: string, text: string): string {
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', cipherKey(id), iv);
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), body]).toString('base64');
}

function unseal(id: string, stored: string): unknown {
  const bytes = Buffer.from(stored, 'base64');
  const decipher = createDecipheriv('aes-256-gcm', cipherKey(id), bytes.subarray(0, 12));
  decipher.setAuthTag(bytes.subarray(12, 28));
  return JSON.parse(Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8'));
}

export interface Sessions {
  /** The new session's id, for the browser. */
  begin(session: { token: string; login: string }): Promise<string>;
  /** Null: nobody is signed in, or the session is over. */
  find(id: string | undefined): Promise<Session | null>;
  end(id: string): Promise<void>;
}

export function createSessions(store: ShortLived): Sessions {
  return {
    async begin(session) {
      const id = randomId();
      await store.put(keyOf('session', id), seal(id, JSON.stringify(session)), SESSION_SECONDS);
      return id;
    },
    async find(id) {
      if (id === undefined || !/^[A-Za-z0-9_-]{43}$/.test(id)) return null;
      const key = keyOf('session', id);
      const stored = await store.get(key);
      if (stored === null) return null;
      try {
        return { key, ...Stored.parse(unseal(id, stored)) };
      } catch {
        return null;
      }
    },
    end: (id) => store.remove(keyOf('session', id)),
  };
}

/** The value of a cookie; the first one counts. */
export function cookie(request: IncomingMessage, name: string): string | undefined {
  for (const pair of (request.headers.cookie ?? '').split(';')) {
    const [key, ...value] = pair.trim().split('=');
    if (key === name) return value.join('=');
  }
  return undefined;
}
