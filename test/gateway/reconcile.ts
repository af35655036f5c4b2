import type { Internet } from '../../src/attack/internet.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';

const text = (value: unknown): string => (typeof value === 'string' || typeof value === 'number' ? String(value) : '');

/**
 * AUD-015: where the books of the outside and the record do not agree. Every address that was dialled, and every one that has
 * bytes, needs an allow for it; every allowed connection needs its end, and one that was passed through unread its bytes, as many
 * as arrived. Called when the gateway is closed.
 */
export function unreconciled(internet: Internet, events: readonly AuditEntry[]): string[] {
  const allows = events
    .filter(({ type, decision }) => decision?.allow === true && type.startsWith('egress.') && type !== 'egress.name')
    .map(({ data = {} }) => ({
      host: text(data['host']),
      port: text(data['port']),
      addresses: Array.isArray(data['addresses']) ? data['addresses'].map(text) : [],
      passed: data['tls'] === 'passed',
    }));
  const problems: string[] = [];
  for (const at of new Set([...internet.dials, ...internet.kept()])) {
    const [, address, port] = /^\[?(.*?)\]?:(\d+)$/.exec(at) ?? [];
    if (address === undefined) continue;
    // A request to a plain port is judged by its host; its addresses are not on its line.
    const may = allows.some(
      (one) => one.port === port && (one.addresses.length === 0 || one.addresses.includes(address)),
    );
    if (!may) problems.push(`${at} was reached without an allow in the record`);
  }
  for (const { host, port, addresses } of allows.filter(({ passed }) => passed)) {
    const places = addresses.map((address) => `${address}:${port}`).filter((at) => internet.raw.has(at));
    const others = allows.some(
      (one) => one.host !== host && one.addresses.some((address) => addresses.includes(address)),
    );
    if (places.length === 0 || others) continue;
    const ends = events.filter(
      ({ type, data }) => type === 'egress.end' && data?.['host'] === host && text(data['port']) === port,
    );
    const told = ends.reduce((sum, { data }) => sum + Number(data?.['bytesOut']), 0);
    const arrived = [...new Set(places)].reduce((sum, at) => sum + internet.sink(at).length, 0);
    if (told < arrived) problems.push(`${host}:${port}: ${told} bytes in the record, ${arrived} arrived`);
  }
  return [...new Set([...problems, ...withoutEnd(events)])];
}

/** Places that have more allowed connections than ends; a request on the gateway's own socket has an end without one. */
export function withoutEnd(events: readonly (Pick<AuditEntry, 'data' | 'decision'> & { type: string })[]): string[] {
  const open = new Map<string, number>();
  for (const { type, data = {}, decision } of events) {
    const at = `${text(data['host'])}:${text(data['port'])}`;
    if (type === 'egress.connect' && decision?.allow === true) open.set(at, (open.get(at) ?? 0) + 1);
    if (type === 'egress.end') open.set(at, (open.get(at) ?? 0) - 1);
  }
  return [...open].filter(([, left]) => left > 0).map(([at, left]) => `${at}: ${left} connections without an end`);
}
