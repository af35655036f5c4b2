/**
 * Everything that the gateway decides goes through here: to the audit (awaited, before the decision takes effect) and into
 * the run's summary. Repeated denials are counted and written as counts, so that a flood inside the sandbox is not a flood
 * on the host's disk, and no denial is lost.
 */
import type { AuditEntry } from '../domain/audit.ts';
import type { Decision } from '../domain/decision.ts';
import type { EventType } from '../domain/events/events.ts';
import type { EgressEntryFact } from '../domain/run.ts';
import { classOf, wouldAllow } from '../policy/egress/report.ts';
import type { GatewayLimits } from './limits.ts';

/** Where something goes, or was meant to go. Port 0 for a look-up and for what could not be read. */
export interface Destination {
  host: string;
  port: number;
}

export interface Judged {
  /** `egress.name`, `egress.connect`, `egress.tls`, `egress.request`, `git.request`, … */
  type: EventType;
  /** Canonical host, or what was asked, neutralised and cut. */
  host: string;
  /** 0 for a look-up. */
  port: number;
  decision: Decision;
  data?: Record<string, unknown>;
}

export interface Recorder {
  /** Resolves when the record is written. Rejects when it cannot be: then nothing may go on. */
  judged(judged: Judged): Promise<void>;
  /** Something that is not a yes/no: a tunnel's end, a limit reached. Not awaited by its cause. */
  note(type: EventType, data: Record<string, unknown>): void;
  traffic(at: { host: string; port: number }, bytes: { in: number; out: number }): void;
  egress(): EgressEntryFact[];
  /** Writes the counts of repeated denials that have grown since the last call, and waits for every note before it. */
  flush(): Promise<void>;
}

const MAX_ENTRIES = 1000;
const OTHER = '(other)';

interface Repeat {
  judged: Judged;
  count: number;
  written: number;
}

export function createRecorder(options: {
  append: (entry: AuditEntry) => Promise<void>;
  limits: Pick<GatewayLimits, 'distinctDenials'>;
  onChange?: () => void;
}): Recorder {
  const entries = new Map<string, EgressEntryFact>();
  const repeats = new Map<string, Repeat>();
  const notes = new Set<Promise<void>>();

  function entryOf(at: { host: string; port: number }, allow: boolean, reason?: string): EgressEntryFact {
    const key = `${at.host}|${at.port}|${reason ?? allow}`;
    const known = entries.get(key);
    if (known) return known;
    // The last places are kept for what cannot be named any more, one for each reason.
    if (entries.size >= MAX_ENTRIES && at.host !== OTHER)
      return entryOf({ host: OTHER, port: at.port === 0 ? 0 : 1 }, allow, reason);
    const fresh = {
      host: at.host,
      port: at.port,
      allow,
      ...(reason === undefined ? {} : { reason }),
      count: 0,
      bytesIn: 0,
      bytesOut: 0,
    };
    entries.set(key, fresh);
    return fresh;
  }

  /** The counter of this denial; a full table counts by type and reason only. */
  function repeatOf(judged: Judged & { decision: { allow: false } }): Repeat {
    const { type, host, port, decision, data } = judged;
    // Each thing that was asked for is told once, with what was asked; only its repeats are counted.
    const { method = '', path = '' } = (data ?? {}) as { method?: string; path?: string };
    const key = [type, host, port, decision.reason, decision.rule, method, path].join('|');
    const known = repeats.get(key);
    if (known) return known;
    const full = repeats.size >= options.limits.distinctDenials;
    if (full && host !== OTHER)
      return repeatOf({ type, host: OTHER, port: 0, decision: { ...decision, rule: 'aggregate' } });
    const fresh: Repeat = { judged: full ? { type, host, port, decision } : judged, count: 0, written: 0 };
    repeats.set(key, fresh);
    return fresh;
  }

  async function judged(told: Judged): Promise<void> {
    // Who asks for the name of the counters gets a counter like everybody else.
    const judgement = told.host === OTHER ? { ...told, host: `"${OTHER}"` } : told;
    const { decision } = judgement;
    // A look-up that was allowed is not traffic yet.
    if (!decision.allow || judgement.port !== 0)
      entryOf(judgement, decision.allow, decision.allow ? undefined : decision.reason).count += 1;
    options.onChange?.();
    if (decision.allow) return options.append(entry(judgement));
    const repeat = repeatOf({ ...judgement, decision });
    repeat.count += 1;
    if (repeat.count > 1) return;
    repeat.written = 1;
    await options.append(entry(explained(repeat.judged, decision)));
  }

  async function flush(): Promise<void> {
    await Promise.all(notes);
    for (const repeat of repeats.values()) {
      const more = repeat.count - repeat.written;
      if (more === 0) continue;
      repeat.written = repeat.count;
      const { type, host, port, decision, data } = repeat.judged;
      const { method, path } = (data ?? {}) as { method?: string; path?: string };
      const asked = { ...(method === undefined ? {} : { method }), ...(path === undefined ? {} : { path }) };
      await options.append({
        zone: 'gateway',
        type: 'egress.repeated',
        decision,
        data: { of: type, host, port, ...asked, more, count: repeat.count },
      });
    }
  }

  return {
    judged,
    flush,
    note: (type, data) => {
      // A note that cannot be written ends nothing: the next decision fails closed on its own record.
      const noted = options.append({ zone: 'gateway', type, data }).catch(() => undefined);
      notes.add(noted);
      void noted.then(() => notes.delete(noted));
    },
    traffic: (at, bytes) => {
      const found = entryOf(at, true);
      found.bytesIn += bytes.in;
      found.bytesOut += bytes.out;
      options.onChange?.();
    },
    egress: () => [...entries.values()].map((found) => ({ ...found })),
  };
}

/** With what kind of denial it is, and the line of policy that would allow it. */
function explained(judged: Judged, decision: Decision & { allow: false }): Judged {
  const { host, port, data } = judged;
  const asked = { host, port, ...(data as { method?: string; path?: string } | undefined) };
  const line = host === OTHER ? undefined : wouldAllow(asked, decision);
  return {
    ...judged,
    data: {
      ...data,
      class: classOf(asked, decision.reason),
      ...(line === undefined ? {} : { wouldAllow: line }),
    },
  };
}

function entry(judged: Judged): AuditEntry {
  const { type, host, port, decision, data } = judged;
  return { zone: 'gateway', type, decision, data: { host, ...(port === 0 ? {} : { port }), ...data } };
}

/** What a hostile client sent, for a record: printable ASCII, everything else escaped, cut. */
export function printable(raw: string, length = 128): string {
  const cut = raw.length > length ? `${raw.slice(0, length)}…` : raw;
  return cut.replace(/[^\x20-\x7e…]|\\/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
