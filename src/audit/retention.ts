import { rm } from 'node:fs/promises';
import { auditPaths, createFileLogs, type FoundFile } from './logs.ts';

/** How long audit files are kept. A bound that is not there does not bound. */
export interface Retention {
  maxAgeMs?: number | undefined;
  maxBytes?: number | undefined;
}

/**
 * Which files go: those that are too old, then the oldest until the rest is small enough. Only sealed ones: a run that goes on, and
 * one that ended without a seal, are never removed by age or size.
 */
export function beyondRetention(files: readonly FoundFile[], retention: Retention, nowMs: number): FoundFile[] {
  const { maxAgeMs = Infinity, maxBytes = Infinity } = retention;
  const newestFirst = [...files].sort((a, b) => b.changedMs - a.changedMs);
  let bytes = 0;
  return newestFirst.filter((file) => {
    const old = nowMs - file.changedMs > maxAgeMs;
    const fits = bytes + file.bytes <= maxBytes;
    if (file.sealed && (old || !fits)) return true;
    bytes += file.bytes;
    return false;
  });
}

/** Removes what is beyond the retention, with seal and patch; what was removed. */
export async function prune(directory: string, retention: Retention, nowMs = Date.now()): Promise<FoundFile[]> {
  const gone = beyondRetention(await createFileLogs(directory).list(), retention, nowMs);
  for (const { runId } of gone) {
    const { log, seal, patch } = auditPaths(directory, runId);
    // The seal last: a file that lost its log but not its seal cannot be taken for a run that goes on.
    for (const file of [log, patch, seal]) await rm(file, { force: true });
  }
  return gone;
}
