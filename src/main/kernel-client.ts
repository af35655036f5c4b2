/**
 * The worker's side of the record of processes: one collector process, started when it is first needed.
 *
 * Several workers may use one Docker, and gVisor's configuration names one socket. So each collector listens on a socket of
 * its own, and the named one is a symbolic link: who starts a container takes the turn (a lock that ends with its holder),
 * points the link at its collector, and gives the turn back when the container's kernel has connected.
 */
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CofferdamError } from '../domain/errors.ts';
import { lockFile } from '../local/machine/lock.ts';
import type { KernelRecord, KernelRecorder, RecordOptions } from '../sandbox/kernel/recorder.ts';
import { createUserIds } from './gateway-users.ts';
import { attachKernel } from './kernel-attach.ts';
import type { FromCollector } from './kernel-ipc.ts';
import { openLink, type CollectorLink } from './kernel-link.ts';

export interface KernelHost extends KernelRecorder {
  /** Process id of the collector; undefined while there is none. */
  collector(): number | undefined;
  close(): Promise<void>;
}

export interface KernelHostOptions {
  /** What the collector writes to standard error: its last words. */
  log?: (line: string) => void;
  startTimeoutMs?: number;
  /** The process's module; another one only in tests. */
  script?: string;
}

const OP = 'main.kernelRecorder';
/** gVisor connects before Docker says that the container is created. */
const BIND_MS = 10_000;
/** A collector that reads the records of others first, on a busy machine. */
const EXPECT_MS = 30_000;
/** What the end of a record may take: the last report, and the collector's answers, on a busy machine, too. */
const LAST_MS = 15_000;
const ANSWER_MS = 30_000;

interface Live {
  options: RecordOptions;
  link: CollectorLink;
  expected: PromiseWithResolvers<undefined>;
  bound: PromiseWithResolvers<undefined>;
  drained: PromiseWithResolvers<undefined>;
  finished: PromiseWithResolvers<undefined>;
  lost: PromiseWithResolvers<string>;
  attached: boolean;
  over: boolean;
  /** Its kernel hung up: the sandbox is at its end. */
  closed: boolean;
}

/** Starts nothing yet. `close` ends the collector; what is still recorded then is lost. */
export function createKernelRecorder(options: KernelHostOptions = {}): KernelHost {
  return new Recorder(options);
}

class Recorder implements KernelHost {
  readonly #options: KernelHostOptions;
  readonly #users = createUserIds();
  readonly #live = new Map<string, Live>();
  #link: { endpoint: string; opening: Promise<CollectorLink>; open?: CollectorLink } | undefined;
  #closing = false;

  constructor(options: KernelHostOptions) {
    this.#options = options;
  }

  collector(): number | undefined {
    return this.#link?.open?.pid;
  }

  async record(options: RecordOptions): Promise<KernelRecord> {
    const { container, endpoint } = options;
    const link = await this.#linkTo(endpoint);
    const live: Live = {
      options,
      link,
      expected: Promise.withResolvers(),
      bound: Promise.withResolvers(),
      drained: Promise.withResolvers(),
      finished: Promise.withResolvers(),
      lost: Promise.withResolvers(),
      attached: false,
      over: false,
      closed: false,
    };
    this.#live.set(container, live);
    try {
      await expectAt(live, false);
      await this.#start(live);
    } catch (error) {
      this.#forget(live);
      throw error;
    }
    return {
      launched: (argv) => {
        const cut = argv.slice(0, 64).map((argument) => argument.slice(0, 1024));
        live.link.send({ type: 'launched', container, argv: cut });
      },
      lost: live.lost.promise,
      finish: (last) => this.#finish(live, last),
    };
  }

  async close(): Promise<void> {
    this.#closing = true;
    const link = await this.#link?.opening.catch(() => undefined);
    await link?.close();
  }

