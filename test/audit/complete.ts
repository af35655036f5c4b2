import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createIntents } from '../../src/audit/intents.ts';
import { readAuditFile } from '../../src/audit/read.ts';
import { publicKeyFile } from '../../src/audit/seal.ts';
import { verifyAuditFile } from '../../src/audit/verify.ts';
import type { AuditEvent } from '../../src/domain/audit.ts';
import { withoutEnd } from '../gateway/reconcile.ts';
import { misfits } from './fits.ts';

/**
 * AUD-015: what is wrong with the records below a data directory after a suite: events that fit no schema, a file that is not as
 * it was written, an effect without an outcome that the record does not call unknown, an allowed connection without its end. `answered`: model calls that the
 * provider's own books have as answered; each has one settled line, and the other way round.
 */
export async function incomplete(dataDir: string, answered?: number): Promise<string[]> {
  const directory = join(dataDir, 'audit');
  const key = await readFile(publicKeyFile(dataDir), 'utf8');
  const problems: string[] = [];
  let settled = 0;
  const names = (await readdir(directory)).filter((name) => name.endsWith('.jsonl'));
  if (names.length === 0) problems.push('there is no audit file');
  for (const name of names) {
    const file = join(directory, name);
    const say = (what: string): number => problems.push(`${name}: ${what}`);
    (await misfits(file)).forEach(say);
    const { verdict, problem } = await verifyAuditFile({ file, key });
    // The worker's own file is open while it runs.
    if (verdict !== 'valid' && verdict !== 'unsealed') say(`${verdict}, ${problem?.message ?? ''}`);
    const events = await eventsOf(file);
    settled += events.filter(({ type, data }) => type === 'llm.settle' && data['status'] === 200).length;
    if (verdict !== 'valid') continue;
    // A gateway or a worker that was killed told nothing more.
    if (!events.some(({ type }) => type === 'gateway.lost' || type === 'run.recover')) withoutEnd(events).forEach(say);
    const intents = createIntents();
    events.forEach((event) => intents.take(event));
    const told = events.find(({ type }) => type === 'run.recover')?.data['unknown'] ?? [];
    if (JSON.stringify(intents.open()) !== JSON.stringify(told))
      say(`without outcome: ${JSON.stringify(intents.open())}, told as unknown: ${JSON.stringify(told)}`);
  }
  if (answered !== undefined && settled !== answered)
    problems.push(`${settled} model calls settled in the record, ${answered} answered by the provider`);
  return problems;
}

async function eventsOf(file: string): Promise<AuditEvent[]> {
  const all: AuditEvent[] = [];
  for await (const { events } of readAuditFile(file)) all.push(...events);
  return all;
}
