import assert from 'node:assert/strict';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import type { Ledger } from '../../src/run/ledger.ts';
import { createRedisLedger } from '../../src/queue/redis-ledger.ts';
import { startRedis } from '../../src/local/machine/redis.ts';
import { openRedis } from '../../src/queue/connection.ts';
import { cofferdam, direct, litellm, portkey, relay, startUpstream } from './llm-targets.ts';
import type { Target, Upstream } from './llm-targets.ts';
import { orSaid, quantile, say } from './measure.ts';

/*
 * Model calls: what the gateway adds to the first streamed byte, how many it passes, and what its ledger takes; side by
 * side with the provider itself and with another gateway.
 */

interface Timed {
  firstMs: number;
  /** From the provider's sending of the first frame on; NaN where it was not told. */
  backMs: number;
  bytes: number;
  status: number;
}

type Kind = 'streamed' | 'paced' | 'whole';

async function once(target: Target, agent: Agent, kind: Kind): Promise<Timed> {
  const stream = kind !== 'whole';
  const messages = [{ role: 'user', content: 'hi there, it is us' }];
  const body = JSON.stringify({
    model: kind === 'paced' ? 'paced' : 'm',
    max_tokens: 100,
    stream,
    messages,
    ...(stream ? { stream_options: { include_usage: true } } : {}),
  });
  const headers = {
    ...(target.options.headers as Record<string, string>),
    'content-type': 'application/json',
    'content-length': body.length,
  };
  return await new Promise((resolve, reject) => {
    const started = performance.now();
    const request = httpRequest({ ...target.options, method: 'POST', agent, headers }, (response) => {
      const first = { firstMs: Infinity, backMs: Number.NaN };
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        if (bytes === 0) {
          first.firstMs = performance.now() - started;
          first.backMs = sinceSent(chunk);
        }
        bytes += chunk.length;
      });
      response.once('end', () => resolve({ ...first, bytes, status: response.statusCode ?? 0 }));
      response.once('error', reject);
    });
    request.once('error', reject);
    request.end(body);
  });
}

/** Milliseconds since a paced answer's first frame was sent by the provider's process. */
function sinceSent(chunk: Buffer): number {
  const now = Number(process.hrtime.bigint() / 1000n);
  const sent = /sent (\d{16})/.exec(chunk.toString('latin1'))?.[1];
  return (now - Number(sent)) / 1000;
}

/** Gateways that are not ours: they write the answers anew. */
const OTHERS = ['portkey', 'litellm'];

/** A real transfer, or an error: a gateway that answers with an error is fast. */
function real(timed: Timed, target: Target, wanted: number): Timed {
  assert.equal(timed.status, 200, `${target.name} answers ${timed.status}`);
  // Others may write the answer anew; nobody may leave most of it out.
  const enough = OTHERS.includes(target.name) ? timed.bytes > wanted / 2 : timed.bytes === wanted;
  assert.ok(enough, `${target.name}: ${timed.bytes} bytes instead of ${wanted}`);
  return timed;
}

/** One call after the other, target by target in turns, so that all meet the same machine. */
async function firstBytes(targets: Target[], upstream: Upstream, kind: Kind): Promise<void> {
  const agents = new Map(targets.map((target) => [target, new Agent({ keepAlive: true })]));
  const times = new Map<Target, number[]>(targets.map((target) => [target, []]));
  const backs = new Map<Target, number[]>(targets.map((target) => [target, []]));
  for (let round = 0; round < 130; round++) {
    for (const [target, agent] of agents) {
      const timed = real(await once(target, agent, kind), target, upstream[kind]);
      // What a gateway does after an answer is not on the way of the next one: nobody asks again at once.
      await delay(10);
      if (round < 10) continue;
      times.get(target)?.push(timed.firstMs);
      backs.get(target)?.push(timed.backMs);
    }
  }
  report(`first byte${kind === 'whole' ? ', not streamed' : ''}`, times);
  // What a call waits for before it is made is not in this: the way of the first frame alone.
  if (kind === 'paced') report('answer path, first frame', backs);
  for (const agent of agents.values()) agent.destroy();
}

/** Medians beside the first target's. */
function report(label: string, times: ReadonlyMap<Target, number[]>): void {
  const [base = []] = [...times.values()];
  for (const [target, all] of times) {
    const [p50, p99] = [quantile(all, 0.5), quantile(all, 0.99)];
    const added = p50 - quantile(base, 0.5);
    const name = target.name.padEnd(9);
    if (all.some(Number.isNaN)) say(`  NOT MEASURED: ${label}, ${target.name} writes the frames anew`);
    else say(`  ${label}, ${name} p50 ${p50.toFixed(2)} ms (+${added.toFixed(2)}), p99 ${p99.toFixed(2)} ms`);
  }
}

