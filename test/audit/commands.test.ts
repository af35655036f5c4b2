import { readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { AuditFile } from '../../src/audit/log.ts';
import { createFileLogs, type FoundFile } from '../../src/audit/logs.ts';
import { beyondRetention, prune } from '../../src/audit/retention.ts';
import { loadSigningKey } from '../../src/audit/seal.ts';
import type { VerifyResult } from '../../src/audit/verify.ts';
import { auditExportCommand, auditPruneCommand, auditShowCommand } from '../../src/cli/audit.ts';
import { disagreements, parsePullUrl } from '../../src/cli/verify-pull.ts';
import { verifyCommand } from '../../src/cli/verify.ts';
import { readEnvironment } from '../../src/config/environment.ts';
import { RunId } from '../../src/domain/ids.ts';
import { retentionOf, startRetention } from '../../src/main/retention.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { misfits } from './fits.ts';
import { COMMIT, directory, openLog, putAll, RUN_ID, WHOLE_RUN, type Directory } from './run-log.ts';

async function sealed(dir: Directory, runId = RUN_ID): Promise<string> {
  const log = await openLog(dir, runId);
  await putAll(log, WHOLE_RUN);
  await log.seal();
  return log.file;
}

function output(): { written: () => string; stream: PassThrough } {
  const stream = new PassThrough();
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  return { stream, written: () => Buffer.concat(pieces).toString('utf8') };
}

describe('audit show', () => {
  it('tells the run line by line, with whose word each line is', async () => {
    await using dir = await directory();
    await sealed(dir);
    const { stream, written } = output();
    expect(await auditShowCommand({ target: RUN_ID, dataDir: dir.path, stdout: stream })).toBe(0);
    const shown = written();
    for (const part of [
      'fix: parseTime understands "1h 30m"',
      'succeeded, ',
      '$0.05 of $2.00, 2 model calls, 1 attempt denied',
      '── agent ──',
      /agent {4}message {2}I will look at the parser/,
      /host {3}⊘ denied {3}telemetry\.example {2}not_allowed/,
      /host {3}✓ command {2}npm ci/,
      /head sha256:[0-9a-f]{64}/,
    ])
      expect(shown).toMatch(part);
  });

  it('fits a terminal of 80 columns: long words of an agent go on below their beginning', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    await putAll(log, WHOLE_RUN.slice(0, -1));
    await log.put({
      zone: 'gateway',
      source: 'sandbox',
      type: 'agent.text',
      data: { text: 'one two three '.repeat(15) },
    });
    await log.seal();
    const { stream, written } = output();
    const stdout = { write: (text: string) => stream.write(text), isTTY: true, columns: 80 };
    await auditShowCommand({ target: RUN_ID, dataDir: dir.path, stdout });
    const lines = stripVTControlCharacters(written()).split('\n');
    expect(lines.filter((line) => line.length > 80 && !line.includes('sha256:'))).toEqual([]);
    expect(lines[1]).toBe(`run ${RUN_ID}, octo/kettle, asked for by alice, opencode,`);
    expect(lines).toContainEqual(expect.stringMatching(/^ {27}(?:one|two|three) /));
  });

  it('AUD-014 steers no terminal, whatever was recorded', async () => {
    await using dir = await directory();
    const log = await openLog(dir);
    const evil = '\u001b[2J\u001b]8;;http://evil.example\u0007x\u202eabc\r\n\u0007next';
    await putAll(log, WHOLE_RUN);
    await log.put({ zone: 'gateway', source: 'sandbox', type: 'agent.text', data: { text: evil } });
    await log.put({
      zone: 'worker',
      type: 'process.start',
      data: { role: 'agent', 'process.command_args': [evil, evil] },
    });
    await log.seal();
    const { stream, written } = output();
    await auditShowCommand({ target: log.file, dataDir: dir.path, stdout: stream });
    // eslint-disable-next-line no-control-regex -- none of these may be printed
    expect(written()).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f\u202e]/);
    expect(written()).toContain('next');
  });
});

describe('audit export', () => {
  it('gives the stored bytes, or all that is needed to check them', async () => {
    await using dir = await directory();
    const file = await sealed(dir);
    const { stream, written } = output();
    await auditExportCommand({ target: RUN_ID, dataDir: dir.path, stdout: stream });
    expect(written()).toBe(await readFile(file, 'utf8'));
    const out = join(dir.path, 'out');
    await auditExportCommand({ target: RUN_ID, output: out, dataDir: dir.path, stdout: output().stream });
    expect((await readdir(out)).sort()).toEqual(['audit.pem.pub', `${RUN_ID}.jsonl`, `${RUN_ID}.jsonl.seal`]);
  });
});

