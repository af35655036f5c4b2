/**
 * What the worker and the gateway process of a run say to each other. Trust: the child faces hostile bytes and may be
 * taken over, so the worker checks every message against these schemas and ends a child that says anything else.
 */
import { z } from 'zod';
import { AuditEntry } from '../domain/audit.ts';
import { LlmReserve, LlmReserveAnswer, LlmSettleAnswer, LlmSettlement } from '../gateway/llm/port.ts';

/** Larger messages end the child: nothing that it has to say needs more. */
export const MAX_MESSAGE_BYTES = 1_048_576;

const Id = z.number().int().nonnegative();
const Text = z.string().max(65_536);

const EgressFact = z.strictObject({
  host: z.string().max(512),
  port: z.number().int(),
  allow: z.boolean(),
  reason: z.string().max(64).optional(),
  count: z.number().int().nonnegative(),
  bytesIn: z.number().nonnegative(),
  bytesOut: z.number().nonnegative(),
});

export const AgentMessageShape = z.union([
  z.strictObject({ kind: z.enum(['text', 'thought']), text: Text }),
  z.strictObject({
    kind: z.literal('tool'),
    id: Text,
    title: Text,
    status: z.string().max(64),
    toolKind: z.string().max(64).optional(),
  }),
  z.strictObject({
    kind: z.literal('plan'),
    entries: z.array(z.strictObject({ content: Text, status: z.string().max(64) })).max(200),
  }),
]);

const Outcome = z.strictObject({ stop: z.string().max(64), summary: Text, error: Text.optional() });

/** From the gateway process to the worker. */
export const FromGateway = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('failed'), message: Text }),
  z.strictObject({ type: z.literal('audit'), id: Id, entry: AuditEntry }),
  z.strictObject({ type: z.literal('reserve'), id: Id, call: LlmReserve }),
  z.strictObject({ type: z.literal('settle'), id: Id, settlement: LlmSettlement }),
  z.strictObject({ type: z.literal('egress'), entries: z.array(EgressFact).max(2000) }),
  z.strictObject({ type: z.literal('message'), message: AgentMessageShape }),
  z.strictObject({ type: z.literal('outcome'), outcome: Outcome }),
  z.strictObject({ type: z.literal('closed'), entries: z.array(EgressFact).max(2000) }),
]);
export type FromGateway = z.infer<typeof FromGateway>;

/** From the worker to the gateway process; `id` answers a question of the child. */
export const ToGateway = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('open'),
    socketPath: z.string(),
    /** Dropped to after the socket is bound; absent when the worker is not root. */
    uid: z.number().int().positive().optional(),
    /** Checked by the gateway's own lint. */
    policy: z.looseObject({}),
    git: z.record(z.string(), z.string()),
    ca: z.string().optional(),
    llm: z
      .strictObject({
        providers: z.array(z.looseObject({})),
        models: z.array(z.string()),
        prices: z.looseObject({}),
        runHash: z.string(),
      })
      .optional(),
  }),
  z.strictObject({ type: z.literal('audited'), id: Id, ok: z.boolean() }),
  z.strictObject({ type: z.literal('reserved'), id: Id, answer: LlmReserveAnswer }),
  z.strictObject({ type: z.literal('settled'), id: Id, answer: LlmSettleAnswer }),
  z.strictObject({ type: z.literal('agent'), agent: z.string(), cwd: z.string(), prompt: z.string() }),
  z.strictObject({ type: z.literal('cancelAgent') }),
  z.strictObject({ type: z.literal('closeModel') }),
  z.strictObject({ type: z.literal('close') }),
]);
export type ToGateway = z.infer<typeof ToGateway>;

/** The file descriptor on which the agent's standard streams come to the child. */
export const AGENT_FD = 4;
