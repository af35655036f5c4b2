import type { EndReason } from '../domain/final-state.ts';

/* A person stops a run, and may want to keep what is there, or its worker is shut down: what that means for the signals of its steps. */

/** Time to bring the tree out and publish it after a limit, or a stop. */
export const SALVAGE_MS = 5 * 60_000;

/** Why it was stopped, by the reason of its signal: a `StopRequest`, or anything else. */
export function stopReason(signal: AbortSignal): EndReason & ('stopped' | 'shutdown') {
  return says(signal, 'shutdown') ? 'shutdown' : 'stopped';
}

/** Did whoever stopped the run ask for what is there? */
export function keeps(signal: AbortSignal): boolean {
  return says(signal, 'keep');
}

function says(signal: AbortSignal, word: 'keep' | 'shutdown'): boolean {
  const reason: unknown = signal.reason;
  return typeof reason === 'object' && reason !== null && (reason as Record<string, unknown>)[word] === true;
}

/**
 * A stop that keeps does not cut off at once what it wants kept; one that does not keep does. Signals other than the stop's own
 * come back as they are.
 */
export function unlessKept(stop: AbortSignal, signal: AbortSignal): AbortSignal {
  if (signal !== stop) return signal;
  const controller = new AbortController();
  const end = (): void => {
    if (keeps(stop)) setTimeout(() => controller.abort(stop.reason), SALVAGE_MS).unref();
    else controller.abort(stop.reason);
  };
  if (stop.aborted) end();
  else stop.addEventListener('abort', end, { once: true });
  return controller.signal;
}
