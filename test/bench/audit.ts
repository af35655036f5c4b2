import assert from 'node:assert/strict';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GENESIS, link, type ChainState } from '../../src/audit/chain.ts';
import { AuditFile } from '../../src/audit/log.ts';
import { createAuditReader } from '../../src/audit/read.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey, publicPem } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { RunId } from '../../src/domain/ids.ts';
import { kernelCosts } from './audit-kernel.ts';
import { say } from './measure.ts';

/*
 * The audit: lines a second through redaction, chain and disk in both classes of durability, and what the record of
 * processes costs what runs in a sandbox.
 */

const RUN = RunId.parse('r0123456789ab');
/** As many as an installation has. */
const SECRETS = Array.from({ length: 8 }, (_one, at) => `secret-${at}-${'x'.repeat(40)}`);
const redact = createRedactor(SECRETS);

const PLAIN: AuditEntry = {
  zone: 'gateway',
  type: 'egress.connect',
  decision: { allow: true, rule: 'npm preset: mirror.example' },
  data: { host: 'mirror.example', port: 443, addresses: ['203.0.113.80'], tls: 'passed' },
};
const DURABLE: AuditEntry = {
  zone: 'gateway',
  type: 'llm.reserve',
  data: {
    callId: 'c0123456789',
    provider: 'anthropic',
    wire: 'anthropic',
    model: 'm',
    main: true,
    stream: true,
    amount: 840_000,
  },
};

const perSecond = (count: number, startedMs: number): number => (count * 1000) / (performance.now() - startedMs);

/** So many lines by so many callers, each of whom waits for its line before it goes on; the last sync is part of the time. */
async function throughAll(directory: string, entry: AuditEntry, total: number, callers: number): Promise<number> {
  const file = join(directory, `${entry.type}-${callers}.jsonl`);
  const key = await loadSigningKey(directory);
  const log = await AuditFile.create({ file, runId: RUN, redact, key });
  const started = performance.now();
  let left = total;
  const caller = async (): Promise<void> => {
    while (left-- > 0) await log.append(entry);
  };
  await Promise.all(Array.from({ length: callers }, caller));
  await log.seal({});
  const rate = perSecond(total, started);
  await log.close();
  const result = await verifyAuditFile({ file, key: publicPem(key.publicKey) });
  assert.deepEqual([result.verdict, result.lines], ['valid', total + 1]);
  return rate;
}

/** The same lines without redaction and disk. */
function chainOnly(total: number): number {
  let state: ChainState = { seq: 0, prev: GENESIS };
  const at = new Date().toISOString();
  const started = performance.now();
  for (let n = 0; n < total; n += 1) state = link(state, PLAIN, { runId: RUN, at, mono: n }).next;
  assert.equal(state.seq, total);
  return perSecond(total, started);
}

/** Each line with a sync of its own: what a writer does that shares none. */
function alone(file: string, total: number): number {
  const handle = openSync(file, 'a');
  const line = `${'x'.repeat(400)}\n`;
  const started = performance.now();
  for (let n = 0; n < total; n += 1) {
    writeSync(handle, line);
    fdatasyncSync(handle);
  }
  closeSync(handle);
  return perSecond(total, started);
}

async function readingRates(file: string, lines: number): Promise<[verify: number, read: number]> {
  const verifying = performance.now();
  assert.equal((await verifyAuditFile({ file })).lines, lines);
  const verify = perSecond(lines, verifying);
  const bytes = readFileSync(file);
  const reading = performance.now();
  assert.equal(createAuditReader().feed(bytes).length, lines);
  return [verify, perSecond(lines, reading)];
}

const thousands = (rate: number): string => `${(rate / 1000).toFixed(1)} thousand a second`;

async function lines(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'cfba-'));
  try {
    say(`  chain alone: ${thousands(chainOnly(50_000))}`);
    for (const callers of [1, 64]) {
      const rate = await throughAll(directory, PLAIN, 100_000, callers);
      say(`  written, synced within 50 ms, ${callers} at once: ${thousands(rate)} (goal: 20)`);
    }
    say(`  a sync for each line, nothing else: ${thousands(alone(join(directory, 'alone'), 500))}`);
    for (const callers of [1, 64, 1024]) {
      const rate = await throughAll(directory, DURABLE, callers === 1 ? 500 : 40_000, callers);
      say(`  synced before it goes on, ${callers} at once: ${thousands(rate)} (goal: 20 with shared syncs)`);
    }
    const [verify, read] = await readingRates(join(directory, `${PLAIN.type}-64.jsonl`), 100_001);
    say(`  verified: ${thousands(verify)}; read for a page: ${thousands(read)}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export async function bench(): Promise<void> {
  await lines();
  await kernelCosts();
}
