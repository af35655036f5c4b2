/** The worker's end of one collector process: its socket, its messages, and its end. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdir, rename, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { CofferdamError } from '../domain/errors.ts';
import { openChannel } from './gateway-ipc.ts';
import { exitOf } from './child-process.ts';
import { CONTROL_FD, FromCollector, MAX_FROM_COLLECTOR, type ToCollector } from './kernel-ipc.ts';

export interface CollectorLink {
  /** The socket that this collector listens on. */
  readonly socket: string;
  readonly pid: number;
  send(message: ToCollector): void;
  /** Resolves, with how, when the process is gone. */
  readonly gone: Promise<string>;
  /** Makes the socket that gVisor's configuration names lead to this collector. The caller holds the turn. */
  claim(): Promise<void>;
  close(): Promise<void>;
}

export interface LinkOptions {
  /** The socket that gVisor's configuration names. */
  endpoint: string;
  user: { uid: number; gid: number } | undefined;
  /** The process's module; another one only in tests. */
  script: string | undefined;
  timeoutMs: number;
  onMessage: (message: FromCollector) => void;
  onLastWords: (text: string) => void;
}

const SCRIPT = fileURLToPath(new URL('kernel-process.ts', import.meta.url));
const OP = 'main.kernelRecorder';
/** `k<pid of the worker>-<random>.sock`, beside the endpoint. */
const OWN_SOCKET = /^k(\d+)-[0-9a-f]{6}\.(?:sock|json)$/;

/** Starts a collector process that listens. Errors: `sandbox` with what it said. */
export async function openLink(options: LinkOptions): Promise<CollectorLink> {
  const { endpoint } = options;
  const directory = dirname(endpoint);
  await sweep(directory);
  const socket = join(directory, `k${process.pid}-${randomBytes(3).toString('hex')}.sock`);
  const child = startChild(options.script ?? SCRIPT);
  const listening = Promise.withResolvers<undefined>();
  let lastWords = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    lastWords = (lastWords + chunk.toString('utf8')).slice(-4096);
  });
  const channel = openChannel<ToCollector, FromCollector>({
    stream: child.stdio[CONTROL_FD] as Duplex,
    schema: FromCollector,
    maxIncoming: MAX_FROM_COLLECTOR,
    onMessage: (message) => {
      if (message.type === 'ready') listening.resolve(undefined);
      else if (message.type === 'failed') listening.reject(new CofferdamError('sandbox', OP, message.message));
      else options.onMessage(message);
    },
    onClose: () => child.kill('SIGKILL'),
  });
  const gone = exitOf(child).then(async (how) => {
    listening.reject(
      new CofferdamError('sandbox', OP, `the collector process ended at its start (${how}): ${lastWords.trim()}`),
    );
    if (lastWords !== '') options.onLastWords(lastWords);
    await rm(socket, { force: true }).catch(() => undefined);
    return how;
  });
  const timer = setTimeout(() => {
    listening.reject(new CofferdamError('sandbox', OP, `the collector process did not start: ${lastWords.trim()}`));
  }, options.timeoutMs);
  try {
    channel.send({ type: 'start', socket, ...(options.user === undefined ? {} : { user: options.user }) });
    await listening.promise;
  } catch (error) {
    child.kill('SIGKILL');
    await gone;
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return {
    socket,
    pid: child.pid ?? 0,
    send: (message) => channel.send(message),
    gone,
    claim: async () => {
      // A rename is one step: whoever connects meanwhile finds the one socket or the other.
      const link = `${socket}.link`;
      await symlink(basename(socket), link);
      await rename(link, endpoint);
    },
    close: async () => {
      channel.close();
      await gone;
    },
  };
}

/** Sockets and files of workers that were killed. */
async function sweep(directory: string): Promise<void> {
  const running = new Set(await readdir('/proc'));
  for (const name of await readdir(directory)) {
    const pid = OWN_SOCKET.exec(name.replace(/\.link$/, ''))?.[1];
    if (pid !== undefined && !running.has(pid)) await rm(join(directory, name), { force: true });
  }
}

/** Nothing of this process's environment, arguments or descriptors but one socket pair. */
function startChild(script: string): ChildProcess {
  const argv = ['--disable-warning=ExperimentalWarning', '--max-old-space-size=256', script];
  return spawn(process.execPath, argv, {
    cwd: '/',
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
}
