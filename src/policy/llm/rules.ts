import type { DenyReason } from '../../domain/decision.ts';
import { isJsonObject } from './json.ts';
import type { Json, JsonObject } from './json.ts';

/**
 * What happens to one field of a request. The tables in `wires/` are made of these; what no table names is refused.
 * Rules are data: they never look at other fields. What needs several fields is in `judge.ts`.
 */
export type Rule =
  | { do: 'forward'; type: 'text' | 'flag' | 'number' | 'json' }
  | { do: 'one'; values: readonly string[] }
  | { do: 'clamp'; min: number; max: number }
  /** An output limit: at most what the gateway grants; noted, so that it can be lowered again once the budget is known. */
  | { do: 'output' }
  /** A part of the output limit, as a thinking budget. */
  | { do: 'withinOutput'; min: number }
  | { do: 'strip' }
  /** A name that the agent gives itself or its user, replaced by a hash of the run. */
  | { do: 'runHash' }
  | { do: 'must'; value: boolean; reason: DenyReason; say: string }
  | { do: 'refuse'; reason: DenyReason; say: string }
  | { do: 'object'; fields: Readonly<Record<string, Rule>> }
  | { do: 'list'; of: Rule }
  /** By the value of a field, such as `type`. `absent` is the rule's name when the field is not there. */
  | { do: 'by'; field: string; absent?: string; cases: Readonly<Record<string, Rule>>; other: Rule & { do: 'refuse' } }
  /** By the kind of JSON value. */
  | { do: 'shape'; text?: Rule; list?: Rule; object?: Rule }
  /** Base64 of an image or document; its bytes are priced by a ceiling and not as text. */
  | { do: 'media'; kind: 'image' | 'document' }
  /** `data:` URLs pass as images, all others are refused. */
  | { do: 'dataUrl' }
  /** A cache mark; noted with its `ttl`, because writing a cache has a price of its own. */
  | { do: 'cacheMark'; of: Rule };

export const text: Rule = { do: 'forward', type: 'text' };
export const flag: Rule = { do: 'forward', type: 'flag' };
export const number: Rule = { do: 'forward', type: 'number' };
/** Any JSON: only for what a provider hands to the model or checks answers with, and never acts on. */
export const json: Rule = { do: 'forward', type: 'json' };
export const strip: Rule = { do: 'strip' };
export const output: Rule = { do: 'output' };
export const runHash: Rule = { do: 'runHash' };
export const image: Rule = { do: 'media', kind: 'image' };
export const pdf: Rule = { do: 'media', kind: 'document' };
export const dataUrl: Rule = { do: 'dataUrl' };

export function one(...values: string[]): Rule {
  return { do: 'one', values };
}
export function clamp(min: number, max: number): Rule {
  return { do: 'clamp', min, max };
}
export function withinOutput(min: number): Rule {
  return { do: 'withinOutput', min };
}
export function object(fields: Record<string, Rule>): Rule {
  return { do: 'object', fields };
}
export function list(of: Rule): Rule {
  return { do: 'list', of };
}
export function shape(kinds: { text?: Rule; list?: Rule; object?: Rule }): Rule {
  return { do: 'shape', ...kinds };
}
export function refuse(reason: DenyReason, say: string): Rule & { do: 'refuse' } {
  return { do: 'refuse', reason, say };
}
export function must(value: boolean, reason: DenyReason, say: string): Rule {
  return { do: 'must', value, reason, say };
}
export function by(
  field: string,
  options: { absent?: string; cases: Record<string, Rule>; other: Rule & { do: 'refuse' } },
): Rule {
  return { do: 'by', field, ...options };
}

/** What the walk through a body found out, for the price of the call. */
export interface Findings {
  images: number;
  documents: number;
  /** Bytes of media inside the body, which are not text. */
  mediaBytes: number;
  cache: 'none' | '5m' | '1h';
  /** Where output limits stand, to be lowered once the budget is known. */
  outputs: { holder: JsonObject; key: string; kind: 'output' | 'within'; min: number }[];
  /** Fields that were left out, by path. */
  stripped: string[];
}

export interface Walk {
  /** Ceiling of an output limit. */
  maxOutput: number;
  runHash: string;
  found: Findings;
}

/** `value` undefined means that the field is left out. */
export type Applied = { ok: true; value: Json | undefined } | { ok: false; reason: DenyReason; say: string };

/** Applies a rule to a value; the result shares no structure that a rule has to change. */
export function apply(rule: Rule, value: Json, walk: Walk, path: string): Applied {
  switch (rule.do) {
    case 'forward':
      return forward(rule.type, value, path);
    case 'one':
      return typeof value === 'string' && rule.values.includes(value)
        ? { ok: true, value }
        : odd(path, `one of ${rule.values.join(', ')}`);
    case 'clamp':
      if (typeof value !== 'number' || !Number.isFinite(value)) return odd(path, 'a number');
      return { ok: true, value: Math.min(Math.max(value, rule.min), rule.max) };
    case 'output':
      return limit(value, { min: 1, max: walk.maxOutput }, path);
    case 'withinOutput':
      return limit(value, { min: rule.min, max: walk.maxOutput }, path);
    case 'strip':
      walk.found.stripped.push(path);
      return { ok: true, value: undefined };
    case 'runHash':
      return { ok: true, value: walk.runHash };
    case 'must':
      return value === rule.value ? { ok: true, value } : { ok: false, reason: rule.reason, say: rule.say };
    case 'refuse':
      // An explicit null, false or empty list asks for nothing.
      return value === null || value === false || (Array.isArray(value) && value.length === 0)
        ? { ok: true, value: undefined }
        : { ok: false, reason: rule.reason, say: rule.say };
    case 'cacheMark':
      if (walk.found.cache !== '1h') walk.found.cache = isJsonObject(value) && value['ttl'] === '1h' ? '1h' : '5m';
      return apply(rule.of, value, walk, path);
    case 'media':
      return media(rule.kind, value, walk, path);
    case 'dataUrl':
      return imageUrl(value, walk, path);
    case 'object':
      return applyObject(rule.fields, value, walk, path);
    case 'list':
      return applyList(rule.of, value, walk, path);
    case 'shape':
      return applyShape(rule, value, walk, path);
    case 'by':
      return applyBy(rule, value, walk, path);
  }
}

