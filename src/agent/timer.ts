/** A deadline that can be put off. */
export interface Timer {
  readonly expired: Promise<void>;
  /** Starts the time anew. */
  touch(): void;
  stop(): void;
}

export function createTimer(ms: number): Timer {
  let expire: () => void = () => undefined;
  const expired = new Promise<void>((resolve) => (expire = resolve));
  const handle = setTimeout(() => {
    expire();
  }, ms);
  return {
    expired,
    touch: () => {
      handle.refresh();
    },
    stop: () => {
      clearTimeout(handle);
    },
  };
}

export type Raced<T> = { by: 'answer'; value: T } | { by: 'timer' } | { by: 'signal' };

/** What came first. Rejects when `answer` does so first; stops the timer. */
export async function race<T>(answer: Promise<T>, timer: Timer, signal: AbortSignal): Promise<Raced<T>> {
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<void>((resolve) => (onAbort = resolve));
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort);
  try {
    return await Promise.race<Raced<T>>([
      aborted.then(() => ({ by: 'signal' })),
      answer.then((value) => ({ by: 'answer', value })),
      timer.expired.then(() => ({ by: 'timer' })),
    ]);
  } finally {
    timer.stop();
    signal.removeEventListener('abort', onAbort);
  }
}
