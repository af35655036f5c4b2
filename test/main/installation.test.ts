import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { directory, openLog, putAll, RUN_ID, WHOLE_RUN } from '../audit/run-log.ts';

const exec = promisify(execFile);
const PROGRAM = join(import.meta.dirname, '../../src/main/cofferdam.ts');

it('is what .env says to the commands about it, as to start; what the environment sets comes first', async () => {
  await using dir = await directory();
  const log = await openLog(dir);
  await putAll(log, WHOLE_RUN);
  await log.seal();
  const policy = join(dir.path, 'policy.yml');
  await writeFile(policy, 'egress: { allow: [{ host: mirror.example }] }\n');
  const url = 'https://runs.example';
  await writeFile(
    join(dir.path, '.env'),
    `COFFERDAM_DATA_DIR=${dir.path}\nCOFFERDAM_PUBLIC_URL=${url}\nCOFFERDAM_POLICY=${policy}\n`,
  );
  const say = async (args: string[], env: Record<string, string> = {}): Promise<string> => {
    const { stdout } = await exec(process.execPath, [PROGRAM, ...args], {
      cwd: dir.path,
      env: { PATH: process.env['PATH'], ...env },
    });
    return stdout;
  };
  expect(await say(['verify', RUN_ID])).toContain('valid: ');
  expect(await say(['audit', 'show', RUN_ID])).toContain('npm ci');
  expect(await say(['open', RUN_ID])).toMatch(new RegExp(`^${url}/runs/${RUN_ID}\\?ticket=`));
  expect(await say(['policy', 'test', 'mirror.example'])).toContain('allow');
  expect(await say(['open', RUN_ID], { COFFERDAM_PUBLIC_URL: 'https://other.example' })).toMatch(/^https:\/\/other/);
});

it.each([['show'], ['export']])('audit %s ends quietly when its reader has enough', async (command) => {
  await using dir = await directory();
  const log = await openLog(dir);
  // More than a pipe holds.
  const said: AuditEntry = { zone: 'gateway', source: 'sandbox', type: 'agent.text', data: { text: 'x'.repeat(200) } };
  await putAll(
    log,
    Array.from({ length: 2_000 }, () => said),
  );
  await log.seal();
  const child = spawn(process.execPath, [PROGRAM, 'audit', command, RUN_ID], {
    env: { PATH: process.env['PATH'], COFFERDAM_DATA_DIR: dir.path },
  });
  const complaints: string[] = [];
  child.stderr.on('data', (piece: Buffer) => complaints.push(piece.toString()));
  child.stdout.once('data', () => child.stdout.destroy());
  expect([await once(child, 'close'), complaints]).toEqual([[0, null], []]);
});
