import { readFile } from 'node:fs/promises';
import { z } from 'zod';

/** A process that can be recognised again: pids are reused, a pid with its start time and boot is not. */
export const ProcessIdentity = z.strictObject({
  pid: z.int().positive(),
  /** Field 22 of `/proc/<pid>/stat`: clock ticks between boot and start. */
  startTime: z.string(),
  bootId: z.string(),
});
export type ProcessIdentity = z.infer<typeof ProcessIdentity>;

/** The identity of a running process; undefined when there is none with that pid (a zombie counts as none). */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const [stat, bootId] = await Promise.all([
    readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined),
    readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
  ]);
  if (stat === undefined) return undefined;
  // The second field is the program's name in parentheses and may hold spaces and parentheses of its own.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0], fields[19]];
  if (state === 'Z' || state === 'X' || startTime === undefined) return undefined;
  return { pid, startTime, bootId: bootId.trim() };
}

/** Whether exactly that process still runs. */
export async function isAlive(known: ProcessIdentity): Promise<boolean> {
  const now = await identify(known.pid);
  return now !== undefined && now.startTime === known.startTime && now.bootId === known.bootId;
}

/** The arguments of a process; empty when it is gone or may not be read. */
export async function commandLine(pid: number): Promise<string[]> {
  const raw = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return raw.split('\0').filter((argument) => argument !== '');
}
