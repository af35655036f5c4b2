/**
 * Takes the credential that the gateway added out of what comes back: a host that echoes requests must not tell it to the
 * sandbox. Lengths stay, so that framing does.
 */
import type { IncomingMessage } from 'node:http';
import { pipeline, Transform, type Readable, type TransformCallback } from 'node:stream';
import { deny, UPSTREAM } from '../domain/decision.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import { incomingHeaders } from '../policy/egress/http-head.ts';
import { decoded, unreadable } from './decode.ts';
import { Refused } from './upstream.ts';

/** What comes packed although it was asked for plain may grow by this much. */
const EXPANSION = { maxMeteredBytes: 64 * 2 ** 20, maxExpansion: 200 };

/**
 * For each host the forms of the credentials that it is ever sent: what it was told on one path it may tell on another one, which
 * needs none.
 */
export function secretsByHost(
  policy: EgressPolicy,
  credentials: Readonly<Record<string, string>>,
): ReadonlyMap<string, readonly string[]> {
  const byHost = new Map<string, string[]>();
  for (const { host, credential } of policy.rules) {
    const value = credential && credentials[credential.valueEnv];
    if (value !== undefined) byHost.set(host, [...(byHost.get(host) ?? []), ...secretForms(value)]);
  }
  return byHost;
}

/**
 * An answer without any of these forms, unpacked where it came packed although that was not asked for. Throws `Refused` for what
 * cannot be read here.
 */
export function freed(
  answer: IncomingMessage,
  forms: readonly string[],
  method: string | undefined,
): { headers: string[]; body: Readable } {
  const headers = incomingHeaders(answer.rawHeaders);
  if (forms.length === 0) return { headers, body: answer };
  const clean = (body: Readable): Readable => pipeline(body, new ScrubStream(forms), () => undefined);
  const scrubbed = headers.map((text) => scrubText(text, forms));
  const bodiless = method === 'HEAD' || answer.statusCode === 204 || answer.statusCode === 304;
  if (bodiless || answer.headers['content-encoding'] === undefined) return { headers: scrubbed, body: clean(answer) };
  if (unreadable(answer) !== undefined) throw new Refused(deny(UPSTREAM, 'dial_failed'));
  const body = decoded(answer, EXPANSION, () => answer.destroy());
  return { headers: withoutCoding(scrubbed), body: clean(body) };
}

/** The length was that of the packed bytes. */
function withoutCoding(headers: readonly string[]): string[] {
  const isOf = (name = ''): boolean => /^content-(?:encoding|length)$/i.test(name);
  return headers.filter((_text, index) => !isOf(headers[index - (index % 2)]));
}

/** The forms in which a credential may come back: itself, without its scheme, and what Basic hides. */
function secretForms(value: string): string[] {
  const bare = value.replace(/^\S+\s+/, '');
  const decoded = /^basic\s/i.test(value) ? Buffer.from(bare, 'base64').toString('latin1') : '';
  const password = decoded.slice(decoded.indexOf(':') + 1);
  const encoded = [bare, password]
    .filter((form) => form !== '')
    .map((form) => Buffer.from(form, 'latin1').toString('base64').replace(/=+$/, ''));
  const all = [value, bare, decoded, password, ...encoded, encodeURIComponent(bare), JSON.stringify(bare).slice(1, -1)];
  // Very short ones would blot out ordinary text and are no secrets.
  return [...new Set(all)].filter((form) => form.length >= 6).sort((a, b) => b.length - a.length);
}

export function scrubText(text: string, forms: readonly string[]): string {
  return forms.reduce((out, form) => out.replaceAll(form, '*'.repeat(form.length)), text);
}

/** Replaces every form with stars, over the borders of pieces, too. */
class ScrubStream extends Transform {
  readonly #forms: Buffer[];
  readonly #keep: number;
  #tail: Buffer = Buffer.alloc(0);

  constructor(forms: readonly string[]) {
    super();
    this.#forms = forms.map((form) => Buffer.from(form, 'latin1'));
    this.#keep = Math.max(0, ...this.#forms.map((form) => form.length - 1));
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    const bytes = Buffer.concat([this.#tail, chunk]);
    for (const form of this.#forms) {
      for (let at = bytes.indexOf(form); at !== -1; at = bytes.indexOf(form, at + form.length))
        bytes.fill(42, at, at + form.length);
    }
    const end = Math.max(0, bytes.length - this.#keep);
    this.#tail = bytes.subarray(end);
    done(null, bytes.subarray(0, end));
  }

  override _flush(done: TransformCallback): void {
    done(null, this.#tail);
  }
}
