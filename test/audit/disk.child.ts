import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey, publicPem } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import { CofferdamError } from '../../src/domain/errors.ts';
import { RunId } from '../../src/domain/ids.ts';

// Runs in a mount namespace of its own with a small tmpfs as audit directory; prints what it saw as JSON.
const [disk = '', keys = ''] = process.argv.slice(2);
const codes: string[] = [];
const failing = (error: unknown): null => (
  codes.push(error instanceof CofferdamError ? error.code : String(error)),
  null
);
const key = await loadSigningKey(keys);
const options = { file: join(disk, 'run.jsonl'), runId: RunId.parse('r0123456789ab'), redact: createRedactor([]), key };
const line = { zone: 'gateway', type: 'egress.name', data: { host: `${'h'.repeat(900)}.test` } } as const;

let told = 0;
let failed = 'nothing';
const log = await AuditFile.create(options).catch(failing);
if (log === null) failed = 'create';
else {
  // The last inodes are taken by somebody else: the log is there already, its seal is not.
  for (let n = 0; n < 4; n += 1) {
    try {
      writeFileSync(join(disk, `other-${n}`), '');
    } catch {
      break;
    }
  }
  while (failed === 'nothing' && told < 2_000) {
    if ((await log.append(line).catch(failing)) === null) failed = 'append';
    else told += 1;
  }
  if (failed === 'append') await log.append(line).catch(failing);
  const sealed = await log.seal({}).catch(failing);
  if (failed === 'nothing' && sealed === null) failed = 'seal';
  await log.append(line).catch(failing);
  await log.close();
}
const kept = log === null ? 0 : (readFileSync(options.file, 'utf8').match(/"egress\.name"/g) ?? []).length;
const whole = log === null ? 0 : (readFileSync(options.file, 'utf8').match(/"egress\.name"[^\n]*\n/g) ?? []).length;
execFileSync('mount', ['-o', 'remount,rw,size=16m,nr_inodes=100', disk]);
const again = (await AuditFile.resume(options)) ?? (failed === 'create' ? await AuditFile.create(options) : null);
await again?.append(line);
await again?.seal({});
await again?.close();
const { verdict } = await verifyAuditFile({ file: options.file, key: publicPem(key.publicKey) });
process.stdout.write(JSON.stringify({ failed, codes, told, kept: Math.min(kept, whole), after: verdict }));
