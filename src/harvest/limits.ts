import { CofferdamError } from '../domain/errors.ts';

/** What one result may be at most. */
export interface HarvestLimits {
  bundleBytes: number;
  /** Objects in the pack. */
  objects: number;
  /** Changed files. */
  files: number;
  /** One new file. */
  fileBytes: number;
  /** All new files together. */
  totalBytes: number;
  /** Directories above a file. */
  depth: number;
  pathBytes: number;
  /** Of the diff that people see. */
  patchBytes: number;
  /** For bringing the tree out of the sandbox. */
  timeoutMs: number;
  /** For each git process that reads hostile bytes. */
  memoryBytes: number;
  cpuSeconds: number;
  /** For looking for secrets in all files. */
  scanMs: number;
}

export const HARVEST_LIMITS: HarvestLimits = {
  bundleBytes: 128 * 2 ** 20,
  objects: 50_000,
  files: 5000,
  fileBytes: 20 * 2 ** 20,
  totalBytes: 100 * 2 ** 20,
  depth: 64,
  pathBytes: 1024,
  patchBytes: 8 * 2 ** 20,
  timeoutMs: 5 * 60_000,
  memoryBytes: 1.5 * 2 ** 30,
  cpuSeconds: 120,
  scanMs: 120_000,
};

/** The result is refused: what was found, in words for the person who asked for the run. */
export function refused(problem: string, cause?: unknown): CofferdamError {
  return new CofferdamError('harvest', 'harvest.check', `the result was refused: ${problem}`, cause);
}
