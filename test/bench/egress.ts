import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { Socket } from 'node:net';
import type { SecureContext } from 'node:tls';
import { clientHello, drain, get, open, secure, trusting } from './egress-client.ts';
import {
  cofferdam,
  direct,
  FLOOD,
  LARGE,
  mitmproxy,
  relay,
  SMALL,
  smokescreen,
  squid,
  startUpstream,
  tinyproxy,
} from './egress-targets.ts';
import type { Target, Upstream } from './egress-targets.ts';
import { orSaid, quantile, say } from './measure.ts';

/*
 * The way out: what the gateway adds to the first byte, what it passes and how much memory tunnels take, side by side with
 * the host itself and with other proxies. Every answer is compared by its hash with what the host sent.
 */

const MIB = 2 ** 20;
const TUNNELS = 1_000;

/** A connection whose bytes nobody reads, or whose requests the proxy reads. */
type Way = 'passed' | 'read';

const trusted = new Map<string, SecureContext>();

async function opened(target: Target, upstream: Upstream, way: Way): Promise<Socket> {
  const ca = way === 'read' ? (target.readingCa ?? '') : upstream.ca;
  const context = trusted.get(ca) ?? trusting(ca);
  trusted.set(ca, context);
  return secure(await open(target, upstream.ports[way]), context);
}

async function fetched(socket: Socket, upstream: Upstream, way: Way, bytes: number): Promise<number> {
  const { firstMs, hash } = await get(socket, upstream.ports[way], bytes);
  assert.equal(hash, upstream.hashes[bytes], 'what arrived is not what was sent');
  return firstMs;
}

/** First bytes on fresh connections and on kept ones, target by target in turns, so that all meet the same machine. */
async function firstBytes(targets: readonly Target[], upstream: Upstream, way: Way): Promise<void> {
  const fresh = new Map<Target, number[]>(targets.map((target) => [target, []]));
  const kept = new Map<Target, number[]>(targets.map((target) => [target, []]));
  for (let round = 0; round < 220; round++) {
    for (const target of targets) {
      const started = performance.now();
      const socket = await opened(target, upstream, way);
      const asked = performance.now();
      const firstMs = await fetched(socket, upstream, way, SMALL);
      const again = await fetched(socket, upstream, way, SMALL);
      socket.destroy();
      if (round >= 20) {
        fresh.get(target)?.push(asked - started + firstMs);
        kept.get(target)?.push(again);
      }
      // What a proxy does after an answer is not on the way of the next one.
      await delay(2);
    }
  }
  for (const [name, all] of [
    ['fresh', fresh],
    ['kept', kept],
  ] as const) {
    const [base] = [...all.values()];
    for (const [target, times] of all) {
      const [p50, p99] = [0.5, 0.99].map((share) => quantile(times, share)) as [number, number];
      const [more50, more99] = [p50 - quantile(base ?? [], 0.5), p99 - quantile(base ?? [], 0.99)];
      say(
        `  first byte, ${way}, ${name} connection, ${target.name.padEnd(11)} p50 ${p50.toFixed(2)} ms (+${more50.toFixed(2)}), p99 ${p99.toFixed(2)} ms (+${more99.toFixed(2)})`,
      );
    }
  }
}

/** MiB a second of floods through so many tunnels at once, the best of three. */
async function flood(target: Target, upstream: Upstream, tunnels: number): Promise<number> {
  const hello = await clientHello();
  let best = 0;
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    const all = await Promise.all(
      Array.from({ length: tunnels }, async () => {
        const socket = await open(target, upstream.ports.flood);
        const arrived = await drain(socket, hello);
        socket.destroy();
        return arrived;
      }),
    );
    const seconds = (performance.now() - started) / 1000;
    for (const { bytes, hash } of all) {
      assert.equal(bytes, FLOOD);
      assert.equal(hash, upstream.hashes[FLOOD]);
    }
    best = Math.max(best, (tunnels * FLOOD) / MIB / seconds);
  }
  return best;
}

/** Answers a second on so many kept connections, the best of three: a process that has just begun compiles while it works. */
async function answers(
  target: Target,
  upstream: Upstream,
  way: Way,
  load: { connections: number; bytes: number; total: number },
): Promise<number> {
  let best = 0;
  for (let round = 0; round < 3; round++) best = Math.max(best, await answersOnce(target, upstream, way, load));
  return best;
}

async function answersOnce(
  target: Target,
  upstream: Upstream,
  way: Way,
  load: { connections: number; bytes: number; total: number },
): Promise<number> {
  const { connections, bytes, total } = load;
  const sockets = await Promise.all(Array.from({ length: connections }, () => opened(target, upstream, way)));
  let left = total;
  const started = performance.now();
  await Promise.all(
    sockets.map(async (socket) => {
      while (left-- > 0) await fetched(socket, upstream, way, bytes);
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  for (const socket of sockets) socket.destroy();
  return total / seconds;
}

/** Tunnels opened, used and closed one after the other by so many clients; a second. */
async function tunnels(target: Target, upstream: Upstream, way: Way, clients: number): Promise<number> {
  const total = 600;
  let left = total;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (left-- > 0) {
        const socket = await opened(target, upstream, way);
        await fetched(socket, upstream, way, SMALL);
        socket.destroy();
      }
    }),
  );
  return total / ((performance.now() - started) / 1000);
}

