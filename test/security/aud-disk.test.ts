/** AUD, the disk: what is left of a record when its writer is killed, its disk is full or broken, or the power is cut. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { copyFile, readFile, stat, truncate } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { createIntents } from '../../src/audit/intents.ts';
import { AuditFile, SYNC_WINDOW_MS } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey, publicPem } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import { AuditEvent } from '../../src/domain/audit.ts';
import { directory, RUN_ID } from '../audit/run-log.ts';

it('AUD-004 kill -9 at 30 points: every effect that happened was recorded before, and one without its outcome is unknown', async () => {
  await using dir = await directory();
  const key = await loadSigningKey(dir.path);
  const options = { runId: RUN_ID, redact: createRedactor([]), key };
  let unknown = 0;
  for (let point = 0; point < 30; point += 1) {
    const file = join(dir.path, `${point}.jsonl`);
    const effects = join(dir.path, `${point}.effects`);
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, '../audit/writer.child.ts'), file, effects, dir.path],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    await once(child.stdout, 'data');
    await sleep(3 + point);
    child.kill('SIGKILL');
    await once(child, 'exit');

    const log = await AuditFile.resume({ ...options, file });
    const before = await events(file);
    const done = (await readFile(effects, 'utf8').catch(() => '')).split('\n').slice(0, -1);
    const ids = (type: string): unknown[] =>
      before.filter((one) => one.type === type).map(({ data }) => data['callId']);
    const [told, settled] = [ids('llm.reserve'), ids('llm.settle')];
    expect(told.slice(0, done.length), `point ${point}`).toEqual(done);
    expect(done.slice(0, settled.length), `point ${point}`).toEqual(settled);
    const intents = createIntents();
    before.forEach((event) => intents.take(event));
    const open = intents.open();
    expect(open.map(({ line }) => before[line - 1]?.data['callId'])).toEqual(told.slice(settled.length));
    unknown += open.length;

    const data = {
      why: 'worker_lost',
      containers: [],
      openReservations: open.length,
      charged: 0,
      unknown: open,
      unknownCount: open.length,
    };
    await log?.append({ zone: 'worker', type: 'run.recover', data });
    await log?.seal({});
    await log?.close();
    expect(await verifyAuditFile({ file, key: publicPem(key.publicKey) }), `point ${point}`).toMatchObject({
      verdict: 'valid',
    });
  }
  // Where it strikes is chance; that it never strikes between a record and its outcome would mean that nothing was tried.
  expect(unknown).toBeGreaterThan(0);
});

async function events(file: string): Promise<AuditEvent[]> {
  return (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => AuditEvent.parse(JSON.parse(line)));
}

describe('AUD-005 a disk that takes nothing more', () => {
  it.each([
    ['full', 'size=1m', 'append'],
    ['without inodes', 'size=4m,nr_inodes=4', 'seal'],
    ['read-only from the start', 'size=1m,ro', 'create'],
  ])(
    '%s: every later line is refused, nothing that was told is lost, and it is gone on with when there is space',
    async (_what, mount, fails) => {
      await using dir = await directory();
      const child = join(import.meta.dirname, '../audit/disk.child.ts');
      const words = 'mount -t tmpfs -o "$1" tmpfs "$2" && exec "$3" "$4" "$2" "$5"';
      const data = join(dir.path, 'keys-and-more');
      await promisify(execFile)('mkdir', [data]);
      const { stdout } = await promisify(execFile)('unshare', [
        '-m',
        'sh',
        '-c',
        words,
        'sh',
        mount,
        data,
        process.execPath,
        child,
        dir.path,
      ]);
      const seen = JSON.parse(stdout) as { failed: string; codes: string[]; told: number; kept: number; after: string };
      expect(seen.failed).toBe(fails);
      expect(new Set(seen.codes)).toEqual(new Set(['audit']));
      expect(seen.kept).toBe(seen.told);
      expect(seen.after).toBe('valid');
      if (fails === 'append') expect(seen.told).toBeGreaterThan(100);
    },
  );
});

describe('AUD-006 a power cut', () => {
  it.each([
    ['quick', 0],
    ['slow', 6],
  ])(
    'takes no line of what must be on a %s disk, and of the others only what the seal says may be missing',
    async (_how, ms) => {
      await using dir = await directory();
      const key = await loadSigningKey(dir.path);
      const file = join(dir.path, 'run.jsonl');
      const log = await AuditFile.create({ file, runId: RUN_ID, redact: createRedactor([]), key });
      // What a disk has after a cut is at least what it had when the last sync that ended began.
      let safe = 0;
      const handle = await (await import('node:fs/promises')).open(file);
      const prototype = Object.getPrototypeOf(handle) as typeof handle;
      await handle.close();
      const datasync = Reflect.get(prototype, 'datasync');
      const syncs = vi.spyOn(prototype, 'datasync').mockImplementation(async function (this: typeof handle) {
        const { size } = await stat(file);
        await datasync.call(this);
        await sleep(ms);
        safe = Math.max(safe, size);
      });
      const { fdatasyncSync } = fs;
      const waits = vi.spyOn(fs, 'fdatasyncSync').mockImplementation((descriptor) => {
        const { size } = fs.statSync(file);
        fdatasyncSync(descriptor);
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
        safe = Math.max(safe, size);
      });
      syncBuiltinESMExports();
      try {
        const step = { zone: 'worker', type: 'run.step', data: { step: 'agent', state: 'started' } } as const;
        for (let n = 0; n < 20; n += 1) {
          const calls = Array.from({ length: 16 }, async (_one, at) => {
            void log.append(step);
            await log.append({ zone: 'gateway', type: 'llm.reserve', data: { callId: `${n}.${at}` } });
            return (await readFile(file, 'utf8')).indexOf(`"callId":"${n}.${at}"`) < safe;
          });
          expect(await Promise.all(calls)).toEqual(Array(16).fill(true));
        }
        // Calls that wait at once share a sync.
        expect(syncs.mock.calls.length + waits.mock.calls.length).toBeLessThan(20 * 16);
        // The process itself waits for a quick disk, and once for a slow one.
        expect(waits.mock.calls.length).toBeGreaterThan(0);
        if (ms > 0) expect(waits.mock.calls.length).toBe(1);

        // What is written next goes to the disk within moments by itself.
        const now = safe;
        await log.append(step);
        const cut = join(dir.path, 'cut.jsonl');
        await copyFile(file, cut);
        await truncate(cut, now);
        expect(await verifyAuditFile({ file: cut })).toMatchObject({ verdict: 'unsealed', lines: 20 * 32 });
        // Without another call it is on the disk by itself.
        await expect.poll(() => safe).toBe((await stat(file)).size);
        await log.seal({});
        expect(safe).toBe((await stat(file)).size);
        expect((await events(file)).at(-1)).toMatchObject({ type: 'seal', data: { syncWindowMs: SYNC_WINDOW_MS } });
      } finally {
        syncs.mockRestore();
        waits.mockRestore();
        syncBuiltinESMExports();
        await log.close();
      }
    },
  );
});
