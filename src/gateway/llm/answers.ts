import type { ServerResponse } from 'node:http';
import type { Wire } from '../../domain/policy.ts';
import { errorBody } from '../../policy/llm/errors.ts';
import { wildcard } from '../../policy/llm/judge.ts';
import type { PriceTable } from '../../policy/llm/prices.ts';
import type { LlmProvider } from './port.ts';

/** Answers in the provider's own error shape. 400 and `x-should-retry: false` end an agent's attempts at once. */
export function sendError(
  res: ServerResponse,
  wire: Wire,
  error: { status: number; type: string; message: string; retryAfter?: number; retry?: boolean; close?: boolean },
): void {
  if (res.headersSent || res.destroyed) {
    // An answer that is complete may still be on its way.
    if (!res.writableEnded) res.destroy();
    return;
  }
  const { status, type, message, retryAfter, retry = false } = error;
  const body = Buffer.from(JSON.stringify(errorBody(wire, { status, type, message })));
  res.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.length,
    ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
    ...(retry || retryAfter !== undefined ? {} : { 'x-should-retry': 'false' }),
    ...(error.close === true ? { connection: 'close' } : {}),
  });
  res.end(body);
}

/** The models that this run may use, in the wire's shape; with `only`, that one. */
export function sendModels(
  res: ServerResponse,
  options: {
    wire: Wire;
    provider: LlmProvider;
    models: readonly string[];
    prices: PriceTable;
    only: string | undefined;
  },
): void {
  const { wire, provider, models, prices, only } = options;
  const ids = new Set<string>();
  for (const row of prices.rows) {
    if (row.source === 'library' && row.provider !== provider.id) continue;
    const id = row.source === 'operator' ? row.model.replace(`${provider.id}/`, '') : row.model;
    if (models.some((pattern) => wildcard(pattern, id) || wildcard(pattern, `${provider.id}/${id}`))) ids.add(id);
  }
  // Names without a wildcard are allowed as they are, even where the price goes by another spelling.
  for (const pattern of models) if (!pattern.includes('*')) ids.add(pattern.replace(`${provider.id}/`, ''));
  if (only !== undefined && !ids.has(only)) {
    sendError(res, wire, { status: 400, type: 'invalid_request_error', message: `the model ${only} is not allowed` });
    return;
  }
  const list = (only === undefined ? [...ids] : [only]).map((id) => entry(wire, id, provider.id));
  const body = only !== undefined ? list[0] : envelope(wire, list);
  res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function entry(wire: Wire, id: string, owner: string): Record<string, unknown> {
  if (wire === 'anthropic') return { type: 'model', id, display_name: id, created_at: '1970-01-01T00:00:00Z' };
  if (wire === 'gemini')
    return { name: `models/${id}`, supportedGenerationMethods: ['generateContent', 'countTokens'] };
  return { id, object: 'model', created: 0, owned_by: owner };
}

function envelope(wire: Wire, list: Record<string, unknown>[]): Record<string, unknown> {
  if (wire === 'gemini') return { models: list };
  if (wire === 'anthropic') {
    return { data: list, has_more: false, first_id: list[0]?.['id'] ?? null, last_id: list.at(-1)?.['id'] ?? null };
  }
  return { object: 'list', data: list };
}
