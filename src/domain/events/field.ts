import { z } from 'zod';

/*
 * Fields that several events share. A key that is one of OpenTelemetry's is written as there (`process.pid`,
 * `network.peer.address`); where ours is older or shorter, `as` says the convention's name, and the JSON Schema carries it as
 * `x-opentelemetry`.
 */

/** The field under its name in OpenTelemetry's semantic conventions. */
export function as<T extends z.ZodType>(opentelemetry: string, schema: T): T {
  return schema.meta({ 'x-opentelemetry': opentelemetry });
}

export const Count = z.number().int().nonnegative();
export const Micro = Count.describe('Millionths of a US dollar');
export const Ms = z.number().nonnegative().describe('Milliseconds');
export const Role = z.string().describe('Which sandbox of the run: agent, verify or exec');
export const Commit = z.string().regex(/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/);
export const Sha256 = z.string().regex(/^sha256:[0-9a-f]{64}$/);
export const Why = z.string();

/** What a run used. */
export const Spent = z.strictObject({
  cost: Micro,
  turns: Count,
  inputTokens: as('gen_ai.usage.input_tokens', Count),
  outputTokens: as('gen_ai.usage.output_tokens', Count),
});

/** An error as people see it. */
export const Failure = z.looseObject({ code: z.string(), message: z.string() });
