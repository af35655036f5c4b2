import { z } from 'zod';

/** A run's id: `r` and 12 lower-case base-32 digits. Short, because it is part of Unix socket paths (107 bytes at most). */
export const RunId = z
  .string()
  .regex(/^r[0-9a-hjkmnp-tv-z]{12}$/)
  .brand<'RunId'>();
export type RunId = z.infer<typeof RunId>;

/** A full SHA-1 or SHA-256 object name of a commit, lower-case hex. */
export const CommitSha = z
  .string()
  .regex(/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/)
  .brand<'CommitSha'>();
export type CommitSha = z.infer<typeof CommitSha>;

/** `sha256:` and 64 hex digits. */
export const Digest = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/)
  .brand<'Digest'>();
export type Digest = z.infer<typeof Digest>;

/** Money: integer millionths of a US dollar. */
export const MicroUsd = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).brand<'MicroUsd'>();
export type MicroUsd = z.infer<typeof MicroUsd>;

/** Dollars (at most six decimals are kept, rounded up so that a cost is never understated) to micro-dollars. */
export function microUsd(dollars: number): MicroUsd {
  return MicroUsd.parse(Math.ceil(Math.round(dollars * 1e9) / 1e3));
}

/** `1234567` → `$1.23`; amounts below one cent keep the digits that show something. */
export function formatUsd(amount: number): string {
  const dollars = amount / 1e6;
  if (amount === 0) return '$0.00';
  return dollars >= 0.01 ? `$${dollars.toFixed(2)}` : `$${dollars.toPrecision(2)}`;
}

const DIGITS = '0123456789abcdefghjkmnpqrstvwxyz';

/** Makes a run id of 12 random bytes; the caller brings the randomness, since this room does no I/O. */
export function runId(random: Uint8Array): RunId {
  if (random.length < 12) throw new RangeError('a run id needs 12 random bytes');
  return RunId.parse('r' + Array.from(random.subarray(0, 12), (byte) => DIGITS.charAt(byte & 31)).join(''));
}
