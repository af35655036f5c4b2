import type { AuditEntry } from '../../src/domain/audit.ts';
import { eventProblem } from '../../src/domain/events/events.ts';

/** The entry itself. Throws when it does not fit the schema of its class. */
export function fitting(entry: AuditEntry): AuditEntry {
  const problem = eventProblem(entry);
  if (problem !== null)
    throw new Error(`an event that does not fit its schema: ${problem} in ${JSON.stringify(entry)}`);
  return entry;
}