function odd(path: string, expected: string): Applied {
  return { ok: false, reason: 'llm_field', say: `the field ${path} must be ${expected}` };
}

function forward(type: 'text' | 'flag' | 'number' | 'json', value: Json, path: string): Applied {
  if (type === 'json') return { ok: true, value };
  if (type === 'text') return typeof value === 'string' ? { ok: true, value } : odd(path, 'a string');
  if (type === 'flag') return typeof value === 'boolean' ? { ok: true, value } : odd(path, 'true or false');
  return typeof value === 'number' && Number.isFinite(value) ? { ok: true, value } : odd(path, 'a number');
}

function limit(value: Json, range: { min: number; max: number }, path: string): Applied {
  if (typeof value !== 'number' || !Number.isFinite(value)) return odd(path, 'a number of tokens');
  const { min, max } = range;
  if (value < min) return odd(path, `at least ${min}`);
  return { ok: true, value: Math.min(Math.floor(value), max) };
}

function media(kind: 'image' | 'document', value: Json, walk: Walk, path: string): Applied {
  // Providers fetch URLs that stand where data is expected; base64 has no colon.
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/=_\s-]*$/.test(value)) return odd(path, 'base64');
  count(kind, value.length, walk);
  return { ok: true, value };
}

function count(kind: 'image' | 'document', bytes: number, walk: Walk): void {
  if (kind === 'image') walk.found.images++;
  else walk.found.documents++;
  walk.found.mediaBytes += bytes;
}

function imageUrl(value: Json, walk: Walk, path: string): Applied {
  if (typeof value !== 'string') return odd(path, 'a data: URL');
  const head = /^data:image\/[a-z0-9.+-]+;base64,/.exec(value)?.[0];
  if (head === undefined) {
    return { ok: false, reason: 'llm_url_source', say: `${path} must carry the image itself: URLs are not fetched` };
  }
  const applied = media('image', value.slice(head.length), walk, path);
  return applied.ok ? { ok: true, value } : applied;
}

function applyObject(fields: Readonly<Record<string, Rule>>, value: Json, walk: Walk, path: string): Applied {
  if (!isJsonObject(value)) return odd(path, 'an object');
  const out: JsonObject = {};
  for (const [key, entry] of Object.entries(value)) {
    const at = path === '' ? key : `${path}.${key}`;
    const rule = Object.hasOwn(fields, key) ? fields[key] : undefined;
    if (rule === undefined) {
      return { ok: false, reason: 'llm_field', say: `the field ${at.slice(0, 200)} is not forwarded to the provider` };
    }
    // Clients write null for "not set"; the wires that give null a meaning of its own have it in no field that matters.
    if (entry === null && rule.do !== 'forward') {
      if (nullable(rule)) out[key] = null;
      continue;
    }
    if (entry === null && rule.do === 'forward' && rule.type !== 'json') {
      out[key] = null;
      continue;
    }
    const applied = apply(rule, entry, walk, at);
    if (!applied.ok) return applied;
    if (applied.value === undefined) continue;
    out[key] = applied.value;
    if (rule.do === 'output') walk.found.outputs.push({ holder: out, key, kind: 'output', min: 1 });
    if (rule.do === 'withinOutput') walk.found.outputs.push({ holder: out, key, kind: 'within', min: rule.min });
  }
  return { ok: true, value: out };
}

/** Whether a null stays in the forwarded body: content that is null is not the same as no content. */
function nullable(rule: Rule): boolean {
  return rule.do === 'shape';
}

function applyList(of: Rule, value: Json, walk: Walk, path: string): Applied {
  if (!Array.isArray(value)) return odd(path, 'a list');
  const out: Json[] = [];
  for (const [i, entry] of value.entries()) {
    const applied = apply(of, entry, walk, `${path}[${i}]`);
    if (!applied.ok) return applied;
    if (applied.value !== undefined) out.push(applied.value);
  }
  return { ok: true, value: out };
}

function applyShape(rule: Rule & { do: 'shape' }, value: Json, walk: Walk, path: string): Applied {
  const chosen = typeof value === 'string' ? rule.text : Array.isArray(value) ? rule.list : rule.object;
  if (chosen === undefined) {
    const kinds = (['text', 'list', 'object'] as const).filter((kind) => rule[kind] !== undefined);
    return odd(path, `a ${kinds.join(' or ')}`);
  }
  return apply(chosen, value, walk, path);
}

function applyBy(rule: Rule & { do: 'by' }, value: Json, walk: Walk, path: string): Applied {
  if (!isJsonObject(value)) return odd(path, 'an object');
  const name = Object.hasOwn(value, rule.field) ? value[rule.field] : rule.absent;
  const chosen = typeof name === 'string' && Object.hasOwn(rule.cases, name) ? rule.cases[name] : undefined;
  if (chosen !== undefined) return apply(chosen, value, walk, path);
  const shown = typeof name === 'string' ? `"${name.slice(0, 64)}"` : 'missing';
  return { ok: false, reason: rule.other.reason, say: `${rule.other.say} (${path}.${rule.field} is ${shown})` };
}
