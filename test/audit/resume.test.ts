import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuditFile, type AuditLogOptions } from '../../src/audit/log.ts';
import { loadSigningKey, publicPem } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import { RunId } from '../../src/domain/ids.ts';

let dir: string;
let options: AuditLogOptions;
let key: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cofferdam-resume-'));
  const signing = await loadSigningKey(dir);
  key = publicPem(signing.publicKey);
  options = { file: join(dir, 'run.jsonl'), runId: RunId.parse('r0123456789ab'), redact: (v) => v, key: signing };
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A file whose writer ended without closing it. */
async function abandoned(lines = 3): Promise<void> {
  const log = await AuditFile.create(options);
  for (let n = 0; n < lines; n += 1) await log.append({ zone: 'worker', type: 'run.step', data: { n, text: 'é\n' } });
  await log.close();
}

async function events(): Promise<{ type: string; data: Record<string, unknown> }[]> {
  const lines = (await readFile(options.file, 'utf8')).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as { type: string; data: Record<string, unknown> });
}

describe('an audit file whose writer is gone', () => {
  it('is gone on with and sealed, wherever it was cut off', async () => {
    await abandoned();
    const whole = await readFile(options.file);
    const secondLine = whole.indexOf(10, whole.indexOf(10) + 1) + 1;
    for (let size = secondLine; size <= whole.length; size += 1) {
      await writeFile(options.file, whole.subarray(0, size));
      await rm(`${options.file}.seal`, { force: true });
      const log = await AuditFile.resume(options);
      await log?.seal({ repository: 'o/r' });
      await log?.close();
      expect(await verifyAuditFile({ file: options.file, key }), `cut at ${size}`).toMatchObject({ verdict: 'valid' });
      const kept = whole.subarray(0, size).lastIndexOf(10) + 1;
      expect((await readFile(options.file)).subarray(0, kept)).toEqual(whole.subarray(0, kept));
      expect((await events()).find((event) => event.type === 'audit.resume')?.data).toEqual({ cutBytes: size - kept });
    }
  });

  it('may hold no whole line at all', async () => {
    await writeFile(options.file, '{"seq":0,"pr');
    const log = await AuditFile.resume(options);
    await log?.seal({});
    await log?.close();
    expect(await verifyAuditFile({ file: options.file, key })).toMatchObject({ verdict: 'valid', lines: 2 });
  });

  it('gets the seal that was missing when its last line was written already, and nothing else', async () => {
    await abandoned();
    const log = await AuditFile.resume(options);
    await log?.seal({ repository: 'o/r', commit: null });
    await log?.close();
    const { size } = await stat(options.file);
    await rm(`${options.file}.seal`);
    expect(await AuditFile.resume(options)).toBeNull();
    expect((await stat(options.file)).size).toBe(size);
    expect(await verifyAuditFile({ file: options.file, key })).toMatchObject({
      verdict: 'valid',
      subject: { repository: 'o/r', commit: null },
    });
  });

  it('is left alone when it is sealed or not there', async () => {
    expect(await AuditFile.resume(options)).toBeNull();
    await abandoned();
    const log = await AuditFile.resume(options);
    await log?.seal({});
    await log?.close();
    const before = await readFile(options.file);
    expect(await AuditFile.resume(options)).toBeNull();
    expect(await readFile(options.file)).toEqual(before);
  });

  it('is refused when its last whole line is no event', async () => {
    await abandoned();
    await writeFile(options.file, 'not an event\n');
    await expect(AuditFile.resume(options)).rejects.toMatchObject({ code: 'audit' });
    await truncate(options.file, 4);
    const log = await AuditFile.resume(options);
    expect(log?.head()).toMatch(/^sha256:/);
    await log?.close();
  });
});
