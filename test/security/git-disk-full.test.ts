import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { bare, commitAll, project, run, workbench, write } from '../git/fixture.ts';

test('CRA-013 a full disk: quarantine dropped, mirror intact, and it goes on when there is space', async () => {
  const bench = workbench();
  try {
    const work = bench.path('work');
    project(work, { 'a.txt': 'one\n' });
    const origin = bare(work, bench.path('origin.git'));
    const workspace = bench.path('workspace');
    run(['clone', '-q', origin, workspace]);
    write(workspace, { 'noise.bin': randomBytes(8 * 2 ** 20) });
    run(['checkout', '-q', '-b', 'large'], { cwd: work });
    write(work, { 'large.bin': randomBytes(8 * 2 ** 20) });
    commitAll(work, 'large');
    const dataDir = bench.path('data');
    mkdirSync(dataDir);
    const child = path.join(import.meta.dirname, 'git-disk-full.child.ts');
    const script = 'mount -t tmpfs -o size=4m tmpfs "$4" && exec "$0" "$1" "$2" "$3" "$4" "$5"';
    const args = ['-Urm', 'sh', '-c', script, process.execPath, child, origin, workspace, dataDir, work];
    const { stdout } = await promisify(execFile)('unshare', args, { timeout: 120_000 });
    expect(JSON.parse(stdout)).toEqual({
      harvestError: ['harvest', expect.any(String)],
      quarantine: false,
      fetchError: ['clone', expect.stringContaining('no space left in the data directory')],
      leftovers: [],
      fsck: '',
      intact: true,
      recovered: true,
      files: 1,
    });
  } finally {
    bench.remove();
  }
});
