import type { Wire } from '../../domain/policy.ts';
import { isJsonObject } from './json.ts';
import type { JsonObject } from './json.ts';
import type { LlmCall } from './judge.ts';
import { WIRE_TABLES } from './route.ts';

/*
 * A tighter bound of a call's input than one token for each byte: the provider's own count, where the provider counts
 * for free. It is asked only when the byte bound does not fit the budget, since it costs a round trip.
 */

/** Providers call their counts estimates: so much more is held. Micro-dollars are settled on the real usage either way. */
const MARGIN_SHARE = 0.05;
const MARGIN_TOKENS = 1_000;

export interface CountRequest {
  /** Path and query below the provider's version. */
  path: string;
  body: JsonObject;
}

/** Has this wire an endpoint that counts? */
export function canCount(wire: Wire): boolean {
  return wire === 'anthropic' || wire === 'gemini';
}

/** The request that counts a call's input; undefined where the wire has none. */
export function countRequest(call: LlmCall): CountRequest | undefined {
  if (!canCount(call.wire)) return undefined;
  if (call.wire === 'anthropic') {
    const [path = '', query] = call.path.split('?');
    const below = `${path}/count_tokens${query === undefined ? '' : `?${query}`}`;
    return { path: below, body: pick(call.body, countedFields()) };
  }
  const generateContentRequest: JsonObject = { model: `models/${call.model}`, ...call.body };
  return { path: `/models/${call.model}:countTokens`, body: { generateContentRequest } };
}

/** The bound that a provider's answer gives; undefined when it is not an answer that tells a count. */
export function countedBound(call: LlmCall, answer: unknown): number | undefined {
  if (!isJsonObject(answer as JsonObject)) return undefined;
  const told = (answer as JsonObject)[call.wire === 'gemini' ? 'totalTokens' : 'input_tokens'];
  if (typeof told !== 'number' || !Number.isSafeInteger(told) || told < 1) return undefined;
  return Math.ceil(told * (1 + MARGIN_SHARE)) + MARGIN_TOKENS;
}

function countedFields(): readonly string[] {
  const body = WIRE_TABLES.anthropic.endpoints.find(({ kind }) => kind === 'count')?.body;
  return body?.do === 'object' ? Object.keys(body.fields) : [];
}

function pick(body: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(body).filter(([name]) => names.includes(name)));
}
