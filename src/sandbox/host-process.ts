import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/**
 * The host processes that carry one container: gVisor's kernel (`runsc-sandbox`), whose arguments hold the container's id.
 * Empty when there are none, and when this process cannot see the Docker host's.
 */
export async function sandboxProcesses(containerId: string): Promise<number[]> {
  const entries = await readdir('/proc').catch(() => []);
  const found: number[] = [];
  for (const entry of entries) {
    const pid = Number(entry);
    if (Number.isInteger(pid) && (await isKernelOf(pid, containerId))) found.push(pid);
  }
  return found;
}

/** runsc's state directory (`--root`) of a running container; undefined when its host process cannot be seen. */
export async function stateDirectoryOf(containerId: string): Promise<string | undefined> {
  const [pid] = await sandboxProcesses(containerId);
  if (pid === undefined) return undefined;
  const line = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
  return line
    .split('\0')
    .find((argument) => argument.startsWith('--root='))
    ?.slice('--root='.length);
}

async function isKernelOf(pid: number, containerId: string): Promise<boolean> {
  const line = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
  const argv = line.split('\0');
  return path.basename(argv[0] ?? '') === 'runsc-sandbox' && argv.includes(containerId);
}

/**
 * The last resort for a wedged sandbox, whose every Docker call hangs: ends gVisor's kernel for it, by process id, after
 * looking once more that the id still belongs to it. Returns how many were ended.
 */
export async function endSandboxProcesses(containerId: string): Promise<number> {
  let ended = 0;
  for (const pid of await sandboxProcesses(containerId)) {
    if (!(await isKernelOf(pid, containerId))) continue;
    try {
      process.kill(pid, 'SIGKILL');
      ended += 1;
    } catch {
      // Gone meanwhile, or not ours to end: the caller sees by the count that nothing was done.
    }
  }
  return ended;
}
