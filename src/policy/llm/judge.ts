import type { Decision, DenyReason } from '../../domain/decision.ts';
import { allow, deny } from '../../domain/decision.ts';
import type { Wire } from '../../domain/policy.ts';
import { inputBound } from './bound.ts';
import { isJsonObject, parseJsonObject } from './json.ts';
import type { JsonObject } from './json.ts';
import { findPrice } from './prices.ts';
import type { PriceRow, PriceTable } from './prices.ts';
import { route } from './route.ts';
import type { Routed } from './route.ts';
import { apply } from './rules.ts';
import type { Findings } from './rules.ts';
import { anthropic } from './wires/anthropic.ts';

/*
 * Faces requests that the agent wrote: nothing of them is forwarded but what the tables in `wires/` name, after
 * validation and written anew. Pure: no clock, no sockets.
 */

/** What the operator allows a run to ask of one provider. */
export interface LlmRules {
  provider: string;
  wire: Wire;
  /** Patterns of model names, `*` for any characters; matched against `model` and `provider/model`. */
  models: readonly string[];
  prices: PriceTable;
  /** The one model that answers at the provider's address, whatever a request names. */
  bound?: string | undefined;
  /** Most output tokens of one call. */
  maxOutput: number;
  maxBodyBytes: number;
  /** The name that a chat server knows for its output limit, when the request has none. */
  outputField: 'max_tokens' | 'max_completion_tokens';
  /** Stands for user ids, cache keys and their kin. */
  runHash: string;
}

export interface LlmRequest {
  method: string;
  /** Path below the provider, with its query. */
  path: string;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  /** As it is without its content encoding. */
  body: Uint8Array;
}

/** A request that may go on, and what it can cost. */
export interface LlmCall {
  kind: 'call' | 'count';
  wire: Wire;
  model: string;
  row: PriceRow;
  stream: boolean;
  /** Offers tools: a step of the agent's work. The others ask for titles and summaries. */
  main: boolean;
  /** Path and query below the provider's version. */
  path: string;
  headers: Record<string, string>;
  body: JsonObject;
  found: Findings;
  /** Output limit as forwarded unless the budget lowers it. */
  output: number;
  /** Values of beta headers that were left out. */
  droppedBetas: string[];
}

export type Judged =
  | { decision: Decision & { allow: true }; call: LlmCall }
  | { decision: Decision & { allow: true }; models: true; model: string | undefined }
  | { decision: Decision & { allow: false }; say: string };

/** Decides about one request; a refusal says in words for the agent what is not possible. */
export function judgeCall(request: LlmRequest, rules: LlmRules): Judged {
  const routed = route(rules.wire, request.method, request.path);
  if (!routed.ok) return refused(routed.reason, 'llm.endpoint', routed.say);
  if (routed.endpoint.kind === 'models') {
    return { decision: allow('llm.models'), models: true, model: routed.model };
  }
  if (request.body.length > rules.maxBodyBytes) {
    return refused('too_large', 'llm.body', `the request is larger than ${rules.maxBodyBytes} bytes`);
  }
  const parsed = parseJsonObject(request.body);
  if (!parsed.ok) return refused('malformed', 'llm.body', parsed.problem);
  const model = modelOf(routed, parsed.value);
  const priced = judgeModel(model, rules);
  if (!priced.ok) return refused(priced.reason, 'llm.model', priced.say);
  return judgeBody(request, rules, { routed, body: parsed.value, row: priced.row, model: priced.model });
}

function refused(reason: DenyReason, rule: string, say: string): Judged {
  return { decision: deny(rule, reason), say };
}

function modelOf(routed: Routed & { ok: true }, body: JsonObject): string | undefined {
  if (routed.model !== undefined) return routed.model;
  const named = Object.hasOwn(body, 'model') ? body['model'] : undefined;
  return typeof named === 'string' ? named : undefined;
}

