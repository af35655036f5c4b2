import { readFile, rm } from 'node:fs/promises';
import type { Digest } from '../domain/ids.ts';
import { auditPaths, createFileLogs, type FoundFile } from './logs.ts';
import { noteRemoval } from './removal.ts';
import { parseSeal } from './seal.ts';

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
  let full = false;
  return newestFirst.filter((file) => {
    const old = nowMs - file.changedMs > maxAgeMs;
    // What is older than the first that does not fit goes, too, however small it is: never a newer one instead of an older one.
    full ||= bytes + file.bytes > maxBytes;
    if (file.sealed && (old || full)) return true;
    bytes += file.bytes;
    return false;
  });
}

/** Removes what is beyond the retention, with seal and patch, and leaves a note of each; what was removed. */
export async function prune(directory: string, retention: Retention, nowMs = Date.now()): Promise<FoundFile[]> {
  const gone = beyondRetention(await createFileLogs(directory).list(), retention, nowMs);
  for (const { runId, bytes, changedMs } of gone) {
    const { log, seal, patch } = auditPaths(directory, runId);
    const why = nowMs - changedMs > (retention.maxAgeMs ?? Infinity) ? 'age' : 'size';
    const removedAt = new Date(nowMs).toISOString();
    await noteRemoval(directory, { version: 1, runId, removedAt, why, bytes, ...(await sealOf(seal)) });
    // The seal last: a file that lost its log but not its seal cannot be taken for a run that goes on.
    for (const file of [log, patch, seal]) await rm(file, { force: true });
  }
  return gone;
}

async function sealOf(file: string): Promise<{ count: number; head: Digest } | undefined> {
  const found = parseSeal(await readFile(file, 'utf8').catch(() => ''));
  return found === undefined ? undefined : { count: found.body.count, head: found.body.head };
}
