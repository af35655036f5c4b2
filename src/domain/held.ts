/** Results that wait for a person. */
import { z } from 'zod';
import { Digest } from './ids.ts';

/** What makes CI dangerous for a pushed branch, or keeps it from being judged. */
const CI_RISKS = [
  'secrets',
  'write_permission',
  'default_permission',
  'self_hosted',
  'unreadable',
  'other_service',
] as const;
export const CiRisk = z.enum(CI_RISKS);
export type CiRisk = z.infer<typeof CiRisk>;

/** One file of the repository that CI reads, and what it would give to the code of a pushed branch. */
export const CiReason = z.object({ file: z.string(), risk: CiRisk });
export type CiReason = z.infer<typeof CiReason>;

/** A result that waits for a person: what it is, and why. */
export const HeldFacts = z.object({
  /** Of the whole diff and its base; a person names the beginning of it. */
  diffHash: Digest,
  /** The setting that held it. */
  rule: z.string(),
  /** Files that are the reason. */
  files: z.array(z.string()),
  ci: z.array(CiReason),
  /** Set when commits of a pull request from a fork would be pushed with it: its number, and the classes of `files`. */
  fork: z.object({ pull: z.number().int(), classes: z.record(z.string(), z.string()) }).optional(),
  /** Beginning of the diff, for people. */
  excerpt: z.string(),
  excerptCut: z.boolean(),
});
export type HeldFacts = z.infer<typeof HeldFacts>;

/** Characters of the hash that a person writes. */
const SHORT_HASH = 12;

/** The beginning of a diff's hash, as people write it. */
export function shortHash(digest: Digest): string {
  return digest.slice('sha256:'.length, 'sha256:'.length + SHORT_HASH);
}
