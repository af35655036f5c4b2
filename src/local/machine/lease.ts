import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { CofferdamError } from '../../domain/errors.ts';
import { identify, isAlive, ProcessIdentity } from './identity.ts';

/** Who uses the private Docker: a process, or a person who said `up --keep`. */
const Lease = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('process'), process: ProcessIdentity }),
  z.strictObject({ kind: z.literal('kept') }),
]);
type Lease = z.infer<typeof Lease>;

const KEPT = 'kept.json';

/** Takes a lease for a process (default: this one) and returns its file name. The caller holds the machine's lock. */
export async function takeLease(leases: string, pid = process.pid): Promise<string> {
  const identity = await identify(pid);
  if (identity === undefined) throw new CofferdamError('internal', 'local.takeLease', `no process ${pid}`);
  const name = `${pid}-${randomBytes(4).toString('hex')}.json`;
  await writeLease(leases, name, { kind: 'process', process: identity });
  return name;
}

/** Keeps the daemon up until {@link dropKeptLease}, across processes (not across a reboot: nothing starts it then). */
export async function takeKeptLease(leases: string): Promise<void> {
  await writeLease(leases, KEPT, { kind: 'kept' });
}

export async function dropKeptLease(leases: string): Promise<void> {
  await dropLease(leases, KEPT);
}

export async function dropLease(leases: string, name: string): Promise<void> {
  await rm(path.join(leases, name), { force: true });
}

/**
 * Names of the leases that count; files of dead processes and files that are no lease are removed on the way.
 * The caller holds the machine's lock.
 */
export async function liveLeases(leases: string): Promise<string[]> {
  const names = await readdir(leases).catch(() => []);
  const live: string[] = [];
  for (const name of names) {
    const lease = await readLease(path.join(leases, name));
    if (lease !== undefined && (lease.kind === 'kept' || (await isAlive(lease.process)))) live.push(name);
    else await dropLease(leases, name);
  }
  return live;
}

async function writeLease(leases: string, name: string, lease: Lease): Promise<void> {
  await mkdir(leases, { recursive: true, mode: 0o700 });
  await writeFile(path.join(leases, name), JSON.stringify(lease), { mode: 0o600 });
}

async function readLease(file: string): Promise<Lease | undefined> {
  try {
    return Lease.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return undefined;
  }
}
