import { appendFileSync } from 'node:fs';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey } from '../../src/audit/seal.ts';
import { RunId } from '../../src/domain/ids.ts';

/*
 * A worker that acts without end: it records what it is about to do, does it (a line in `effects`), records how that went.
 * Plain lines come in between. It is killed by whoever started it.
 */
const [file = '', effects = '', keys = ''] = process.argv.slice(2);
const log = await AuditFile.create({
  file,
  runId: RunId.parse('r0123456789ab'),
  redact: createRedactor([]),
  key: await loadSigningKey(keys),
});
for (let n = 0; ; n += 1) {
  const callId = `c${n}`;
  void log.append({ zone: 'worker', type: 'run.step', data: { step: 'agent', state: 'started' } });
  // There is a line by now: whoever waits for this may end the process at once.
  if (n === 0) process.stdout.write('ready\n');
  await log.append({ zone: 'gateway', type: 'llm.reserve', data: { callId } });
  appendFileSync(effects, `${callId}\n`);
  await log.append({ zone: 'gateway', type: 'llm.settle', data: { callId } });
}
