import type { Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { CofferdamError } from '../domain/errors.ts';
import { SOCKET_NAME } from './layout.ts';

/** Longest path that a Unix socket may have (107 bytes and a NUL). */
const SOCKET_PATH_MAX = 107;

/**
 * Nothing that is mounted may lead out of the sandbox by another way: gVisor lets it connect to every socket below a mount.
 * Sockets other than the gateway's, named pipes and devices are refused, wherever they lie in the tree. Symbolic links are
 * not followed: inside, they cannot leave the sandbox. Files that somebody may write are refused, too (see `MOUNTED_MODE`).
 * Errors: `sandbox` with the path; `config` when the socket's path is too long or the directory is not there.
 */
export async function checkMounts(options: { socketDir: string; toolboxDir: string }): Promise<void> {
  const socket = path.join(options.socketDir, SOCKET_NAME);
  if (Buffer.byteLength(socket) > SOCKET_PATH_MAX) {
    const message = `the socket's path is longer than ${SOCKET_PATH_MAX} bytes, choose a shorter COFFERDAM_DATA_DIR: ${socket}`;
    throw new CofferdamError('config', 'sandbox.checkMounts', message);
  }
  const stat = await lstat(socket).catch(() => undefined);
  if (stat?.isSocket() !== true) {
    throw new CofferdamError('sandbox', 'sandbox.checkMounts', `the gateway's socket is not there: ${socket}`);
  }
  // Root in the sandbox has no capability, and the agent reads the certificates there.
  const { mode } = await lstat(options.socketDir);
  if ((mode & 0o005) !== 0o005) {
    const message = `the sandbox may not enter the socket's directory (its mode must be 0755): ${options.socketDir}`;
    throw new CofferdamError('sandbox', 'sandbox.checkMounts', message);
  }
  await checkTree(options.socketDir, (file) => file === socket);
  await checkTree(options.toolboxDir, () => false);
}

async function checkTree(root: string, isExpected: (file: string) => boolean): Promise<void> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw new CofferdamError('config', 'sandbox.checkMounts', `cannot read a directory to mount: ${root}`, cause);
  });
  // A toolbox has more than a thousand files, and every sandbox waits for this.
  await Promise.all(entries.map((entry) => checkEntry(entry, isExpected)));
}

async function checkEntry(entry: Dirent, isExpected: (file: string) => boolean): Promise<void> {
  if (entry.isDirectory() || entry.isSymbolicLink()) return;
  const file = path.join(entry.parentPath, entry.name);
  if (entry.isFile()) {
    if (((await lstat(file)).mode & 0o222) === 0) return;
    const message = `a file in a mount of a sandbox may be writable for nobody (chmod a-w), since gVisor lets its root empty it: ${file}`;
    throw new CofferdamError('sandbox', 'sandbox.checkMounts', message);
  }
  if (entry.isSocket() && isExpected(file)) return;
  const message = `only the gateway's socket may be in a mount of a sandbox, not this socket, pipe or device: ${file}`;
  throw new CofferdamError('sandbox', 'sandbox.checkMounts', message);
}
