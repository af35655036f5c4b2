import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Docker } from './docker.ts';

const RETRY_MS = 1_000;
/** How long a daemon may be away (a restart) before its sandbox counts as unobserved. */
const AWAY_MS = 30_000;

const Event = z.object({ Action: z.string(), timeNano: z.number() });

/** How a container ended, as far as the daemon knows. */
export type Exit = { known: true; code: number; oomKilled: boolean } | { known: false };

/**
 * Resolves when the container does not run any more. A daemon that is away is asked again for half a minute; after that, or
 * when the container is not there any more, the answer is `known: false`. Rejects only with the signal's reason.
 */
export async function waitForExit(docker: Docker, id: string, signal: AbortSignal): Promise<Exit> {
  let awaySince: number | undefined;
  for (;;) {
    try {
      const code = await docker.wait(id, signal);
      const facts = await docker.inspect(id).catch(() => undefined);
      return { known: true, code, oomKilled: facts?.State.OOMKilled ?? false };
    } catch {
      signal.throwIfAborted();
      awaySince ??= performance.now();
      const facts = await docker.inspect(id).catch((): 'away' => 'away');
      if (facts === undefined) return { known: false };
      if (facts !== 'away') {
        if (!facts.State.Running) return { known: true, code: facts.State.ExitCode, oomKilled: facts.State.OOMKilled };
        awaySince = undefined;
      } else if (performance.now() - awaySince > AWAY_MS) return { known: false };
      await delay(RETRY_MS, undefined, { signal });
    }
  }
}

/**
 * Calls `onOom` when the kernel's out-of-memory killer hit the container. Needed because under gVisor's systrap platform the
 * container then neither ends nor is marked: it hangs. The stream is opened before this resolves, and opened again from
 * where it broke off. Ends with the signal.
 */
export async function followOom(options: {
  docker: Docker;
  id: string;
  onOom: () => void;
  signal: AbortSignal;
}): Promise<void> {
  const { docker, id, signal } = options;
  let since = Date.now() / 1000;
  const open = () => docker.events({ container: id, events: ['oom'], since });
  const read = async (stream: Readable): Promise<void> => {
    const stop = (): void => void stream.destroy();
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    stream.on('error', () => undefined);
    try {
      for await (const line of createInterface({ input: stream })) {
        const event = Event.safeParse(JSON.parse(line));
        if (!event.success) continue;
        since = event.data.timeNano / 1e9;
        options.onOom();
      }
    } finally {
      signal.removeEventListener('abort', stop);
    }
  };
  let stream: Readable | undefined = await open();
  void (async () => {
    while (stream !== undefined || !signal.aborted) {
      if (stream !== undefined) await read(stream).catch(() => undefined);
      await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
      stream = signal.aborted ? undefined : await open().catch(() => undefined);
    }
  })();
}
