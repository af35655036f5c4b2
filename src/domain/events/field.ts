import { z } from 'zod';
import { classed } from './data-class.ts';

/*
 * Fields that several events share. A key that is one of OpenTelemetry's is written as there (`process.pid`,
 * `network.peer.address`); where ours is older or shorter, `as` says the convention's name, and the JSON Schema carries it as
 * `x-opentelemetry`.
 */

/** The field under its name in OpenTelemetry's semantic conventions. */
export function as<T extends z.ZodType>(opentelemetry: string, schema: T): T {
  return schema.meta({ 'x-opentelemetry': opentelemetry });
}

/** Words, whoever wrote them. */
export const Text = classed('text', z.string());
/** What the host or GitHub named; what a sandbox may choose freely is `Text`. */
export const Id = classed('id', z.string());
export const Host = classed('host', z.string());
export const UrlPath = as('url.path', classed('url', z.string()));
/** Of a request from the sandbox, which may call it anything. */
export const Method = as('http.request.method', Text);
export const Arguments = as('process.command_args', classed('argv', z.array(z.string())));
export const Command = classed('command', z.string());
/** An object of another schema. */
export const Whole = classed('record', z.record(z.string(), z.unknown()));
export const Count = z.number().int().nonnegative();
export const Micro = Count.describe('Millionths of a US dollar');
export const Ms = z.number().nonnegative().describe('Milliseconds');
export const Role = Id.describe('Which sandbox of the run: agent, verify or exec');
export const Commit = classed('hash', z.string().regex(/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/));
export const Sha256 = classed('hash', z.string().regex(/^sha256:[0-9a-f]{64}$/));

/** What a run used. */
export const Spent = z.strictObject({
  cost: Micro,
  turns: Count,
  inputTokens: as('gen_ai.usage.input_tokens', Count),
  outputTokens: as('gen_ai.usage.output_tokens', Count),
});

/** An error as people see it. */
export const Failure = z.looseObject({ code: Id, message: Text });
