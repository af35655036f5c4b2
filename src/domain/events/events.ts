import { z } from 'zod';
import { GATEWAY_EVENTS } from './gateway.ts';
import { AGENT_EVENTS, MODEL_EVENTS } from './model.ts';
import { PROCESS_EVENTS } from './process.ts';
import { RESULT_EVENTS, RUN_EVENTS, SANDBOX_EVENTS } from './run.ts';
import { TRIGGER_EVENTS } from './trigger.ts';

/**
 * Every class of event and the schema of its `data`. One that is not here cannot be written. The data's schemas do not
 * stand in the way of the record at run time: tests check with them what is written.
 */
export const AUDIT_EVENTS = {
  ...RUN_EVENTS,
  ...SANDBOX_EVENTS,
  ...PROCESS_EVENTS,
  ...GATEWAY_EVENTS,
  ...MODEL_EVENTS,
  ...AGENT_EVENTS,
  ...RESULT_EVENTS,
  ...TRIGGER_EVENTS,
} satisfies Record<string, z.ZodType>;

/** `<noun>.<verb>`; the noun is the room. */
export type EventType = keyof typeof AUDIT_EVENTS;

export const EVENT_TYPES = Object.keys(AUDIT_EVENTS) as [EventType, ...EventType[]];

/** Stands in for the data of an event that was larger than a line may be. */
const Truncated = z.strictObject({ truncated: z.literal(true), bytes: z.number(), sha256: z.string() });

/** What does not fit the event's class; null when it fits. */
export function eventProblem(event: { type: string; data?: Record<string, unknown> | undefined }): string | null {
  if (!Object.hasOwn(AUDIT_EVENTS, event.type)) return `${event.type} is no class of event`;
  const data = event.data ?? {};
  if (Truncated.safeParse(data).success) return null;
  const { error } = AUDIT_EVENTS[event.type as EventType].safeParse(data);
  return error === undefined ? null : `${event.type}: ${z.prettifyError(error)}`;
}
