import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { CofferdamError } from '../../domain/errors.ts';

/** Releases the lock; calling it twice is harmless. */
export type Unlock = () => Promise<void>;

/**
 * Takes an exclusive lock on a file, waiting for it. A `flock` child holds it and ends when our pipe to it closes, so a
 * killed process leaves no lock behind and there is no stale file to judge.
 * Errors: `cancelled` when the signal fired while waiting, `internal` when `flock` is missing or the file cannot be opened.
 */
export async function lockFile(
  file: string,
  options: { onWait?: () => void; signal?: AbortSignal | undefined } = {},
): Promise<Unlock> {
  const child = spawn('flock', [file, 'sh', '-c', 'echo locked; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const waiting = setTimeout(() => options.onWait?.(), 500);
  const abort = () => child.kill();
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const locked = await Promise.race([once(child.stdout, 'data').then(() => true), ended.then(() => false)]);
    if (options.signal?.aborted === true) {
      child.kill();
      throw new CofferdamError('cancelled', 'local.lockFile', `stopped while waiting for ${file}`);
    }
    if (!locked) throw new CofferdamError('internal', 'local.lockFile', `cannot lock ${file} (is flock installed?)`);
  } finally {
    clearTimeout(waiting);
    options.signal?.removeEventListener('abort', abort);
  }
  return async () => {
    child.stdin.end();
    await ended;
  };
}
