import { readFileSync } from 'node:fs';
import path from 'node:path';

/**
 * The container that a connection of gVisor's sink is for. The host's `runsc create` makes the connection before the
 * sandbox exists, and waits for the answer to its handshake; its arguments end with the container's id. So the host's
 * kernel (SO_PEERCRED) and the host's process say whose it is, and nothing that a sandbox can send.
 *
 * Undefined for any other process, and where this process cannot see the Docker host's processes.
 */
export function containerOfPeer(pid: number): string | undefined {
  if (pid <= 0) return undefined;
  let line: string;
  try {
    line = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return undefined;
  }
  return containerOfCommand(line.split('\0'));
}

/** `runsc … create … <id>`, or `runsc … trace create … <id>` for a sandbox that is attached to again. */
function containerOfCommand(argv: readonly string[]): string | undefined {
  const words = argv.filter((argument) => argument !== '');
  const id = words.at(-1) ?? '';
  if (path.basename(words[0] ?? '') !== 'runsc' || !words.includes('create')) return undefined;
  return /^[0-9a-f]{64}$/.test(id) ? id : undefined;
}
