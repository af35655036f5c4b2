/** Questions of the gateway process to its worker: a bounded number at one time, the others wait in order. */
import type { ToGateway, ToWorker } from './gateway-ipc.ts';

export interface Calls {
  /** Resolves with the worker's answer; rejects when it says no. */
  call(message: (id: number) => ToWorker): Promise<unknown>;
  answer(answer: Extract<ToGateway, { type: 'answer' }>): void;
}

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

export function createCalls(options: { send: (message: ToWorker) => void; max: number }): Calls {
  const open = new Map<number, Waiting>();
  const queue: (() => void)[] = [];
  let next = 0;
  return {
    call: (message) =>
      new Promise((resolve, reject) => {
        const start = (): void => {
          const id = next++;
          open.set(id, { resolve, reject });
          options.send(message(id));
        };
        if (open.size < options.max) start();
        else queue.push(start);
      }),
    answer: ({ id, ok, value }) => {
      const waiting = open.get(id);
      if (!waiting) return;
      open.delete(id);
      if (ok) waiting.resolve(value);
      else waiting.reject(new Error('the worker refused'));
      queue.shift()?.();
    },
  };
}