describe('retention', () => {
  const ids = ['raaaaaaaaaaaa', 'rbbbbbbbbbbbb', 'rcccccccccccc', 'rdddddddddddd'].map((id) => RunId.parse(id));
  const files = ids.map((runId, age): FoundFile => ({
    runId,
    changedMs: 1_000 - age * 100,
    bytes: 10,
    sealed: age !== 2,
  }));
  const gone = (retention: Parameters<typeof beyondRetention>[1]): number[] =>
    beyondRetention(files, retention, 1_000).map((file) => ids.indexOf(file.runId));
  it.each([
    ['nothing is bounded', {}, []],
    ['by age, but never without a seal', { maxAgeMs: 150 }, [3]],
    ['by size, the newest stay', { maxBytes: 20 }, [3]],
    ['what has no seal counts, and stays', { maxBytes: 5 }, [0, 1, 3]],
    ['both', { maxAgeMs: 50, maxBytes: 1_000 }, [1, 3]],
  ])('%s', (_name, retention, expected) => {
    expect(gone(retention)).toEqual(expected);
  });
  it('never keeps an older file in place of a newer one that is too large', () => {
    const large = files.map((file, age) => ({ ...file, sealed: true, bytes: age === 1 ? 100 : 10 }));
    expect(beyondRetention(large, { maxBytes: 50 }, 1_000).map((file) => ids.indexOf(file.runId))).toEqual([1, 2, 3]);
    expect(beyondRetention(large, { maxBytes: 130 }, 1_000).map((file) => ids.indexOf(file.runId))).toEqual([]);
  });

  it('counts what lies beside a log', async () => {
    await using dir = await directory();
    const file = await sealed(dir);
    await writeFile(join(dir.audit, `${RUN_ID}.patch`), 'x'.repeat(1_000));
    const sizes = await Promise.all([file, `${file}.seal`].map(async (one) => (await stat(one)).size));
    const [found] = await createFileLogs(dir.audit).list();
    expect(found?.bytes).toBe(1_000 + (sizes[0] ?? 0) + (sizes[1] ?? 0));
  });

  it('removes log, seal and patch, and asks for a bound', async () => {
    await using dir = await directory();
    const file = await sealed(dir);
    const open = await openLog(dir, RunId.parse('rbbbbbbbbbbbb'));
    await putAll(open, WHOLE_RUN);
    const old = new Date(Date.now() - 10 * 86_400_000);
    for (const one of [file, open.file]) await utimes(one, old, old);
    const { stream, written } = output();
    await expect(auditPruneCommand({ dataDir: dir.path, stdout: stream })).rejects.toMatchObject({ code: 'usage' });
    await expect(auditPruneCommand({ days: '-1', dataDir: dir.path, stdout: stream })).rejects.toMatchObject({
      code: 'usage',
    });
    expect(await auditPruneCommand({ days: '5', dataDir: dir.path, stdout: stream })).toBe(0);
    expect(written()).toContain(`removed ${RUN_ID}`);
    expect(await readdir(dir.audit)).toEqual([`${RUN_ID}.removed`, 'rbbbbbbbbbbbb.jsonl']);
    expect((await stat(open.file)).size).toBeGreaterThan(0);
    const gone =
      /^The record of this run was removed on \d{4}-\d\d-\d\d because it was older than records are kept here\.$/;
    const asked = { target: RUN_ID, dataDir: dir.path, stdout: output().stream };
    await expect(auditShowCommand(asked)).rejects.toThrow(gone);
    await expect(auditExportCommand(asked)).rejects.toThrow(gone);
    const environment = readEnvironment({ COFFERDAM_DATA_DIR: dir.path });
    await expect(verifyCommand({ ...asked, environment })).rejects.toThrow(gone);
    // Of one that was never here it says nothing of the kind.
    await expect(auditShowCommand({ ...asked, target: 'rcccccccccccc' })).rejects.toThrow(
      /^there is no audit file of run rcccccccccccc in .*COFFERDAM_DATA_DIR/,
    );
    expect(await createFileLogs(dir.audit).removed(RUN_ID)).toMatchObject({ why: 'age', count: WHOLE_RUN.length + 1 });
    expect(await prune(dir.audit, { maxAgeMs: 1 })).toEqual([]);
    await open.seal();
  });
});

