/**
 * The collector: takes gVisor's connections, each for one sandbox of ours, and makes lines of what comes over them.
 *
 * Trust: whoever owns a sandbox's kernel writes what it likes to that sandbox's connection, and to no other. A connection
 * is bound to its container by its peer process before its handshake is answered, and only to one that the worker said it
 * would start; events that name another container are counted as such and thrown away. Reading stops while the worker is
 * behind: gVisor then waits, drops, and says how many it dropped.
 */
import { Digest } from './digest.ts';
import type { KernelEntry } from './entry.ts';
import { decodePacket, HANDSHAKE_ANSWER, isHandshake } from './packet.ts';
import type { PacketServer, Peer } from './packets.ts';

/** What the collector tells its worker. */
export type CollectorReport =
  | { type: 'bound'; container: string }
  | { type: 'lines'; container: string; lines: KernelEntry[] }
  /** The connection is at its end: the sandbox's kernel is gone. */
  | { type: 'closed'; container: string }
  | { type: 'drained'; container: string }
  /** Somebody connected who is not awaited, and got no answer. */
  | { type: 'refused'; why: string };

export interface CollectorOptions {
  server: PacketServer;
  containerOf: (pid: number) => string | undefined;
  report: (report: CollectorReport) => void;
  /** Whether the worker takes more. */
  ready: () => boolean;
  now: () => number;
}

/** Connections that have not said who they are; gVisor says it at once. */
const GREETING_MS = 5_000;
const MAX_GREETING = 64;
/** Packets that one connection may hand over before the others have their turn. */
const TURN = 256;
const WAIT_MS = 200;

interface Greeting {
  container: string;
  until: number;
}

interface Sandbox {
  digest: Digest;
  fd: number | undefined;
  /** The worker waits for everything that is there by now. */
  draining: boolean;
}

export class Collector {
  readonly #options: CollectorOptions;
  readonly #greeting = new Map<number, Greeting>();
  readonly #sandboxes = new Map<string, Sandbox>();
  readonly #bound = new Map<number, string>();
  #closed = false;

  constructor(options: CollectorOptions) {
    this.#options = options;
  }

  /** A container that is about to start. `again`: it runs already, and was collected by another process before. */
  expect(container: string, again: boolean): void {
    if (this.#sandboxes.has(container)) return;
    const digest = new Digest(container, this.#options.now());
    if (again) digest.gap('collector', 0);
    this.#sandboxes.set(container, { digest, fd: undefined, draining: false });
  }

  launched(container: string, argv: readonly string[]): void {
    this.#sandboxes.get(container)?.digest.launched(argv);
  }

  /** Reads what is there; `drained` is reported when it is. */
  drain(container: string): void {
    const sandbox = this.#sandboxes.get(container);
    if (sandbox === undefined) this.#options.report({ type: 'drained', container });
    else sandbox.draining = true;
  }

  /** The last lines of a sandbox. `counted` as in {@link Digest}. Nothing of it is known afterwards. */
  finish(container: string, counted: boolean): void {
    const sandbox = this.#sandboxes.get(container);
    if (sandbox === undefined) return;
    this.#sandboxes.delete(container);
    if (sandbox.fd !== undefined) this.#hangUp(sandbox.fd);
    this.#options.report({ type: 'lines', container, lines: sandbox.digest.end(counted) });
  }

  /** Runs until {@link close}. */
  async run(): Promise<void> {
    const { server, now, ready } = this.#options;
    while (!this.#closed) {
      const listening = [server.fd, ...this.#greeting.keys()];
      const readable = await server.wait(ready() ? [...listening, ...this.#bound.keys()] : listening, WAIT_MS);
      for (const fd of readable) {
        if (fd === server.fd) this.#accept();
        else if (this.#greeting.has(fd)) this.#greet(fd);
        else this.#read(fd);
      }
      const at = now();
      for (const [fd, { until }] of this.#greeting) if (at > until) this.#drop(fd, 'no handshake');
      for (const [container, sandbox] of this.#sandboxes) {
        if (sandbox.draining && (sandbox.fd === undefined || !readable.includes(sandbox.fd)) && ready()) {
          sandbox.draining = false;
          this.#send(container, sandbox, true);
          this.#options.report({ type: 'drained', container });
        } else this.#send(container, sandbox, false);
      }
    }
    server.close(server.fd);
    for (const fd of [...this.#greeting.keys(), ...this.#bound.keys()]) server.close(fd);
  }

  close(): void {
    this.#closed = true;
  }

  #send(container: string, sandbox: Sandbox, force: boolean): void {
    if (!this.#options.ready()) return;
    const lines = sandbox.digest.lines(this.#options.now(), force);
    if (lines.length > 0) this.#options.report({ type: 'lines', container, lines });
  }

  #accept(): void {
    const { server, report } = this.#options;
    for (let peer = server.accept(); peer !== undefined; peer = server.accept()) {
      const why = this.#whyNot(peer);
      if (why !== undefined) {
        server.close(peer.fd);
        report({ type: 'refused', why });
      }
    }
  }

  #whyNot({ fd, pid }: Peer): string | undefined {
    const container = this.#options.containerOf(pid);
    if (container === undefined) return `process ${pid} is no runsc that creates a container`;
    const sandbox = this.#sandboxes.get(container);
    if (sandbox === undefined) return `container ${container.slice(0, 12)} is not ours`;
    if (sandbox.fd !== undefined) return `container ${container.slice(0, 12)} has a connection already`;
    if (this.#greeting.size >= MAX_GREETING) return 'too many connections at once';
    this.#greeting.set(fd, { container, until: this.#options.now() + GREETING_MS });
    return undefined;
  }

  #greet(fd: number): void {
    const { server, report } = this.#options;
    const greeting = this.#greeting.get(fd);
    const received = server.receive(fd);
    if (received === 'nothing' || greeting === undefined) return;
    const sandbox = this.#sandboxes.get(greeting.container);
    const valid = typeof received !== 'string' && isHandshake(received.packet);
    // Another connection of the same container may have been quicker.
    if (!valid || sandbox === undefined || sandbox.fd !== undefined || !server.send(fd, HANDSHAKE_ANSWER)) {
      this.#drop(fd, valid ? 'a second connection' : 'no valid handshake');
      return;
    }
    this.#greeting.delete(fd);
    sandbox.fd = fd;
    this.#bound.set(fd, greeting.container);
    report({ type: 'bound', container: greeting.container });
  }

  #drop(fd: number, why: string): void {
    this.#greeting.delete(fd);
    this.#options.server.close(fd);
    this.#options.report({ type: 'refused', why });
  }

  #read(fd: number): void {
    const { server, now, report, ready } = this.#options;
    const container = this.#bound.get(fd);
    const sandbox = container === undefined ? undefined : this.#sandboxes.get(container);
    if (container === undefined || sandbox === undefined) return;
    const at = now();
    for (let turn = 0; turn < TURN && ready(); turn += 1) {
      const received = server.receive(fd);
      if (received === 'nothing') return;
      if (received === 'end') {
        this.#hangUp(fd);
        sandbox.fd = undefined;
        report({ type: 'closed', container });
        return;
      }
      if (received === 'oversized') sandbox.digest.gap('garbled', 1, 'oversized');
      else sandbox.digest.take(decodePacket(received.packet), at);
    }
  }

  #hangUp(fd: number): void {
    this.#bound.delete(fd);
    this.#options.server.close(fd);
  }
}
