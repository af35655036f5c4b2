import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { CofferdamError } from '../domain/errors.ts';
import { stateDirectoryOf } from '../sandbox/host-process.ts';
import { sessionConfig } from '../sandbox/kernel/session.ts';

const run = promisify(execFile);
const LIMIT_MS = 20_000;

/**
 * Makes the kernel of a running sandbox report to another socket. Needs root, the Docker host's processes in view and its
 * runsc. Errors: `sandbox` with what is missing.
 */
export async function attachKernel(options: {
  container: string;
  runsc: string | undefined;
  socket: string;
}): Promise<void> {
  const { container, runsc, socket } = options;
  const root = await stateDirectoryOf(container);
  if (process.getuid?.() !== 0 || runsc === undefined || root === undefined) {
    throw new CofferdamError(
      'sandbox',
      'main.attachKernel',
      'only root on the Docker host can attach to a sandbox again',
    );
  }
  const config = join(dirname(socket), `k${process.pid}-${randomBytes(3).toString('hex')}.json`);
  try {
    await writeFile(config, JSON.stringify(sessionConfig(socket)), { mode: 0o600 });
    const argv = ['--root', root, 'trace', 'create', '--config', config, '--force', container];
    await run(runsc, argv, { cwd: '/', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }, timeout: LIMIT_MS });
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim().slice(0, 500) : '';
    throw new CofferdamError('sandbox', 'main.attachKernel', `runsc trace create failed: ${said}`, cause);
  } finally {
    await rm(config, { force: true });
  }
}