async function throughput(target: Target, upstream: Upstream, streams: number, kind: Kind): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: streams });
  const total = Math.max(60, streams * 6);
  let left = total;
  let done = 0;
  const started = performance.now();
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      real(await once(target, agent, kind), target, upstream[kind]);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: streams }, worker));
  agent.destroy();
  assert.equal(done, total);
  return total / ((performance.now() - started) / 1000);
}

async function throughputs(targets: Target[], upstream: Upstream, kind: Kind): Promise<void> {
  for (const streams of [1, 16, 64]) {
    const rates: string[] = [];
    let first: number | undefined;
    for (const target of targets) {
      const rate = await throughput(target, upstream, streams, kind);
      first ??= rate;
      rates.push(`${target.name} ${rate.toFixed(0)}/s (${(rate / first).toFixed(2)} of direct)`);
    }
    say(
      `  ${kind === 'whole' ? 'calls, not streamed' : 'streams'}, ${String(streams).padStart(2)} at once: ${rates.join(', ')}`,
    );
  }
}

/** Pairs of reserve and settle, one after the other; micro-seconds at the median. */
async function pairs(ledger: Ledger, count: number): Promise<number> {
  const caps = { run: 1e12, repository: 1e12, installation: 1e12 };
  const account = { runId: 'r', repoKey: 'o/a', installationKey: 'i', day: '2026-11-24' };
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    const held = await ledger.reserve({ ...account, callId: `c${i}`, amount: 2_000, atLeast: 100, caps });
    assert.ok(held.ok);
    await ledger.settle(held.reservation, 1_000);
    times.push((performance.now() - started) * 1000);
  }
  assert.deepEqual((await ledger.spent(account)).run, { spent: count * 1_000, reserved: 0 });
  return quantile(times, 0.5);
}

/** What the audit pays twice for a call, before it is forwarded and after; milliseconds at the median. */
function syncs(file: string, count: number): number {
  const handle = openSync(file, 'a');
  const times = Array.from({ length: count }, () => {
    const started = performance.now();
    writeSync(handle, `${'x'.repeat(400)}\n`);
    fdatasyncSync(handle);
    return performance.now() - started;
  });
  closeSync(handle);
  return quantile(times, 0.5);
}

/** What others can do in this setting: streams, or whole answers only. */
async function streamsAtAll(target: Target): Promise<boolean> {
  const agent = new Agent();
  const { status } = await once(target, agent, 'streamed');
  return status === 200;
}

export async function bench(): Promise<void> {
  await using undo = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), 'cfbl-'));
  undo.defer(() => rmSync(directory, { recursive: true, force: true }));
  const redis = await startRedis({ directory: join(directory, 'redis'), appendOnly: true });
  undo.defer(() => redis.stop());
  const connected = await openRedis(redis.url);
  undo.defer(() => connected.disconnect());
  const ledger = (prefix: string): Ledger => createRedisLedger({ redis: connected, prefix });
  say(`  a line synced to this disk: ${syncs(join(directory, 'synced'), 200).toFixed(2)} ms at the median`);
  say(`  reserve and settle, arithmetic: ${(await pairs(createMemoryLedger(), 20_000)).toFixed(1)} µs at the median`);
  say(`  reserve and settle, Redis: ${((await pairs(ledger('pairs:'), 500)) / 1000).toFixed(2)} ms at the median`);
  const upstream = await startUpstream();
  undo.defer(() => upstream.stop());
  const ours = await cofferdam(upstream, ledger('calls:'));
  undo.defer(() => ours.stop());
  const bare = await relay(upstream);
  undo.defer(() => bare.stop());
  const streaming = [direct(upstream), bare, ours];
  const whole = [...streaming];
  for (const [name, open] of [
    ['portkey', portkey],
    ['litellm', litellm],
  ] as const) {
    const other = await orSaid(name, open(upstream));
    if (other === undefined) continue;
    undo.defer(() => other.stop());
    whole.push(other);
    if (await streamsAtAll(other)) streaming.push(other);
    else
      say(`  NOT MEASURED: ${name} answers every streamed call with an error here; compared where nothing is streamed`);
  }
  await firstBytes(streaming, upstream, 'paced');
  await throughputs(streaming, upstream, 'streamed');
  if (streaming.length < whole.length) {
    await firstBytes(whole, upstream, 'whole');
    await throughputs(whole, upstream, 'whole');
  }
  for (const target of whole) {
    const bytes = target.memory();
    if (bytes !== undefined) say(`  memory after that, ${target.name}: ${Math.round(bytes / 2 ** 20)} MiB`);
  }
}
