/**
 * The collector process of one worker: listens for gVisor's kernels and makes lines of what they report.
 *
 * Trust: what it reads may be written by whoever broke out of a sandbox into its kernel. It has a built environment, no
 * secret, no Docker socket and no network of its own, gives up root once it listens, and ends when its worker does.
 *
 * Preconditions: nothing is imported after the change of user, since the checkout may lie where that user cannot read.
 */
import { Socket } from 'node:net';
import { Collector } from '../sandbox/kernel/collector.ts';
import type { CollectorReport } from '../sandbox/kernel/collector.ts';
import { listenForPackets } from '../sandbox/kernel/packets.ts';
import { containerOfPeer } from '../sandbox/kernel/peer.ts';
import { openChannel, type Channel } from './gateway-ipc.ts';
import { dropRights } from './child-process.ts';
import { CONTROL_FD, MAX_BACKLOG, MAX_LINES, MAX_TO_COLLECTOR, ToCollector, type FromCollector } from './kernel-ipc.ts';

type Start = Extract<ToCollector, { type: 'start' }>;

const channel: Channel<FromCollector> = openChannel<FromCollector, ToCollector>({
  stream: new Socket({ fd: CONTROL_FD }),
  schema: ToCollector,
  maxIncoming: MAX_TO_COLLECTOR,
  onMessage: receive,
  // The worker is gone: nobody keeps the record.
  onClose: () => process.exit(0),
});
const state: { collector?: Collector } = {};

function receive(message: ToCollector): void {
  const { collector } = state;
  if (message.type === 'start') start(message);
  else if (collector === undefined) process.exit(1);
  else if (message.type === 'expect') {
    collector.expect(message.container, message.again);
    channel.send({ type: 'expected', container: message.container });
  } else if (message.type === 'launched') collector.launched(message.container, message.argv);
  else if (message.type === 'drain') collector.drain(message.container);
  else {
    collector.finish(message.container, message.counted);
    channel.send({ type: 'finished', container: message.container });
  }
}

function start({ socket, user }: Start): void {
  try {
    const server = listenForPackets(socket);
    if (user !== undefined) dropRights(user, { code: 'sandbox', op: 'main.kernelProcess', name: 'collector' });
    const collector = new Collector({
      server,
      containerOf: containerOfPeer,
      report,
      ready: () => channel.backlog() < MAX_BACKLOG,
      now: () => performance.now(),
    });
    state.collector = collector;
    channel.send({ type: 'ready' });
    collector.run().catch((error: unknown) => {
      process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
      process.exit(1);
    });
  } catch (error) {
    channel.send({ type: 'failed', message: (error instanceof Error ? error.message : String(error)).slice(0, 4096) });
  }
}

function report(of: CollectorReport): void {
  if (of.type !== 'lines') {
    channel.send(of.type === 'refused' ? { ...of, why: of.why.slice(0, 256) } : of);
    return;
  }
  const { container, lines } = of;
  for (let at = 0; at < lines.length; at += MAX_LINES) {
    channel.send({ type: 'lines', container, lines: lines.slice(at, at + MAX_LINES) });
  }
}
