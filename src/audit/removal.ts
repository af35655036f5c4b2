/** What stays of a run whose record the operator does not keep any longer: a note beside where it was. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Digest, RunId } from '../domain/ids.ts';

const Removal = z.strictObject({
  version: z.literal(1),
  runId: RunId,
  /** ISO 8601. */
  removedAt: z.string().max(40),
  /** The bound that it was beyond. */
  why: z.enum(['age', 'size']),
  bytes: z.number().int().nonnegative(),
  /** Of its seal: what the check run and the status comment carry. */
  count: z.number().int().positive().optional(),
  head: Digest.optional(),
});
export type Removal = z.infer<typeof Removal>;

const MAX_BYTES = 4_096;

function noteFile(directory: string, runId: RunId): string {
  return join(directory, `${runId}.removed`);
}

export async function noteRemoval(directory: string, removal: Removal): Promise<void> {
  await writeFile(noteFile(directory, removal.runId), `${JSON.stringify(removal)}\n`, { mode: 0o600 });
}

/** Null: this run's record was not removed here, as far as known. */
export async function findRemoval(directory: string, runId: RunId): Promise<Removal | null> {
  const text = await readFile(noteFile(directory, runId), 'utf8').catch(() => '');
  if (text === '' || text.length > MAX_BYTES) return null;
  try {
    const removal = Removal.safeParse(JSON.parse(text)).data;
    return removal?.runId === runId ? removal : null;
  } catch {
    return null;
  }
}

/** One sentence: when, and why. */
export function describeRemoval({ removedAt, why }: Removal): string {
  const bound = why === 'age' ? 'it was older than records are kept here' : 'records here were larger than are kept';
  return `The record of this run was removed on ${removedAt.slice(0, 10)} because ${bound}.`;
}
