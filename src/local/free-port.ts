import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';

const LOWEST = 10_000;
const TRIES = 100;

/**
 * A TCP port of 127.0.0.1 for a program that starts later. It is from below those that the kernel gives to connections
 * (ip_local_port_range): one of theirs is free now, and taken as soon as any program on this machine connects from it.
 */
export async function freePort(): Promise<number> {
  const [first] = (await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')).split(/\s/);
  const above = Number(first);
  for (let tries = 0; above > LOWEST && tries < TRIES; tries += 1) {
    try {
      return await listenOnce(randomInt(LOWEST, above));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
  // The kernel was told to give all of them: one of those, then.
  return listenOnce(0);
}

/** Listens on this port, any with 0, and lets go of it. */
async function listenOnce(wanted: number): Promise<number> {
  const probe = createServer();
  await once(probe.listen(wanted, '127.0.0.1'), 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