type ModelVerdict = { ok: true; model: string; row: PriceRow } | { ok: false; reason: DenyReason; say: string };

function judgeModel(model: string | undefined, rules: LlmRules): ModelVerdict {
  if (model === undefined) return { ok: false, reason: 'llm_model_not_allowed', say: 'the request names no model' };
  const shown = JSON.stringify(model.slice(0, 100));
  // A router decides about the price after the call was made.
  const plain = /^[\x21-\x7e]{1,200}$/.test(model) && !/(?:^|\/)auto$/i.test(model);
  if (!plain || !rules.models.some((pattern) => patternMatches(pattern, rules.provider, model))) {
    return { ok: false, reason: 'llm_model_not_allowed', say: `the model ${shown} is not allowed by the operator` };
  }
  // The cheapest of the allowed names would be the price of the dearest model.
  if (rules.bound !== undefined && model !== rules.bound) {
    const say = `the provider's address is that of the model ${JSON.stringify(rules.bound)}, and ${shown} was asked for`;
    return { ok: false, reason: 'llm_model_not_allowed', say };
  }
  const row = findPrice(rules.prices, rules.provider, model);
  if (row !== undefined) return { ok: true, model, row };
  return { ok: false, reason: 'llm_unpriced', say: `the model ${shown} has no price: the operator has to set one` };
}

/** Does an entry of the policy’s `llm.models` name this model, with or without its provider? */
export function patternMatches(pattern: string, provider: string, model: string): boolean {
  return wildcard(pattern, model) || wildcard(pattern, `${provider}/${model}`);
}

