/**
 * Secrets that the installation knows, in the forms in which a program can write them down. The strings that are compared
 * hold one character for each byte.
 */

/** Shorter ones would be found in ordinary text. */
const MIN_SECRET = 8;

/** Forms to look for, and for each the number of the secret. Case-insensitive ones are in lower case. */
export interface KnownForms {
  exact: ReadonlyMap<string, number>;
  folded: ReadonlyMap<string, number>;
}

export function knownForms(secrets: readonly string[]): KnownForms {
  const exact = new Map<string, number>();
  const folded = new Map<string, number>();
  for (const [number, secret] of secrets.entries()) {
    if (Buffer.byteLength(secret) < MIN_SECRET) continue;
    const bytes = Buffer.from(secret);
    const raw = bytes.toString('latin1');
    const forms = [
      raw,
      reverse(bytes).toString('latin1'),
      Buffer.from(JSON.stringify(secret).slice(1, -1)).toString('latin1'),
      ...base64Forms(bytes),
      ...base64Forms(reverse(bytes)),
    ];
    for (const form of forms) if (form.length >= MIN_SECRET) exact.set(form, number);
    folded.set(bytes.toString('hex'), number);
    folded.set(reverse(bytes).toString('hex'), number);
    folded.set(encodeURIComponent(secret).toLowerCase(), number);
  }
  return { exact, folded };
}

function reverse(bytes: Buffer): Buffer {
  return Buffer.from(bytes).reverse();
}

/** What base64 makes of these bytes wherever they stand in a longer text: only whole groups that depend on nothing else. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((offset) => {
    const skip = (3 - offset) % 3;
    const whole = bytes.subarray(skip, skip + Math.floor((bytes.length - skip) / 3) * 3);
    const standard = whole.toString('base64');
    return [standard, standard.replaceAll('+', '-').replaceAll('/', '_')];
  });
}
