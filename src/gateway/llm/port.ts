import { z } from 'zod';
import type { Decision } from '../../domain/decision.ts';
import { WIRES } from '../../domain/policy.ts';
import type { Wire } from '../../domain/policy.ts';

/*
 * What the gateway's process asks its worker about money. The schemas check what crosses the process boundary, in both
 * directions.
 */

const Micro = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const Tokens = z.number().int().nonnegative();

/** Before a call is forwarded: hold its worst case. */
export const LlmReserve = z.strictObject({
  callId: z.string().min(1).max(64),
  provider: z.string().max(32),
  wire: z.enum(WIRES),
  model: z.string().max(200),
  /** Offers tools. */
  main: z.boolean(),
  stream: z.boolean(),
  /** Micro-dollars: the worst case with the whole output limit, and with the least that is of use. */
  amount: Micro,
  atLeast: Micro,
  /** Whether the request has a place for words of the host. */
  tellable: z.boolean(),
  /** The bound is loose, and a refused call will be asked for once more with a tighter one: no word is final, nothing is waited for. */
  loose: z.boolean(),
  /** Upper bound of the input tokens, and the output limit. */
  inputTokens: Tokens,
  outputTokens: Tokens,
});
export type LlmReserve = z.infer<typeof LlmReserve>;

/** `granted` lies between `atLeast` and `amount`. */
export const LlmReserveAnswer = z.union([
  z.strictObject({
    ok: z.literal(true),
    granted: Micro,
    /** Words of the host that this request has to carry, such as "80 % of the budget is used"; only where it can. */
    notices: z.array(z.string().max(200)).max(4),
  }),
  z.strictObject({
    ok: z.literal(false),
    reason: z.enum(['llm_budget', 'llm_turns', 'llm_closed', 'llm_unaccounted', 'audit_unavailable']),
    /** For the agent to show. */
    say: z.string().max(1000),
  }),
]);
export type LlmReserveAnswer = z.infer<typeof LlmReserveAnswer>;

const LlmUsage = z.strictObject({
  input: Tokens,
  cacheRead: Tokens,
  cacheWrite: Tokens,
  cacheWrite1h: Tokens,
  output: Tokens,
});

/** After a call: what it cost, and how that is known. */
export const LlmSettlement = z.strictObject({
  callId: z.string().min(1).max(64),
  /**
   * `usage`: the provider's own. `reserved`: no usable usage, so that the reservation is charged (or the own count where
   * that is larger). `released`: certainly nothing was charged.
   */
  outcome: z.enum(['usage', 'reserved', 'released']),
  cost: Micro,
  usage: LlmUsage.optional(),
  /** HTTP status of the provider; 0 when there was no answer. */
  status: z.number().int(),
  /** The client left before the end. */
  aborted: z.boolean(),
  ms: z.number().nonnegative(),
  firstByteMs: z.number().nonnegative().optional(),
});
export type LlmSettlement = z.infer<typeof LlmSettlement>;

/** What the notices of one call can add to its body, at most. */
export const NOTICE_BYTES = 1024;

/** The worker's side. It has recorded a call durably before it answers `reserve`, and counts turns there. */
export interface LlmWorkerPort {
  reserve(call: LlmReserve): Promise<LlmReserveAnswer>;
  settle(settlement: LlmSettlement): Promise<void>;
}

/** A provider that this run may use, with its key. */
export interface LlmProvider {
  id: string;
  wires: readonly Wire[];
  baseUrl: string;
  /** Undefined for servers without authentication. */
  key?: string | undefined;
}

/** For the audit; nothing waits for it, since no effect follows. Values of keys and bodies are never in it. */
export interface LlmEvent {
  type: 'llm.refuse' | 'llm.strip' | 'llm.foreign_key' | 'llm.upstream' | 'llm.count';
  decision?: Decision;
  data: Record<string, unknown>;
}

export interface LlmHandlerLimits {
  maxBodyBytes: number;
  /** Ceiling of the output limit of one call, and the least that is worth a call when the budget is nearly used up. */
  maxOutputTokens: number;
  minOutputTokens: number;
  maxConcurrent: number;
  /** How long the rest of an answer is read after the client left, to learn its price. */
  drainMs: number;
  /** Without any byte of an answer, and between two of them. */
  firstByteMs: number;
  idleMs: number;
  /** An answer that is not streamed, and one event of a stream, are read for their usage up to here. */
  maxMeteredBytes: number;
  /** Decoded bytes for each compressed byte, once `maxMeteredBytes` are exceeded. */
  maxExpansion: number;
}

export const LLM_LIMITS: LlmHandlerLimits = {
  maxBodyBytes: 32 * 2 ** 20,
  maxOutputTokens: 64_000,
  minOutputTokens: 4_096,
  maxConcurrent: 64,
  drainMs: 10_000,
  firstByteMs: 600_000,
  idleMs: 300_000,
  maxMeteredBytes: 16 * 2 ** 20,
  maxExpansion: 200,
};
