import type { Wire } from '../../domain/policy.ts';
import { isJsonObject } from './json.ts';
import type { Json, JsonObject } from './json.ts';
import type { TokenUsage } from './prices.ts';
import { readCharge, readUsage } from './usage.ts';

/*
 * Where each wire tells its usage. Only the frame in which it belongs is read, and only a stream that came to its end
 * has told it: what stands in earlier frames is a placeholder or a running count.
 */

/** What was seen of one answer so far. */
export interface Seen {
  usage: Json | undefined;
  /** Of Anthropic: the first frame tells the input, the last the output. */
  early: JsonObject | undefined;
  ended: boolean;
  /** Bytes of text and arguments, for an own count. */
  textBytes: number;
}

export function nothingSeen(): Seen {
  return { usage: undefined, early: undefined, ended: false, textBytes: 0 };
}

/** Takes in one event of a stream; `data` is its parsed JSON. */
export function see(wire: Wire, seen: Seen, data: Json): void {
  if (!isJsonObject(data)) return;
  if (wire === 'anthropic') seeAnthropic(seen, data);
  else if (wire === 'openai-chat') seeChat(seen, data);
  else if (wire === 'openai-responses') seeResponses(seen, data);
  else seeGemini(seen, data);
}

/** Takes in an answer that was not streamed. */
export function seeWhole(wire: Wire, seen: Seen, body: Json, bytes: number): void {
  seen.textBytes = bytes;
  seen.ended = true;
  // Gemini streams a JSON list where no events were asked for.
  const last = Array.isArray(body) ? body.at(-1) : body;
  if (!isJsonObject(last)) return;
  if (wire === 'gemini') {
    seen.usage = last['usageMetadata'];
    seen.ended = finished(last);
  } else seen.usage = last['usage'];
}

/** The usage of an answer that came to its end; undefined when it did not, or when the usage is missing or odd. */
export function usageSeen(wire: Wire, seen: Seen): TokenUsage | undefined {
  return seen.ended ? readUsage(wire, seen.usage) : undefined;
}

/** What the provider says that it charged, in micro-dollars, under the same conditions. */
export function chargeSeen(wire: Wire, seen: Seen): number | undefined {
  return seen.ended ? readCharge(wire, seen.usage) : undefined;
}

function seeAnthropic(seen: Seen, data: JsonObject): void {
  switch (data['type']) {
    case 'message_start': {
      const message = data['message'];
      if (isJsonObject(message) && isJsonObject(message['usage'])) seen.early = message['usage'];
      return;
    }
    case 'content_block_delta':
      seen.textBytes += textOf(data['delta'], ['text', 'partial_json', 'thinking']);
      return;
    case 'message_delta': {
      const late = data['usage'];
      if (!isJsonObject(late)) return;
      const told = Object.entries(late).filter(([, value]) => value !== null);
      seen.usage = { ...seen.early, output_tokens: null, ...Object.fromEntries(told) };
      seen.ended = true;
      return;
    }
    default:
  }
}

function seeChat(seen: Seen, data: JsonObject): void {
  for (const choice of list(data['choices'])) {
    if (typeof choice['finish_reason'] === 'string') seen.ended = true;
    const delta = choice['delta'];
    seen.textBytes += textOf(delta, ['content', 'reasoning_content', 'reasoning', 'refusal']);
    if (!isJsonObject(delta)) continue;
    for (const call of list(delta['tool_calls'])) {
      seen.textBytes += textOf(call['function'], ['name', 'arguments']) + textOf(call['custom'], ['name', 'input']);
    }
  }
  // Some servers count in every frame: what stands before the end is less than the whole.
  if (seen.ended && data['usage'] !== undefined && data['usage'] !== null) seen.usage = data['usage'];
}

function seeResponses(seen: Seen, data: JsonObject): void {
  const type = typeof data['type'] === 'string' ? data['type'] : '';
  if (type.endsWith('.delta')) seen.textBytes += textOf(data, ['delta']);
  if (!/^response\.(?:completed|incomplete|failed)$/.test(type)) return;
  const response = data['response'];
  seen.usage = isJsonObject(response) ? response['usage'] : undefined;
  seen.ended = true;
}

function seeGemini(seen: Seen, data: JsonObject): void {
  for (const candidate of list(data['candidates'])) {
    const content = candidate['content'];
    if (!isJsonObject(content)) continue;
    for (const part of list(content['parts'])) {
      const call = part['functionCall'];
      seen.textBytes += textOf(part, ['text']) + (isJsonObject(call) ? JSON.stringify(call).length : 0);
    }
  }
  if (finished(data)) seen.ended = true;
  if (seen.ended && data['usageMetadata'] !== undefined) seen.usage = data['usageMetadata'];
}

/** Gemini names a reason when an answer is over, or why there is none. */
function finished(data: JsonObject): boolean {
  const feedback = data['promptFeedback'];
  const blocked = isJsonObject(feedback) && typeof feedback['blockReason'] === 'string';
  return blocked || list(data['candidates']).some((candidate) => typeof candidate['finishReason'] === 'string');
}

function list(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter((entry) => isJsonObject(entry)) : [];
}

function textOf(holder: Json | undefined, keys: readonly string[]): number {
  if (!isJsonObject(holder)) return 0;
  let bytes = 0;
  for (const key of keys) {
    const value = holder[key];
    if (typeof value === 'string') bytes += value.length;
  }
  return bytes;
}