  /** The container's start, in our turn, until its kernel is bound to us. */
  async #start(live: Live): Promise<void> {
    const { link, options } = live;
    const unlock = await lockFile(join(dirname(options.endpoint), 'turn'));
    let started: Promise<void>;
    try {
      await link.claim();
      started = options.start();
      await Promise.race([
        live.bound.promise,
        started.then(() => unbound('gVisor started the sandbox without reporting to the collector')),
        link.gone.then((how) => refuse(`the collector process ended (${how})`)),
      ]);
    } finally {
      await unlock();
    }
    await started;
  }

  #linkTo(endpoint: string): Promise<CollectorLink> {
    if (this.#closing) return Promise.reject(new CofferdamError('sandbox', OP, 'the recorder is closed'));
    if (this.#link !== undefined) {
      if (this.#link.endpoint === endpoint) return this.#link.opening;
      return Promise.reject(new CofferdamError('config', OP, 'one worker records at one socket only'));
    }
    const user = this.#users.take();
    const opening = openLink({
      endpoint,
      user: user === undefined ? undefined : { uid: user.uid, gid: user.gid },
      script: this.#options.script,
      timeoutMs: this.#options.startTimeoutMs ?? 30_000,
      onMessage: (message) => this.#receive(message),
      onLastWords: (text) => this.#options.log?.(text),
    });
    const link: { endpoint: string; opening: Promise<CollectorLink>; open?: CollectorLink } = { endpoint, opening };
    this.#link = link;
    const ended = (): void => {
      user?.release();
      if (this.#link === link) this.#link = undefined;
    };
    opening.then((open) => {
      link.open = open;
      void open.gone.then((how) => {
        ended();
        this.#collectorGone(open, how);
      });
    }, ended);
    return opening;
  }

  #receive(message: FromCollector): void {
    if (message.type === 'refused') this.#options.log?.(`the collector refused a connection: ${message.why}`);
    if (!('container' in message)) return;
    const live = this.#live.get(message.container);
    if (live === undefined) return;
    if (message.type === 'expected') live.expected.resolve(undefined);
    else if (message.type === 'bound') live.bound.resolve(undefined);
    else if (message.type === 'lines') message.lines.forEach((line) => live.options.onLine(line));
    else if (message.type === 'closed') {
      live.closed = true;
      live.drained.resolve(undefined);
    } else if (message.type === 'drained') live.drained.resolve(undefined);
    else live.finished.resolve(undefined);
  }

  #collectorGone(link: CollectorLink, how: string): void {
    for (const live of this.#live.values()) {
      if (live.link !== link) continue;
      live.drained.resolve(undefined);
      if (live.over || live.closed || this.#closing) live.finished.resolve(undefined);
      else void this.#attach(live, how);
    }
  }

  /** Once: a second end of the collector ends the sandbox. */
  async #attach(live: Live, how: string): Promise<void> {
    const { options } = live;
    try {
      if (live.attached) throw new CofferdamError('sandbox', OP, 'it ended a second time');
      live.attached = true;
      live.expected = Promise.withResolvers();
      live.bound = Promise.withResolvers();
      live.drained = Promise.withResolvers();
      live.link = await this.#linkTo(options.endpoint);
      await expectAt(live, true);
      const { container, runsc } = options;
      await attachKernel({ container, runsc, socket: live.link.socket });
      await Promise.race([
        live.bound.promise,
        delay(BIND_MS, undefined, { ref: false }).then(() => unbound('no answer')),
      ]);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const detail = `the collector process ended (${how}) and could not be replaced: ${why}`.slice(0, 1000);
      options.onLine({ type: 'kernel.gap', data: { reason: 'collector', count: 0, detail } });
      live.lost.resolve(detail);
      live.finished.resolve(undefined);
    }
  }

  async #finish(live: Live, last: (() => Promise<void>) | undefined): Promise<void> {
    if (live.over) return live.finished.promise;
    const { container } = live.options;
    let counted = false;
    if (last !== undefined && !live.closed) {
      counted = await within(last(), LAST_MS);
      live.link.send({ type: 'drain', container });
      counted = (await within(live.drained.promise, ANSWER_MS)) && counted;
    }
    live.over = true;
    live.link.send({ type: 'finish', container, counted });
    await within(Promise.race([live.finished.promise, live.link.gone]), ANSWER_MS);
    live.finished.resolve(undefined);
    this.#live.delete(container);
  }

  #forget(live: Live): void {
    live.over = true;
    this.#live.delete(live.options.container);
    live.link.send({ type: 'finish', container: live.options.container, counted: false });
  }
}

/**
 * The collector knows of a container before that container's kernel can connect. A message that was only sent may lie unread in a
 * busy process, which would then turn the connection away.
 */
async function expectAt({ link, options, expected }: Live, again: boolean): Promise<void> {
  link.send({ type: 'expect', container: options.container, again });
  await Promise.race([
    expected.promise,
    link.gone.then((how) => refuse(`the collector process ended (${how})`)),
    delay(EXPECT_MS, undefined, { ref: false }).then(() => refuse('the collector process does not answer')),
  ]);
}

function refuse(why: string): never {
  throw new CofferdamError('sandbox', OP, why);
}

/** The two ends race through different processes, so the later one gets a moment. */
async function unbound(why: string): Promise<never> {
  await delay(BIND_MS, undefined, { ref: false });
  return refuse(why);
}

/** Whether it went well in time. */
function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  return Promise.race([
    work.then(
      () => true,
      () => false,
    ),
    delay(ms, false, { ref: false }),
  ]);
}
