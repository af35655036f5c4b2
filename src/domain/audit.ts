import { z } from 'zod';
import { RunId } from './ids.ts';
import { DENY_REASONS } from './decision.ts';
import { classed } from './events/data-class.ts';
import { EVENT_TYPES } from './events/events.ts';
import { Id, Text, Whole } from './events/field.ts';

/** Who saw it: `host` is trusted, `sandbox` is a hint from inside. */
export const AuditSource = z.enum(['host', 'sandbox']);
export type AuditSource = z.infer<typeof AuditSource>;

/** Where it happened. */
export const AuditZone = z.enum(['server', 'worker', 'gateway', 'sandbox', 'github']);
export type AuditZone = z.infer<typeof AuditZone>;

/**
 * Events whose record must be on disk (fsync) before the effect goes on. All others are written, and survive a crash of
 * any process, but a power cut may take the last 50 ms.
 */
export const DURABLE_EVENTS = [
  'run.manifest',
  'llm.reserve',
  'git.commit',
  'git.push',
  'publish.pull',
  'publish.ask',
  'publish.check_run',
  'sandbox.destroy',
  'seal',
] as const;

/** Any class, also one of another version: what a file may hold. */
const AuditType = z.string().regex(/^[a-z_]+(?:\.[a-z_]+)*$/);

export const AuditDecision = z.union([
  z.object({ allow: z.literal(true), rule: Text }),
  z.object({ allow: z.literal(false), rule: Text, reason: z.enum(DENY_REASONS) }),
]);

/** One line of the audit file, without the chain's own fields. */
export const AuditEntry = z.object({
  zone: AuditZone,
  source: AuditSource.default('host'),
  type: z.enum(EVENT_TYPES),
  decision: AuditDecision.optional(),
  data: z.record(z.string(), z.unknown()).default({}),
});
export type AuditEntry = z.input<typeof AuditEntry>;

/** One line of the audit file. `prev` is the SHA-256 of the line before, exact bytes without the newline; 64 zeros for the first. */
export const AuditEvent = z.object({
  seq: z.number().int().nonnegative(),
  prev: classed('hash', z.string().regex(/^[0-9a-f]{64}$/)),
  /** Wall clock, ISO 8601 with milliseconds. */
  at: Id,
  /** Monotonic milliseconds since the log was opened. */
  mono: z.number(),
  runId: classed('id', RunId),
  zone: AuditZone,
  source: AuditSource,
  type: classed('id', AuditType),
  decision: AuditDecision.optional(),
  data: Whole,
});
export type AuditEvent = z.infer<typeof AuditEvent>;
