import type { RedisRunRecords } from '../queue/records.ts';
import type { HeldResults } from '../run/ports.ts';

/** Writes into the run's record where its result waits: any worker may be asked for it. */
export function placed(
  store: HeldResults,
  { records, host }: { records: Pick<RedisRunRecords, 'update'>; host: string },
): HeldResults {
  return {
    ...store,
    async keep(options) {
      await store.keep(options);
      const { held, harvest, spec } = options;
      const keptAt = new Date().toISOString();
      const files = harvest.files.length;
      await records.update(spec.runId, { held: { host, diffHash: held.diffHash, files, keptAt } });
    },
  };
}
