import { setTimeout as sleep } from 'node:timers/promises';
import { GitHubError } from './failure.ts';

/** Pauses that some minutes of an outage fit in: the work of a run is dearer than the wait. */
export const PATIENCE_MS: readonly number[] = [15_000, 60_000, 180_000, 300_000];

const LONGEST_MS = 600_000;

/**
 * Does it again after each pause while GitHub does not answer, or limits; any other failure is thrown at once. A branch that has moved
 * stays where it is, however often one asks. `work` must be safe to repeat.
 */
export async function patiently<T>(
  work: () => Promise<T>,
  { pausesMs = [], signal }: { pausesMs?: readonly number[] | undefined; signal: AbortSignal },
): Promise<T> {
  for (const pause of pausesMs) {
    try {
      return await work();
    } catch (thrown) {
      if (!(thrown instanceof GitHubError) || !thrown.retry || thrown.kind === 'conflict') throw thrown;
      const wait = Math.max(pause, Math.min(thrown.retryAfterMs ?? 0, LONGEST_MS));
      await sleep(wait, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) throw thrown;
    }
  }
  return work();
}
