import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { CofferdamError } from '../domain/errors.ts';
import { refused } from './limits.ts';
import type { ContentFinding } from './scan-content.ts';

/** Scans files for secrets in a thread of its own: up to 100 MB of hostile bytes must not hold up this process. */
export interface ScanThread extends AsyncDisposable {
  /** Errors: `harvest` when the time is up or the thread ended; `cancelled`. Call it for one file after the other. */
  scan: (content: Buffer) => Promise<ContentFinding[]>;
}

const OP = 'harvest.scan';

/** Starts the thread. `timeoutMs` is for all files together. */
export function createScanThread(options: {
  secrets: readonly string[];
  timeoutMs: number;
  signal: AbortSignal;
}): ScanThread {
  const worker = new Worker(new URL('./scan-worker.ts', import.meta.url), {
    workerData: [...options.secrets],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 1024 },
  });
  const end = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
  // An error between two files is told by the next call.
  worker.on('error', () => undefined);
  return {
    scan: async (content) => {
      const gone = new AbortController();
      const onExit = () => {
        gone.abort();
      };
      worker.once('exit', onExit);
      try {
        // A copy: the content is part of a larger buffer, which must not be handed over.
        worker.postMessage(new Uint8Array(content));
        const [findings] = (await once(worker, 'message', { signal: AbortSignal.any([end, gone.signal]) })) as [
          ContentFinding[],
        ];
        return findings;
      } catch (cause) {
        if (options.signal.aborted)
          throw new CofferdamError('cancelled', OP, 'stopped while files were scanned', cause);
        throw refused('looking for secrets in its files took too much time or memory', cause);
      } finally {
        worker.off('exit', onExit);
      }
    },
    [Symbol.asyncDispose]: async () => {
      await worker.terminate();
    },
  };
}
