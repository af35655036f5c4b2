import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey, publicPem, type SigningKey } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import { RunId } from '../../src/domain/ids.ts';

const RUN = RunId.parse('r0123456789ab');
let dir: string;
let key: SigningKey;
let pem: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cofferdam-audit-'));
  key = await loadSigningKey(dir);
  pem = publicPem(key.publicKey);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function sealed(name = 'a.jsonl', lines = 5, runId = RUN): Promise<string> {
  const file = join(dir, name);
  const log = await AuditFile.create({ file, runId, redact: createRedactor(['s3cr3t-canary-value']), key });
  for (let i = 0; i < lines; i += 1) {
    await log.append({
      zone: 'gateway',
      type: i === 2 ? 'git.commit' : 'egress.connect',
      decision: { allow: false, rule: 'default', reason: 'not_allowed' },
      data: { host: `h${i}.test`, count: i, nested: { text: 'a\u2028b\u001b[31m' } },
    });
  }
  await log.seal({ repository: 'o/r' });
  await log.close();
  return file;
}

describe('the chain', () => {
  it('is valid with the right key, unsigned without, unsealed without a seal', async () => {
    const file = await sealed();
    expect(await verifyAuditFile({ file, key: pem })).toMatchObject({
      verdict: 'valid',
      lines: 6,
      subject: { repository: 'o/r' },
    });
    expect((await verifyAuditFile({ file })).verdict).toBe('unsigned');
    await rm(`${file}.seal`);
    expect((await verifyAuditFile({ file, key: pem })).verdict).toBe('unsealed');
  });

  it('names the checkpoint that a commit trailer carries', async () => {
    const file = await sealed();
    const { checkpoints } = await verifyAuditFile({ file });
    expect(checkpoints).toHaveLength(1);
  });

  it('refuses another key', async () => {
    const file = await sealed();
    const other = publicPem(
      createPublicKey(
        createPrivateKey(generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })),
      ),
    );
    expect(await verifyAuditFile({ file, key: other })).toMatchObject({ verdict: 'broken' });
  });

  it('AUD-001 names the first bad line for every edit, deletion, insertion and swap', async () => {
    const file = await sealed();
    const text = await readFile(file, 'utf8');
    const lines = text.trimEnd().split('\n');
    const verdicts = async (changed: string[]): Promise<{ line: number | undefined }> => {
      await writeFile(file, changed.map((l) => `${l}\n`).join(''));
      const result = await verifyAuditFile({ file, key: pem });
      expect(result.verdict).toBe('broken');
      return { line: result.problem?.line };
    };
    for (let i = 0; i < lines.length; i += 1) {
      const line = lines[i] ?? '';
      for (const field of Object.keys(JSON.parse(line) as object)) {
        const changed = JSON.parse(line) as Record<string, unknown>;
        changed[field] = field === 'seq' ? 99 : 'x';
        const { line: bad } = await verdicts(lines.with(i, JSON.stringify(changed)));
        expect(bad, `field ${field} of line ${i + 1}`).toBeGreaterThan(i);
        expect(bad).toBeLessThanOrEqual(i + 2);
      }
      await verdicts(lines.toSpliced(i, 1));
      await verdicts(lines.toSpliced(i, 0, line));
      if (i > 0) await verdicts(lines.with(i, lines[i - 1] ?? '').with(i - 1, line));
    }
    await writeFile(file, text);
    expect((await verifyAuditFile({ file, key: pem })).verdict).toBe('valid');
  });

  it('AUD-001 finds a tail that was cut at any byte, and a swapped file', async () => {
    const file = await sealed();
    const size = (await readFile(file)).length;
    const text = await readFile(file);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: size - 1 }), async (length) => {
        await writeFile(file, text);
        await truncate(file, length);
        expect((await verifyAuditFile({ file, key: pem })).verdict).toBe('broken');
      }),
      { numRuns: 40 },
    );
    const other = await sealed('b.jsonl', 5, RunId.parse('rbbbbbbbbbbbb'));
    await writeFile(file, await readFile(other));
    expect((await verifyAuditFile({ file, key: pem })).problem?.message).toContain('belongs to run');
  });

  it('AUD-001 finds duplicate keys, other spacing and lines after the seal', async () => {
    const file = await sealed();
    const text = await readFile(file, 'utf8');
    for (const forged of [
      text.replace('{"seq":0', '{"seq":7,"seq":0'),
      text.replace('"seq":0,', '"seq": 0,'),
      text.replace('h1.test', '\\u00681.test'),
    ]) {
      await writeFile(file, forged);
      expect((await verifyAuditFile({ file, key: pem })).verdict).toBe('broken');
    }
    await writeFile(file, text);
    await appendFile(file, '{"seq":6}\n');
    expect((await verifyAuditFile({ file, key: pem })).problem?.line).toBe(7);
  });

  it('AUD-002 keeps one line per event whatever the strings hold', async () => {
    const file = join(dir, 'odd.jsonl');
    const log = await AuditFile.create({ file, runId: RUN, redact: createRedactor([]), key });
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
        await log.append({ zone: 'sandbox', source: 'sandbox', type: 'agent.text', data: { text, [text]: 1 } });
      }),
      { numRuns: 200 },
    );
    await log.append({
      zone: 'sandbox',
      type: 'agent.text',
      data: { text: '\u001b]8;;http://evil.test\u0007\u2028\ud800\n'.repeat(3) },
    });
    await log.append({ zone: 'sandbox', type: 'agent.text', data: { text: 'x'.repeat(2_000_000) } });
    await log.seal({});
    await log.close();
    const bytes = await readFile(file, 'utf8');
    expect(bytes.trimEnd().split('\n')).toHaveLength(203);
    // eslint-disable-next-line no-control-regex -- none of these may be in the file
    expect(/[\u0000-\u0009\u000b-\u001f\u007f\u2028\u2029]/.test(bytes)).toBe(false);
    expect((await verifyAuditFile({ file, key: pem })).verdict).toBe('valid');
  });

  it('AUD-011 redacts known secrets in every usual encoding, and GitHub tokens of any length', async () => {
    const file = join(dir, 'secret.jsonl');
    const secret = 's3cr3t-canary/value+"1"';
    const log = await AuditFile.create({ file, runId: RUN, redact: createRedactor([secret]), key });
    const forms = [
      secret,
      encodeURIComponent(secret),
      Buffer.from(secret).toString('hex'),
      Buffer.from(secret).toString('base64'),
      Buffer.from(secret).toString('base64url'),
      `ghs_${'A1b2'.repeat(40)}`,
    ];
    await log.append({ zone: 'gateway', type: 'egress.request', data: { forms, [secret]: { deep: [secret] } } });
    await log.close();
    const text = await readFile(file, 'utf8');
    for (const form of forms) expect(text).not.toContain(form);
    expect(text.match(/\[redacted\]/g)?.length).toBeGreaterThanOrEqual(forms.length);
  });

  it('writes in order under concurrency, and refuses everything once a write has failed or the file is sealed', async () => {
    const file = join(dir, 'order.jsonl');
    const log = await AuditFile.create({ file, runId: RUN, redact: createRedactor([]), key });
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => log.append({ zone: 'worker', type: 'run.step', data: { i } })),
    );
    await log.seal({});
    await expect(log.append({ zone: 'worker', type: 'run.step' })).rejects.toMatchObject({ code: 'audit' });
    await log.close();
    const order = (await readFile(file, 'utf8'))
      .trimEnd()
      .split('\n')
      .slice(0, 500)
      .map((l) => (JSON.parse(l) as { data: { i: number } }).data.i);
    expect(order).toEqual(Array.from({ length: 500 }, (_, i) => i));
    await expect(AuditFile.create({ file, runId: RUN, redact: createRedactor([]), key })).rejects.toMatchObject({
      code: 'audit',
    });
  });
});
