import { createFileLogs, type FileLog } from './logs.ts';
import { createAuditReader } from './read.ts';
import { textAt } from './story/field.ts';

/** What one run cost, by its own record. */
export interface PastCost {
  runId: string;
  /** Micro-dollars. */
  cost: number;
}

/** Newest files that are opened, and the largest of them that is read. */
const MAX_FILES = 200;
const MAX_BYTES = 20 * 1_048_576;

/** What finished runs of a repository with this model cost, newest first; only what this host has records of. */
export async function pastCosts(
  directory: string,
  wanted: { repository: string; model: string; most: number },
): Promise<PastCost[]> {
  const logs = createFileLogs(directory);
  const files = (await logs.list()).filter(({ sealed, bytes }) => sealed && bytes <= MAX_BYTES).slice(0, MAX_FILES);
  const found: PastCost[] = [];
  for (const { runId } of files) {
    if (found.length === wanted.most) break;
    const log = await logs.open(runId);
    const cost = log === null ? undefined : await costOf(log, wanted);
    if (cost !== undefined) found.push({ runId, cost });
  }
  return found;
}

async function costOf(log: FileLog, wanted: { repository: string; model: string }): Promise<number | undefined> {
  const reader = createAuditReader();
  let ours = false;
  let cost: number | undefined;
  for await (const { bytes } of log.read('0')) {
    for (const { type, data } of reader.feed(bytes)) {
      if (type === 'run.manifest') {
        const repository = textAt(data, 'spec', 'repository')?.toLowerCase();
        if (repository !== wanted.repository.toLowerCase() || textAt(data, 'spec', 'model') !== wanted.model)
          return undefined;
        ours = true;
      }
      const usage: unknown = type === 'run.end' ? data['usage'] : undefined;
      if (typeof usage === 'object' && usage !== null && 'cost' in usage && typeof usage.cost === 'number') {
        cost = usage.cost;
      }
    }
    // The manifest is among the first lines; workers' own logs have none.
    if (!ours && reader.reading().lines > 50) return undefined;
  }
  return ours && cost !== undefined && cost > 0 ? cost : undefined;
}
