type Works<T extends readonly unknown[]> = { [K in keyof T]: (signal: AbortSignal) => Promise<T[K]> };

/**
 * Does several things at the same time. When one fails, the others are told to stop, and its error is thrown once all have
 * ended: nothing goes on behind the caller's back.
 */
export async function allOrNone<T extends readonly unknown[]>(works: Works<T>, signal?: AbortSignal): Promise<T> {
  const failed = new AbortController();
  const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const begun = works.map((work) =>
    work(either).catch((thrown: unknown) => {
      // Only the first call has an effect.
      failed.abort(thrown);
      throw thrown;
    }),
  );
  await Promise.allSettled(begun);
  if (failed.signal.aborted) throw failed.signal.reason;
  return (await Promise.all(begun)) as unknown as T;
}
