import type { Rule } from '../rules.ts';
import { flag, must, number, object, refuse, runHash, strip, text } from '../rules.ts';

/** What one endpoint does: `call` generates and costs, `count` counts tokens for free, `models` is answered here. */
export interface Endpoint {
  method: 'POST' | 'GET';
  /** Path below the provider, after an optional version such as `/v1`; `:model` stands for a model's id. */
  path: string;
  kind: 'call' | 'count' | 'models';
  body?: Rule;
  /** Set when the path decides about streaming. */
  stream?: boolean;
}

export interface WireTable {
  /** Version that clients may put first in the path, and that is added to a `baseUrl` without one. */
  version: RegExp;
  defaultVersion: string;
  endpoints: readonly Endpoint[];
  /** Query parameters that pass, with their only values. Keys in the query are stripped; all others are refused. */
  query: Readonly<Record<string, string>>;
  /** Values of `anthropic-beta` that pass; the others are left out. */
  betas: readonly string[];
}

export const serverTool = refuse(
  'llm_server_tool',
  "tools that run on the provider's side are not allowed: turn them off in the agent's settings",
);
export const remoteMcp = refuse(
  'llm_server_tool',
  'MCP servers that the provider connects to are not allowed: run them inside the sandbox',
);
export const urlSource = refuse('llm_url_source', 'the provider may not fetch URLs: send the content itself');
export const fileSource = refuse(
  'llm_url_source',
  'files stored at the provider are not allowed: send the content itself',
);
export const storedState = refuse(
  'llm_field',
  'state stored at the provider is not allowed: send the whole conversation with each request',
);
export const background = refuse('llm_field', 'work in the background is not allowed: it would go on past the budget');
export const audio = refuse('llm_field', 'audio is not allowed: its price has no upper bound here');
export const otherModel = refuse('llm_model_not_allowed', 'fallback models are not allowed: name one model');
export const dearer = refuse('llm_field', 'this option changes the price of a call and is not allowed');
export const unknownBlock = refuse('llm_field', 'this kind of content is not forwarded to the provider');
export const unknownRole = refuse('llm_field', 'this role is not forwarded to the provider');

/** Cache marks cost: a write is dearer than plain input, for an hour more than for five minutes. */
export const cacheControl: Rule = {
  do: 'cacheMark',
  of: object({ type: { do: 'one', values: ['ephemeral'] }, ttl: { do: 'one', values: ['5m', '1h'] } }),
};

/** What both of OpenAI's wires have, with the same meaning. */
export const openaiCommon: Readonly<Record<string, Rule>> = {
  model: text,
  stream: flag,
  temperature: number,
  top_p: number,
  top_logprobs: number,
  parallel_tool_calls: flag,
  store: must(false, 'llm_field', 'state stored at the provider is not allowed: set store to false'),
  user: runHash,
  safety_identifier: runHash,
  prompt_cache_key: runHash,
  prompt_cache_retention: strip,
  metadata: strip,
  // Another tier has another price.
  service_tier: strip,
};

/** Both have these two endpoints beside the one that costs. */
export const openaiModels: readonly Endpoint[] = [
  { method: 'GET', path: '/models', kind: 'models' },
  { method: 'GET', path: '/models/:model', kind: 'models' },
];
