/**
 * Takes the credential that the gateway added out of what comes back: a host that echoes requests must not tell it to the
 * sandbox. Lengths stay, so that framing does.
 */
import { Transform, type TransformCallback } from 'node:stream';

/** The forms in which a credential may come back: itself, without its scheme, and what Basic hides. */
export function secretForms(value: string): string[] {
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
export class ScrubStream extends Transform {
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