describe('retention by the worker', () => {
  const log = createLogger({ level: 'silent' });
  const worker = async (dir: Directory): Promise<AuditFile> =>
    AuditFile.create({
      file: join(dir.audit, 'rdddddddddddd.jsonl'),
      runId: RunId.parse('rdddddddddddd'),
      redact: (value) => value,
      key: await loadSigningKey(dir.path),
    });

  it('removes what the policy says at its start, records it, and leaves what has no seal and what is new', async () => {
    await using dir = await directory();
    const file = await sealed(dir);
    const young = await sealed(dir, RunId.parse('rcccccccccccc'));
    const open = await openLog(dir, RunId.parse('rbbbbbbbbbbbb'));
    const old = new Date(Date.now() - 10 * 86_400_000);
    for (const one of [file, open.file]) await utimes(one, old, old);
    const own = await worker(dir);
    const retention = retentionOf({ keepDays: 5, keepSize: 1_000_000_000 });
    if (retention === null) throw new Error('there is one');
    const started = startRetention({ directory: dir.audit, retention, audit: own, log });
    await started[Symbol.asyncDispose]();
    expect((await readdir(dir.audit)).sort()).toEqual(
      [open.file, young, `${young}.seal`, own.file, join(dir.audit, `${RUN_ID}.removed`)]
        .map((path) => basename(path))
        .sort(),
    );
    expect(await misfits(own.file)).toEqual([]);
    expect(JSON.parse(await readFile(own.file, 'utf8'))).toMatchObject({
      type: 'audit.removed',
      data: { runs: [RUN_ID], count: 1 },
    });
    await Promise.all([own.close(), open.seal()]);
  });

  it.each([
    ['of the newest record, when it starts', 0],
    ['of its last look, while it works', 1],
  ])('removes nothing by age when the clock is far ahead %s, until it says so for a day', async (_name, jumpAt) => {
    await using dir = await directory();
    await sealed(dir);
    const gone = async (): Promise<number> =>
      (await readdir(dir.audit)).filter((name) => name.endsWith('.removed')).length;
    const looks: number[] = [];
    const audit = await worker(dir);
    const started = startRetention({
      directory: dir.audit,
      retention: { maxAgeMs: 5 * 86_400_000 },
      audit,
      log,
      everyMs: 10,
      mono: () => (looks.length - 1) * 86_400_000,
      now: () => {
        const days = looks.length + (looks.length >= jumpAt ? 30 : 0);
        looks.push(days);
        return Date.now() + days * 86_400_000;
      },
    });
    await vi.waitFor(async () => expect(await gone()).toBe(1), { timeout: 20_000 });
    await started[Symbol.asyncDispose]();
    await audit.close();
    const { removedAt } = (await createFileLogs(dir.audit).removed(RUN_ID)) ?? {};
    // Not at the look that saw the jump, but at the next.
    expect(Math.round((Date.parse(removedAt ?? '') - Date.now()) / 86_400_000)).toBe(30 + jumpAt + 1);
  });

  it('is off unless the policy asks for it', () => {
    expect(retentionOf({})).toBeNull();
    expect(retentionOf({ keepDays: 2 })).toEqual({ maxAgeMs: 2 * 86_400_000, maxBytes: undefined });
    expect(retentionOf({ keepSize: 5 })).toEqual({ maxAgeMs: undefined, maxBytes: 5 });
  });
});

describe('a pull request against its audit', () => {
  const head = `sha256:${'e'.repeat(64)}` as NonNullable<VerifyResult['head']>;
  const checkpoint = `sha256:${'f'.repeat(64)}` as NonNullable<VerifyResult['head']>;
  const message = `fix: it\n\nCofferdam-Run: ${RUN_ID}\nCofferdam-Audit: ${checkpoint}\n`;
  const result: VerifyResult = {
    verdict: 'valid',
    lines: 9,
    head,
    checkpoints: [checkpoint],
    subject: { commit: COMMIT },
  };
  const check = { sha: COMMIT, externalId: RUN_ID as string, summary: `… ${head} …` };
  it.each([
    ['all agree', message, result, [check], []],
    ['another trailer', message.replace(checkpoint, head), result, [check], ['no checkpoint']],
    ['no trailer', 'fix: it', result, [check], ['no Cofferdam-Audit trailer']],
    ['another head in the check run', message, result, [{ ...check, summary: 'x' }], ['does not carry the hash']],
    ['a check run of another run', message, result, [{ ...check, externalId: 'rbbbbbbbbbbbb' }], ['no check run']],
    [
      'a seal of another commit',
      message,
      { ...result, subject: { commit: 'x' } },
      [check],
      ['the seal is of commit x'],
    ],
    ['a changed file', message, { ...result, problem: { line: 3, message: 'm' } }, [check], ['line 3: m']],
  ])('%s', (_name, text, verified, checks, expected) => {
    const found = disagreements({ sha: COMMIT, message: text }, RUN_ID, verified, checks);
    expect(found).toHaveLength(expected.length);
    expected.forEach((part, index) => expect(found[index]).toContain(part));
  });

  it.each([
    ['https://github.example/o/r/pull/7', { owner: 'o', name: 'r', number: 7 }],
    ['https://github.example/o/r/pull/7/', { owner: 'o', name: 'r', number: 7 }],
    ['https://github.example/o/r/pull/7/files?w=1#diff-a', { owner: 'o', name: 'r', number: 7 }],
    [RUN_ID, undefined],
    ['./audit.jsonl', undefined],
  ])('knows an address from a file: %s', (target, expected) => {
    expect(parsePullUrl(target, 'https://github.example')).toEqual(expected);
  });

  it.each([
    'https://evil.example/o/r/pull/7',
    'https://github.example/o/r/issues/7',
    'https://github.example/o/r/pull/7x',
  ])('refuses %s', (target) => {
    expect(() => parsePullUrl(target, 'https://github.example')).toThrow('is no pull request of');
  });
});
