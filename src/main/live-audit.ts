/** The worker's side of the run pages: what is written beside the audit, and what is handed on while a run goes on. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { auditPaths } from '../audit/logs.ts';
import type { RunId } from '../domain/ids.ts';
import type { RunEvents } from '../queue/events.ts';
import type { AuditLog, Harvester } from '../run/ports.ts';

/** Where audit files are. */
export function auditDirectory(dataDir: string): string {
  return join(dataDir, 'audit');
}

/** The log, whose seal is handed on once it is written. A page that misses it has the audit file. */
export function withSealHandedOn(log: AuditLog, runId: RunId, events: RunEvents): AuditLog {
  return {
    file: log.file,
    append: (entry) => log.append(entry),
    head: () => log.head(),
    close: () => log.close(),
    async seal(data) {
      const seal = await log.seal(data);
      await readFile(`${log.file}.seal`, 'utf8')
        .then((text) => events.attach(runId, 'seal', text))
        .catch(() => undefined);
      return seal;
    },
  };
}

/** Keeps each result's diff beside its audit file, for the page and for who checks it by its hash. */
export function keepingPatches(harvester: Harvester, options: { dataDir: string; events?: RunEvents }): Harvester {
  return {
    async harvest(request) {
      const harvest = await harvester.harvest(request);
      if (harvest === null) return null;
      const { runId } = request.spec;
      // The diff is in the pull request, too: that it cannot be kept here ends nothing.
      await writeFile(auditPaths(auditDirectory(options.dataDir), runId).patch, harvest.patch, { mode: 0o600 }).catch(
        () => undefined,
      );
      await options.events?.attach(runId, 'patch', harvest.patch).catch(() => undefined);
      return harvest;
    },
  };
}