/** `*` stands for any characters; everything else for itself. */
export function wildcard(pattern: string, name: string): boolean {
  const parts = pattern.split('*');
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (parts.length === 1) return pattern === name;
  if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return false;
  let at = first.length;
  const end = name.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found === -1 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

interface Accepted {
  routed: Routed & { ok: true };
  body: JsonObject;
  row: PriceRow;
  model: string;
}

function judgeBody(request: LlmRequest, rules: LlmRules, accepted: Accepted): Judged {
  const { routed, row, model } = accepted;
  const { endpoint } = routed;
  const headers = judgeHeaders(request.headers, rules.wire);
  if (!headers.ok) return refused('llm_field', 'llm.headers', headers.say);
  const found: Findings = { images: 0, documents: 0, mediaBytes: 0, cache: 'none', outputs: [], stripped: [] };
  const walk = { maxOutput: rules.maxOutput, runHash: rules.runHash, found };
  const applied = apply(endpoint.body ?? { do: 'object', fields: {} }, accepted.body, walk, '');
  if (!applied.ok) return refused(applied.reason, `llm.${rules.wire}`, applied.say);
  const body = applied.value;
  if (!isJsonObject(body)) return refused('malformed', 'llm.body', 'the body is not a JSON object');
  const stream = endpoint.stream ?? body['stream'] === true;
  if (endpoint.kind === 'call') complete(body, { rules, found, stream });
  const output = Math.min(rules.maxOutput, ...found.outputs.filter((o) => o.kind === 'output').map(valueOf));
  const call: LlmCall = {
    kind: endpoint.kind === 'count' ? 'count' : 'call',
    wire: rules.wire,
    model,
    row,
    stream,
    // The older name of OpenAI's chat wire for the same is `functions`.
    main: [body['tools'], body['functions']].some((offered) => Array.isArray(offered) && offered.length > 0),
    path: routed.path,
    headers: headers.headers,
    body,
    found,
    output,
    droppedBetas: headers.dropped,
  };
  limitOutput(call, output);
  return { decision: allow(`llm.${rules.wire}`), call };
}

/** What every forwarded call has, whatever the agent wrote: an output limit, usage in streams, no stored state. */
function complete(
  body: JsonObject,
  { rules, found, stream }: { rules: LlmRules; found: Findings; stream: boolean },
): void {
  const { wire, maxOutput } = rules;
  if (wire === 'openai-chat') {
    if (stream) body['stream_options'] = { include_usage: true };
    else delete body['stream_options'];
  }
  if (wire === 'openai-responses') body['store'] = false;
  if (wire === 'openai-chat' && rules.outputField === 'max_tokens') underOlderName(body, found);
  if (found.outputs.some((limit) => limit.kind === 'output')) return;
  let holder = body;
  if (wire === 'gemini') {
    const given = body['generationConfig'];
    holder = isJsonObject(given) ? given : {};
    body['generationConfig'] = holder;
  }
  const names = {
    anthropic: 'max_tokens',
    'openai-chat': rules.outputField,
    'openai-responses': 'max_output_tokens',
    gemini: 'maxOutputTokens',
  };
  holder[names[wire]] = maxOutput;
  found.outputs.push({ holder, key: names[wire], kind: 'output', min: 1 });
}

/** A server that does not know the newer name passes over it, and over the limit with it. */
function underOlderName(body: JsonObject, found: Findings): void {
  const newer = found.outputs.find(({ holder, key }) => holder === body && key === 'max_completion_tokens');
  if (newer === undefined) return;
  const older = found.outputs.find(({ holder, key }) => holder === body && key === 'max_tokens');
  const limit = Math.min(valueOf(newer), ...(older === undefined ? [] : [valueOf(older)]));
  delete body['max_completion_tokens'];
  body['max_tokens'] = limit;
  found.outputs = found.outputs.filter((one) => one !== newer && one !== older);
  found.outputs.push({ ...newer, key: 'max_tokens' });
}

function valueOf({ holder, key }: Findings['outputs'][number]): number {
  return Number(holder[key]);
}

/** Lowers every output limit of a call to `output` tokens, and what lies within it to one less. */
export function limitOutput(call: LlmCall, output: number): void {
  for (const { holder, key, kind, min } of call.found.outputs) {
    const value = Number(holder[key]);
    holder[key] = kind === 'output' ? Math.min(value, output) : Math.min(value, Math.max(min, output - 1));
  }
  call.output = Math.min(call.output, output);
}

/** Upper bound of the input tokens of a call whose serialised body has so many bytes. */
export function callInputBound(call: LlmCall, bytes: number): number {
  return inputBound({ wire: call.wire, bytes, found: call.found, tools: call.main });
}

type Headers = { ok: true; headers: Record<string, string>; dropped: string[] } | { ok: false; say: string };

/** The headers that go on are written here; the agent's are read only for what the tables allow. */
function judgeHeaders(given: LlmRequest['headers'], wire: Wire): Headers {
  const encoding = single(given['content-encoding']);
  // Gzip was unpacked before.
  if (encoding !== undefined && encoding !== 'identity' && encoding !== 'gzip')
    return {
      ok: false,
      say: `requests in ${JSON.stringify(encoding.slice(0, 32))} are not read: send gzip or identity`,
    };
  const type = single(given['content-type'])?.split(';')[0]?.trim().toLowerCase();
  if (type !== undefined && type !== 'application/json') return { ok: false, say: 'requests must be application/json' };
  if (wire !== 'anthropic') return { ok: true, headers: {}, dropped: [] };
  const version = single(given['anthropic-version']) ?? '2023-06-01';
  if (version !== '2023-06-01') return { ok: false, say: `API version ${JSON.stringify(version)} is not known` };
  const asked = [given['anthropic-beta']].flat().flatMap((value) => (value ?? '').split(','));
  const betas = [...new Set(asked.map((beta) => beta.trim()).filter((beta) => beta !== ''))];
  const kept = betas.filter((beta) => anthropic.betas.includes(beta));
  return {
    ok: true,
    headers: { 'anthropic-version': version, ...(kept.length > 0 ? { 'anthropic-beta': kept.join(',') } : {}) },
    dropped: betas.filter((beta) => !kept.includes(beta)),
  };
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value;
}
