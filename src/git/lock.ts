import { CofferdamError } from '../domain/errors.ts';
import { startProcess } from './process.ts';

/**
 * Takes an exclusive lock on a file: the kernel's, held by a child that ends when this process does, so that a crash
 * leaves nothing locked. Works between processes of one machine. Returns the release.
 * Errors: `cancelled` when aborted while waiting.
 */
export async function lockFile(file: string, signal?: AbortSignal): Promise<() => Promise<void>> {
  const op = 'git.lockFile';
  if (signal?.aborted) throw new CofferdamError('cancelled', op, 'stopped before the lock was taken');
  // `cat` answers only once flock has executed it, which it does with the lock held.
  const child = startProcess({ argv: ['flock', '--no-fork', '--exclusive', file, 'cat'] });
  const onAbort = () => {
    child.kill();
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  const answered = new Promise<boolean>((resolve) => {
    child.stdout.once('data', () => {
      resolve(true);
    });
    void child.exited.then(() => {
      resolve(false);
    });
  });
  child.stderr.resume();
  child.stdin.write('\n');
  const held = await answered;
  signal?.removeEventListener('abort', onAbort);
  if (!held && signal?.aborted) throw new CofferdamError('cancelled', op, 'stopped while waiting for the lock');
  if (!held) throw new CofferdamError('internal', op, `cannot lock ${file}; is flock (util-linux) installed?`);
  return async () => {
    child.stdin.end();
    await child.exited;
  };
}

/** Runs tasks with the same key one after the other, within this process. */
export function createQueues(): <T>(key: string, task: () => Promise<T>) => Promise<T> {
  const tails = new Map<string, Promise<unknown>>();
  return async (key, task) => {
    const before = tails.get(key) ?? Promise.resolve();
    const mine = before.then(task, task);
    tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (tails.get(key) === mine) tails.delete(key);
    }
  };
}