/** Bytes that so many open tunnels take above the idle proxy; each is used while all are open. */
async function memory(target: Target, upstream: Upstream, way: Way): Promise<number> {
  const idle = target.memory();
  const sockets: Socket[] = [];
  let most = 0;
  const note = (): void => void (most = Math.max(most, target.memory()));
  for (let at = 0; at < TUNNELS; at += 50) {
    const more = Array.from({ length: 50 }, () => opened(target, upstream, way));
    sockets.push(...(await Promise.all(more)));
    note();
  }
  for (let at = 0; at < TUNNELS; at += 50) {
    await Promise.all(sockets.slice(at, at + 50).map((socket) => fetched(socket, upstream, way, SMALL)));
    note();
  }
  assert.equal(sockets.filter((socket) => !socket.destroyed).length, TUNNELS);
  for (const socket of sockets) socket.destroy();
  return most - idle;
}

async function rates(
  label: string,
  targets: readonly Target[],
  unit: string,
  measure: (target: Target) => Promise<number>,
): Promise<void> {
  const all: string[] = [];
  let first: number | undefined;
  for (const target of targets) {
    const before = target.seconds();
    const rate = await measure(target);
    const took = target.proxy ? `; ${(target.seconds() - before).toFixed(2)} s of processor` : '';
    first ??= rate;
    all.push(`${target.name} ${rate.toFixed(0)} (${(rate / first).toFixed(2)} of ${targets[0]?.name ?? ''}${took})`);
  }
  say(`  ${label}, ${unit}: ${all.join(', ')}`);
}

async function memories(targets: readonly Target[], upstream: Upstream, way: Way): Promise<void> {
  const proxies = targets.filter((target) => target.proxy !== undefined);
  await rates(`${TUNNELS} connections at once, ${way}`, proxies, 'MiB above idle', async (target) => {
    return (await memory(target, upstream, way)) / MIB;
  });
}

async function allOf(targets: readonly Target[], upstream: Upstream, way: Way): Promise<void> {
  await firstBytes(targets, upstream, way);
  await rates(`connections, ${way}, 8 at once`, targets, 'a second', (target) => tunnels(target, upstream, way, 8));
  for (const connections of [1, 16]) {
    const small = { connections, bytes: SMALL, total: 4_000 };
    await rates(`answers of ${SMALL} bytes, ${way}, ${connections} at once`, targets, 'a second', (target) =>
      answers(target, upstream, way, small),
    );
    const large = { connections, bytes: LARGE, total: 64 };
    await rates(`answers of ${LARGE / MIB} MiB, ${way}, ${connections} at once`, targets, 'MiB a second', (target) =>
      answers(target, upstream, way, large).then((rate) => (rate * LARGE) / MIB),
    );
  }
}

/** The record is part of what was measured: one line for each connection and each request that was read. */
function recorded(record: string, type: string): number {
  return record.split('\n').filter((line) => line.includes(`"type":"${type}"`)).length;
}

export async function bench(): Promise<void> {
  await using undo = new AsyncDisposableStack();
  const upstream = await startUpstream();
  undo.defer(() => upstream.stop());
  const straight = direct(upstream);
  const started = async (name: string, opening: Promise<Target>): Promise<Target[]> => {
    const target = await orSaid(name, opening);
    if (target === undefined) return [];
    undo.defer(() => target.stop());
    return [target];
  };
  const ours = await cofferdam(upstream);
  undo.defer(() => ours.stop());
  const others = [
    ...(await started('squid', squid())),
    ...(await started('tinyproxy', tinyproxy())),
    ...(await started('smokescreen', smokescreen())),
  ];
  const readers = [...(await started('mitmproxy', mitmproxy(upstream))), ...(await started('relay', relay(upstream)))];
  // First, since a process that has worked holds what it will use again.
  await memories([ours, ...others], upstream, 'passed');
  const passing = [straight, ...others, ours];
  for (const count of [1, 8]) {
    await rates(`flood, ${count} tunnels at once`, passing, 'MiB a second', (target) => flood(target, upstream, count));
  }
  await allOf(passing, upstream, 'passed');
  await allOf([straight, ...readers, ours], upstream, 'read');
  const record = ours.record();
  const [connects, requests] = [recorded(record, 'egress.connect'), recorded(record, 'egress.request')];
  assert.ok(connects > TUNNELS && requests > 8_000, 'the gateway kept no record');
  say(`  in the gateway's record: ${connects} connections, ${requests} requests`);
}
