import { readdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import type { ContainerFacts } from './docker.ts';

/** What this process can see of a container's disk use. `none`: the Docker host is elsewhere. */
export type DiskView = 'full' | 'none';

interface DiskUse {
  /** Bytes that the sandbox's own file store and its three writable host files really occupy. */
  used: number;
  /** Bytes that are free where it lies. */
  free: number;
}

const BLOCK = 512;

/** The host directory in which gVisor keeps what the sandbox writes; undefined when Docker's storage is another than overlay. */
function upperDirectory(facts: ContainerFacts): string | undefined {
  return facts.GraphDriver.Data?.['UpperDir'];
}

/** Whether the file store can be seen from here. */
export async function diskView(facts: ContainerFacts): Promise<DiskView> {
  const upper = upperDirectory(facts);
  if (upper === undefined) return 'none';
  const names = await readdir(upper).catch(() => []);
  return names.some(isFileStore) ? 'full' : 'none';
}

/**
 * Reads the allocated size: the file store's apparent size says nothing, and Docker's own count neither. Docker's hosts,
 * hostname and resolv.conf are host files that the sandbox's root may write to, so they count.
 * Errors: those of the file system, when something is not there any more.
 */
async function diskUse(facts: ContainerFacts): Promise<DiskUse> {
  const upper = upperDirectory(facts) ?? '';
  const stores = (await readdir(upper)).filter(isFileStore).map((name) => path.join(upper, name));
  const sizes = await Promise.all(
    [...stores, facts.HostsPath, facts.HostnamePath, facts.ResolvConfPath].map((file) => allocated(file)),
  );
  const { bavail, bsize } = await statfs(upper);
  return { used: sizes.reduce((sum, size) => sum + size, 0), free: bavail * bsize };
}

function isFileStore(name: string): boolean {
  return name.startsWith('.gvisor.filestore.');
}

async function allocated(file: string): Promise<number> {
  const found = await stat(file).catch(() => undefined);
  return found === undefined ? 0 : found.blocks * BLOCK;
}

/**
 * Looks every `everyMs` and calls `onFull` once, when the sandbox has used more than its limit or when the host has less than
 * the floor left. Ends with the signal.
 */
export function watchDisk(options: {
  facts: ContainerFacts;
  limit: number;
  floor: number;
  everyMs: number;
  onFull: (message: string) => void;
  signal: AbortSignal;
}): void {
  const { facts, limit, floor, signal } = options;
  const look = async (): Promise<void> => {
    const use = await diskUse(facts).catch(() => undefined);
    if (signal.aborted) return;
    const message = use === undefined ? undefined : verdict(use, limit, floor);
    if (message !== undefined) {
      options.onFull(message);
      return;
    }
    setTimeout(() => void look(), options.everyMs).unref();
  };
  void look();
}

function verdict(use: DiskUse, limit: number, floor: number): string | undefined {
  if (use.used > limit) return `the sandbox wrote ${mebibytes(use.used)} MiB; its limit is ${mebibytes(limit)} MiB`;
  if (use.free < floor) return `the host has ${mebibytes(use.free)} MiB left; the floor is ${mebibytes(floor)} MiB`;
  return undefined;
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
