import type { AuditEntry } from '../../src/domain/audit.ts';
import type { EventType } from '../../src/domain/events/events.ts';
import { BEGINNING, ENDING, openLog, type Directory } from './run-log.ts';

/** How often each kind of event is in the middle of a big run, of 100. */
const HOSTS = 5_000;

function host(type: EventType, data: Record<string, unknown>, decision?: AuditEntry['decision']): AuditEntry {
  return { zone: 'gateway', type, data, ...(decision === undefined ? {} : { decision }) };
}

function said(type: EventType, data: Record<string, unknown>): AuditEntry {
  return { zone: 'gateway', source: 'sandbox', type, data };
}

/** The n-th event of a run in which everything is much: words, tools, hosts, model calls, processes. */
function nth(n: number): AuditEntry {
  const id = `id${n}`;
  const word = `<b>"${n % 97}"</b> `;
  switch (n % 20) {
    case 0:
      return said('agent.text', { kind: 'text', text: word.repeat(270) });
    case 1:
      return said('agent.thought', { kind: 'thought', text: word.repeat(270) });
    case 2:
    case 3: {
      const tool = { kind: 'tool', id: `t${n - (n % 2)}`, title: `tool ${n}`, toolKind: 'execute' };
      return n % 20 === 2
        ? said('agent.tool', { ...tool, status: 'in_progress', input: word.repeat(270) })
        : said('agent.tool', { ...tool, status: 'completed', output: word.repeat(540) });
    }
    case 4:
    case 5:
      return host(
        'egress.connect',
        { host: `h${n % HOSTS}.example`, port: 443, addresses: ['203.0.113.80'], tls: 'passed' },
        { allow: true, rule: `rule ${n % 300}` },
      );
    case 6:
    case 7:
      return host(
        'egress.connect',
        { host: `no${n % HOSTS}.example`, port: 443 },
        { allow: false, rule: 'default', reason: 'not_allowed' },
      );
    case 8:
      return host('egress.end', { host: `h${n % HOSTS}.example`, port: 443, bytesIn: n, bytesOut: 7, ms: 1 });
    case 9:
      return {
        zone: 'worker',
        type: 'verify.command',
        data: { command: `npm run test-${n}`, exitCode: n % 3, durationMs: n, tail: word.repeat(1_000) },
      };
    case 10:
      return {
        zone: 'worker',
        type: 'process.start',
        data: {
          role: 'agent',
          'process.command_args': ['/bin/sh', '-c', word.repeat(60), id],
          'process.user': 'agent',
        },
      };
    default:
      return {
        zone: 'worker',
        source: 'sandbox',
        type: 'process.start',
        data: {
          role: 'agent',
          'process.pid': n,
          'process.parent_pid': n % 7 === 0 ? 1 : n - 1,
          'process.command_args': ['node', `${word}${id}`],
        },
      };
  }
}

/** A sealed run of about so many events, through the real writer. */
export async function bigLog(dir: Directory, events: number): Promise<string> {
  const log = await openLog(dir);
  const all = function* (): Generator<AuditEntry> {
    yield* BEGINNING;
    for (let n = 0; n < events; n += 1) yield nth(n);
    yield* ENDING;
  };
  let batch: Promise<void>[] = [];
  for (const entry of all()) {
    batch.push(log.put(entry));
    if (batch.length < 500) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
  await log.seal();
  return log.file;
}
