import type { EndReason } from '../domain/final-state.ts';
import type { Gateway, Sandbox } from './ports.ts';
import { stopReason } from './stop.ts';

/** Aborts once, with the first reason that ends a run's work. */
export interface LimitWatch extends Disposable {
  readonly signal: AbortSignal;
  /** Why it was aborted; undefined while it was not. */
  reason(): EndReason | undefined;
}

/** A signal's abort reason when it is one of ours; an abort from outside counts as a stop. */
function reasonOf(signal: AbortSignal): EndReason | undefined {
  return signal.aborted ? (signal.reason as EndReason) : undefined;
}

/**
 * Watches everything that may end a run's work: the time, the person, the caps, the gateway and the sandbox.
 * Time is monotonic: the timer counts elapsed time and does not follow the wall clock.
 */
export function watchLimits(options: {
  timeoutMs: number;
  signal: AbortSignal;
  gateway: Pick<Gateway, 'capped' | 'closed'>;
  sandbox: Pick<Sandbox, 'ended'>;
}): LimitWatch {
  const controller = new AbortController();
  const end = (reason: EndReason): void => {
    controller.abort(reason);
  };
  const timer = setTimeout(() => end('timeout'), options.timeoutMs);
  const stopped = (): void => end(stopReason(options.signal));
  options.signal.addEventListener('abort', stopped, { once: true });
  if (options.signal.aborted) stopped();
  void options.gateway.capped.then(end);
  void options.gateway.closed.then((exit) => exit.expected || end('gateway_lost'));
  void options.sandbox.ended.then(({ reason }) => end(reason === 'exited' ? 'portal_lost' : reason));
  return {
    signal: controller.signal,
    reason: () => reasonOf(controller.signal),
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', stopped);
    },
  };
}

/**
 * Aborts when what `seen` counts has not grown for `idleMs` of monotonic time, at most a quarter of that late.
 * Its signal's reason is `idle`.
 */
export function watchIdle({
  idleMs,
  seen,
}: {
  idleMs: number;
  seen: () => number;
}): Disposable & { signal: AbortSignal } {
  const controller = new AbortController();
  let last = seen();
  let since = performance.now();
  const timer = setInterval(
    () => {
      const now = seen();
      if (now !== last) {
        last = now;
        since = performance.now();
      } else if (performance.now() - since >= idleMs) controller.abort('idle' satisfies EndReason);
    },
    Math.min(5_000, Math.max(1, idleMs / 4)),
  );
  return { signal: controller.signal, [Symbol.dispose]: () => clearInterval(timer) };
}

/** After these the sandbox is still there and its tree can be brought out. */
const SANDBOX_LIVES: readonly EndReason[] = ['max_cost', 'max_turns', 'timeout', 'stopped', 'shutdown', 'idle'];

export function sandboxLives(reason: EndReason | undefined): boolean {
  return reason === undefined || SANDBOX_LIVES.includes(reason);
}
