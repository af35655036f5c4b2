import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey, publicPem } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import { AuditEvent } from '../../src/domain/audit.ts';
import { GATEWAY_LIMITS } from '../../src/gateway/limits.ts';
import { createRecorder } from '../../src/gateway/recorder.ts';
import { misfits } from './fits.ts';
import { directory, RUN_ID } from './run-log.ts';

const STORM = 1_000_000;
const HOSTS = 5_000;
const EVERY = 20_000;

it('AUD-010 a million denials hide no allow, fill no disk, and are all counted', async () => {
  await using dir = await directory();
  const key = await loadSigningKey(dir.path);
  const file = join(dir.path, 'run.jsonl');
  const log = await AuditFile.create({ file, runId: RUN_ID, redact: createRedactor([]), key });
  const recorder = createRecorder({ append: (entry) => log.append(entry), limits: GATEWAY_LIMITS });
  const denied = { allow: false, rule: 'default', reason: 'not_allowed' } as const;
  const allowed = { allow: true, rule: 'policy line 1' } as const;
  for (let n = 0; n < STORM; n += 1) {
    const told = recorder.judged({ type: 'egress.connect', host: `h${n % HOSTS}.test`, port: 443, decision: denied });
    if (n % EVERY !== 0) continue;
    await told;
    // Told in its own line before it goes on, in the middle of the storm.
    await recorder.judged({ type: 'egress.connect', host: 'allowed.test', port: 443, decision: allowed });
    if (n % (STORM / 4) === 0) await recorder.flush();
  }
  await recorder.flush();
  await log.seal({});
  await log.close();

  const events = (await readFile(file, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => AuditEvent.parse(JSON.parse(line)));
  const allows = events.filter(({ decision }) => decision?.allow === true);
  expect(allows).toHaveLength(STORM / EVERY);
  const denials = events.filter(({ decision }) => decision?.allow === false);
  const counted = denials.reduce(
    (sum, { type, data }) => sum + (type === 'egress.repeated' ? Number(data['more']) : 1),
    0,
  );
  expect(counted).toBe(STORM);
  const told = recorder.egress().reduce((sum, { allow, count }) => sum + (allow ? 0 : count), 0);
  expect(told).toBe(STORM);
  expect(events.length).toBeLessThan(10 * GATEWAY_LIMITS.distinctDenials);
  expect((await stat(file)).size).toBeLessThan(4 * 1_048_576);
  expect(await misfits(file)).toEqual([]);
  expect(await verifyAuditFile({ file, key: publicPem(key.publicKey) })).toMatchObject({ verdict: 'valid' });
});
