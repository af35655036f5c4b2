import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey, publicPem } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { BASE, COMMIT, directory, MANIFEST, RUN_ID, WHOLE_RUN } from './run-log.ts';

const SECRET = 's3cr3t-canary/value+"1"';
const redact = createRedactor([SECRET, COMMIT]);

it('AUD-011: no field of any class lets a known secret through, and the hash covers what is stored', async () => {
  await using dir = await directory();
  const key = await loadSigningKey(dir.path);
  const file = join(dir.audit, `${RUN_ID}.jsonl`);
  const log = await AuditFile.create({ file, runId: RUN_ID, redact, key });
  // The secret in the place of each text of a whole run, whatever the text was.
  const poison = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value), (_key, one: unknown) => (typeof one === 'string' ? `${one}: ${SECRET}` : one));
  for (const { data, ...entry } of WHOLE_RUN)
    await log.append({ ...entry, data: poison(data) as Record<string, unknown> });
  await log.append({ zone: 'gateway', type: 'egress.end', data: { [SECRET]: { deep: [[SECRET]] } } });
  await log.append({
    zone: 'gateway',
    type: 'egress.name',
    decision: { allow: false, rule: `rule ${SECRET}`, reason: 'not_allowed' },
    data: { host: 'a.test' },
  });
  await log.seal({});
  await log.close();
  const stored = await readFile(file, 'utf8');
  expect(stored).not.toContain('s3cr3t');
  expect(stored.split('[redacted]').length).toBeGreaterThan(100);
  expect((await verifyAuditFile({ file, key: publicPem(key.publicKey) })).verdict).toBe('valid');
});

it('a whole run without secrets is stored as it was told', () => {
  const plain = createRedactor([SECRET]);
  for (const entry of [MANIFEST, ...WHOLE_RUN]) expect(plain(entry)).toEqual(entry);
});

it.each<[string, AuditEntry['type'], Record<string, unknown>, Record<string, unknown>]>([
  [
    'a commit is a reference, even where a secret has its digits',
    'git.commit',
    { tree: COMMIT, base: BASE, files: 1 },
    { tree: COMMIT, base: BASE, files: 1 },
  ],
  [
    'arguments by their flags',
    'process.start',
    { 'process.pid': 2, 'process.command_args': ['deploy', '--token', 'abc', '--region', 'eu'] },
    { 'process.pid': 2, 'process.command_args': ['deploy', '--token', '[redacted]', '--region', 'eu'] },
  ],
  [
    'what the manifest holds by its keys',
    'run.manifest',
    { spec: { env: { NODE_ENV: 'test', API_TOKEN: 'abc' }, apiKeyEnv: 'NAME', limits: { maxTokens: 5 } } },
    { spec: { env: { NODE_ENV: 'test', API_TOKEN: '[redacted]' }, apiKeyEnv: 'NAME', limits: { maxTokens: 5 } } },
  ],
  [
    'a path, by the names in its query',
    'egress.request',
    { host: 'a.test', path: '/v1?token=abc&page=2' },
    { host: 'a.test', path: '/v1?token=[redacted]&page=2' },
  ],
  [
    'a field that nobody declared',
    'egress.request',
    { host: 'a.test', cookie: 'abc', more: { note: SECRET } },
    { host: 'a.test', cookie: '[redacted]', more: { note: '[redacted]' } },
  ],
  [
    'a key that every object has',
    'egress.end',
    JSON.parse('{"__proto__":{"a":1}}') as object as Record<string, unknown>,
    JSON.parse('{"__proto__":{"a":1}}') as object as Record<string, unknown>,
  ],
])('%s', (_what, type, data, stored) => {
  expect(redact({ zone: 'worker', type, data }).data).toEqual(stored);
});
