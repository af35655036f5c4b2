import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sessionConfig } from '../../sandbox/kernel/session.ts';

/** What every sandbox's gVisor is started with, whatever it reports. */
const ARGUMENTS = ['--platform=systrap', '--network=none', '--host-uds=open'] as const;

/** Docker's entries for a runtime: the one that sandboxes use, whose kernels report, and its like without reports. */
export function runtimeEntries(options: {
  runtime: string;
  runsc: string;
  /** See {@link writeKernelSession}. */
  session: string;
}): Record<string, { path: string; runtimeArgs: string[] }> {
  const { runtime, runsc, session } = options;
  return {
    [runtime]: { path: runsc, runtimeArgs: [...ARGUMENTS, `--pod-init-config=${session}`] },
    [`${runtime}-unrecorded`]: { path: runsc, runtimeArgs: [...ARGUMENTS] },
  };
}

/** Where gVisor's configuration lies below the directory of the collector's socket. */
function kernelSessionFile(kernelDir: string): string {
  return path.join(kernelDir, 'session.json');
}

/**
 * Writes what sandboxes' kernels shall report, and to which socket, into a directory that is this user's alone; it is the
 * file that the runtime entry names. Nothing is written when it is there already.
 */
export async function writeKernelSession(kernelDir: string): Promise<string> {
  const file = kernelSessionFile(kernelDir);
  const text = `${JSON.stringify(sessionConfig(path.join(kernelDir, 'collector.sock')), null, 2)}\n`;
  await mkdir(kernelDir, { recursive: true, mode: 0o700 });
  await chmod(kernelDir, 0o700);
  if ((await readFile(file, 'utf8').catch(() => '')) === text) return file;
  // gVisor reads it at each start of a sandbox: never half of it.
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
  return file;
}

/** What an operator adds to an existing Docker's daemon.json so that it can be used. */
export function runtimeFragment(options: { runtime: string; kernelDir: string; runsc?: string }): string {
  const { runtime, kernelDir, runsc = '/usr/local/bin/runsc' } = options;
  const entries = runtimeEntries({ runtime, runsc, session: kernelSessionFile(kernelDir) });
  return JSON.stringify({ runtimes: { [runtime]: entries[runtime] } });
}
