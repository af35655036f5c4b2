import { readFile } from 'node:fs/promises';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { eventProblem } from '../../src/domain/events/events.ts';

/** The entry itself. Throws when it does not fit the schema of its class. */
export function fitting(entry: AuditEntry): AuditEntry {
  const problem = eventProblem(entry);
  if (problem !== null)
    throw new Error(`an event that does not fit its schema: ${problem} in ${JSON.stringify(entry)}`);
  return entry;
}

/** What does not fit in an audit file, line by line. A last line that was never finished is not looked at. */
export async function misfits(file: string): Promise<string[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').slice(0, -1);
  return lines.flatMap((line, at) => {
    const event = JSON.parse(line) as { type: string; data: Record<string, unknown> };
    const problem = eventProblem(event);
    return problem === null ? [] : [`line ${at + 1}, ${event.type}: ${problem} in ${JSON.stringify(event.data)}`];
  });
}
