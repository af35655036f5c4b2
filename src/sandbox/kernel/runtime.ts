import { lstat, readFile } from 'node:fs/promises';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { SessionConfig, sessionConfig } from './session.ts';

/** A runtime as Docker's daemon has it registered. */
export interface RuntimeEntry {
  path?: string | undefined;
  runtimeArgs?: readonly string[] | null | undefined;
}

/** Whether the kernels of a runtime's sandboxes report to a socket of ours. */
export type KernelReports =
  | { kind: 'yes'; endpoint: string }
  /** The runtime asks for no reports: its sandboxes start, without a record of their processes. */
  | { kind: 'no'; why: string }
  /** It asks for reports that cannot be taken here: gVisor then starts no sandbox. */
  | { kind: 'broken'; why: string };

const FLAG = /^--?pod-init-config=(.+)$/;
/** Longest path that a Unix socket may have (107 bytes and a NUL), less what a worker's own socket's name adds. */
const MAX_DIRECTORY = 80;

/**
 * Reads the runtime's arguments, the file that they name, and the directory of the socket in it. Whatever differs from
 * what this version writes is refused: a session that asked for less would make a record with holes.
 */
export async function kernelReports(entry: RuntimeEntry): Promise<KernelReports> {
  const file = entry.runtimeArgs?.map((argument) => FLAG.exec(argument)?.[1]).find((found) => found !== undefined);
  if (file === undefined) return { kind: 'no', why: 'the runtime lacks the argument --pod-init-config' };
  const broken = (why: string): KernelReports => ({ kind: 'broken', why });
  const session = await readSession(file);
  if (session === undefined) {
    return broken(`${file}, which the runtime's --pod-init-config names, cannot be read here or is of another kind`);
  }
  const endpoint = session.trace_session.sinks[0]?.config.endpoint ?? '';
  if (!path.isAbsolute(endpoint) || !isDeepStrictEqual(session, sessionConfig(endpoint))) {
    return broken(`${file} is not what this version of Cofferdam writes; \`cofferdam doctor\` shows what it should be`);
  }
  const directory = path.dirname(endpoint);
  const stat = await lstat(directory).catch(() => undefined);
  if (stat?.isDirectory() !== true) return broken(`there is no directory ${directory} for the collector's socket`);
  if (stat.uid !== process.getuid?.() || (stat.mode & 0o077) !== 0) {
    return broken(`${directory} must belong to the user that Cofferdam runs as, with mode 0700`);
  }
  if (Buffer.byteLength(directory) > MAX_DIRECTORY) return broken(`${directory} is too long for Unix sockets`);
  return { kind: 'yes', endpoint };
}

async function readSession(file: string): Promise<SessionConfig | undefined> {
  try {
    return SessionConfig.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return undefined;
  }
}
