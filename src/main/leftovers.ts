import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RunId } from '../domain/ids.ts';
import { isFinal } from '../queue/records.ts';
import type { WorkerParts } from './worker.ts';

/** A run's directory that no record and no container knows is kept this long: another command may be about to use it. */
const UNKNOWN_MS = 3_600_000;

/** Removes what runs that are over left on this host: containers, and directories with sockets and quarantine. */
export async function sweepHost(parts: WorkerParts): Promise<void> {
  const { records, host, environment, log } = parts;
  const over = async (id: string): Promise<boolean | undefined> => {
    const parsed = RunId.safeParse(id);
    const record = parsed.success ? await records.load(parsed.data).catch(() => null) : null;
    return record === null ? undefined : isFinal(record.state);
  };
  const { removed, failed, kept } = await host.sandboxes.sweep({
    // A running sandbox has its gateway, and so its worker or its command; one of a run that nobody recorded is left alone.
    remove: async ({ runId, running }) => (await over(runId)) ?? !running,
  });
  const alive = new Set(kept);
  const runs = join(environment.dataDir, 'runs');
  for (const id of await readdir(runs).catch(() => [])) {
    if (alive.has(id)) continue;
    const known = await over(id);
    if (known === false) continue;
    const made = await stat(join(runs, id)).catch(() => undefined);
    if (known === undefined && (made === undefined || Date.now() - made.mtimeMs < UNKNOWN_MS)) continue;
    await rm(join(runs, id), { recursive: true, force: true });
    log.info({ runId: id }, 'directory of an ended run removed');
  }
  for (const { container, runId, role } of removed) log.info({ container, runId, role }, 'container removed');
  for (const { container, runId } of failed) log.warn({ container, runId }, 'container could not be removed');
}

/** Removes what one dead run left on this host. Errors: `docker_unavailable`, `sandbox`. */
export async function removeLeftovers(parts: WorkerParts, runId: RunId): Promise<{ containers: string[] }> {
  const { removed, failed } = await parts.host.sandboxes.sweep({
    remove: (found) => Promise.resolve(found.runId === runId),
  });
  await rm(join(parts.environment.dataDir, 'runs', runId), { recursive: true, force: true });
  for (const { container } of failed) parts.log.warn({ container, runId }, 'container could not be removed');
  return { containers: removed.map(({ container }) => container) };
}
