import type { Wire } from '../../domain/policy.ts';
import { isJsonObject } from './json.ts';
import type { Json, JsonObject } from './json.ts';
import type { TokenUsage } from './prices.ts';

/*
 * A provider's own usage, in each wire's words. The provider is trusted for what it charges, but not for form: a number
 * that is negative, a string, not whole, or a part larger than its whole makes the usage odd, and odd counts as missing.
 */

/** The usage object → tokens; undefined when it is missing or odd. */
export function readUsage(wire: Wire, usage: Json | undefined): TokenUsage | undefined {
  if (!isJsonObject(usage)) return undefined;
  if (wire === 'anthropic') return anthropicUsage(usage);
  if (wire === 'openai-chat') return inclusive(usage, OPENAI_CHAT);
  return wire === 'openai-responses' ? inclusive(usage, OPENAI_RESPONSES) : geminiUsage(usage);
}

/** Cache tokens are told beside `input_tokens`, not within. */
function anthropicUsage(usage: JsonObject): TokenUsage | undefined {
  const input = whole(usage['input_tokens']);
  const output = whole(usage['output_tokens']);
  const cacheRead = whole(usage['cache_read_input_tokens'], 0);
  const written = whole(usage['cache_creation_input_tokens'], 0);
  const parts = usage['cache_creation'] ?? null;
  const forHour = isJsonObject(parts) ? whole(parts['ephemeral_1h_input_tokens'], 0) : 0;
  if (input === undefined || output === undefined || cacheRead === undefined) return undefined;
  if (written === undefined || forHour === undefined || forHour > written) return undefined;
  return { input, cacheRead, cacheWrite: written - forHour, cacheWrite1h: forHour, output };
}

interface Names {
  input: string;
  details: string;
  output: string;
}
const OPENAI_CHAT: Names = { input: 'prompt_tokens', details: 'prompt_tokens_details', output: 'completion_tokens' };
const OPENAI_RESPONSES: Names = { input: 'input_tokens', details: 'input_tokens_details', output: 'output_tokens' };

/** Cache tokens are a part of the input. Some servers leave reasoning out of the output: the total has it. */
function inclusive(usage: JsonObject, names: Names): TokenUsage | undefined {
  const all = whole(usage[names.input]);
  const output = whole(usage[names.output]);
  const details = usage[names.details] ?? null;
  const cacheRead = isJsonObject(details) ? whole(details['cached_tokens'], 0) : 0;
  const cacheWrite = isJsonObject(details) ? whole(details['cache_write_tokens'], 0) : 0;
  if (all === undefined || output === undefined || cacheRead === undefined || cacheWrite === undefined)
    return undefined;
  const total = whole(usage['total_tokens'], 0);
  if (total === undefined || cacheRead + cacheWrite > all) return undefined;
  return {
    input: all - cacheRead - cacheWrite,
    cacheRead,
    cacheWrite,
    cacheWrite1h: 0,
    output: Math.max(output, total - all),
  };
}

/** Fields that are zero are left out; thoughts are billed as output. */
function geminiUsage(usage: JsonObject): TokenUsage | undefined {
  const prompt = whole(usage['promptTokenCount']);
  const tools = whole(usage['toolUsePromptTokenCount'], 0);
  const cacheRead = whole(usage['cachedContentTokenCount'], 0);
  const answer = whole(usage['candidatesTokenCount'], 0);
  const thoughts = whole(usage['thoughtsTokenCount'], 0);
  if (prompt === undefined || tools === undefined || cacheRead === undefined) return undefined;
  const total = whole(usage['totalTokenCount'], 0);
  if (answer === undefined || thoughts === undefined || total === undefined || cacheRead > prompt) return undefined;
  const output = Math.max(answer + thoughts, total - prompt - tools);
  return { input: prompt - cacheRead + tools, cacheRead, cacheWrite: 0, cacheWrite1h: 0, output };
}

/**
 * What the provider says that it charged, in micro-dollars: aggregators tell it in dollars beside the tokens, since their
 * price depends on where they sent the call. Undefined where it is not told, or odd.
 */
export function readCharge(wire: Wire, usage: Json | undefined): number | undefined {
  if (!wire.startsWith('openai-') || !isJsonObject(usage)) return undefined;
  const dollars = usage['cost'];
  if (typeof dollars !== 'number' || !Number.isFinite(dollars) || dollars < 0) return undefined;
  // A floating-point sum may lie a hair above the whole number that it stands for.
  return Math.min(Math.ceil(Number((dollars * 1e6).toFixed(3))), Number.MAX_SAFE_INTEGER);
}

/** A whole number of tokens; `absent` stands in for a missing or null one. */
function whole(value: Json | undefined, absent?: number): number | undefined {
  if (value === undefined || value === null) return absent;
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= 1e12 ? value : undefined;
}
