/*
 * Reads a request of the sandbox up to the policy's verdict. Trust: every byte is hostile; nothing here is forwarded.
 */
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { Wire } from '../../domain/policy.ts';
import { judgeCall } from '../../policy/llm/judge.ts';
import type { Judged, LlmCall, LlmRequest } from '../../policy/llm/judge.ts';
import type { PriceTable } from '../../policy/llm/prices.ts';
import { route } from '../../policy/llm/route.ts';
import type { LlmEvent, LlmHandlerLimits, LlmProvider } from './port.ts';
import { boundModel, chatOutputField, foreignKeys } from './upstream.ts';

/** What reading a request needs to know of the run. */
export interface IntakeContext {
  models: readonly string[];
  prices: PriceTable;
  runHash: string;
  limits: LlmHandlerLimits;
  placeholderKey: string;
  onEvent: (event: LlmEvent) => void;
  /** What was left out of requests and has been recorded: agents send the same with each. */
  stripped: Set<string>;
}

/** `/<provider>/<path>` → its parts; the path keeps its query and is not decoded. */
export function parseTarget(url: string): { provider: string; path: string } {
  const path = url.replace(/^https?:\/\/[^/]*/i, '');
  const parts = /^\/([^/?]*)(.*)$/.exec(path);
  const rest = parts?.[2] ?? '';
  return { provider: parts?.[1] ?? '', path: rest.startsWith('/') ? rest : `/${rest}` };
}

/** A provider with several wires is spoken to in the one whose endpoint was called. */
export function chooseWire(provider: LlmProvider, method: string, path: string): Wire {
  return provider.wires.find((wire) => route(wire, method, path).ok) ?? provider.wires[0] ?? 'openai-chat';
}

export function noteForeignKeys(req: IncomingMessage, provider: LlmProvider, context: IntakeContext): void {
  const places = foreignKeys({ headers: req.headers, url: req.url ?? '' }, context.placeholderKey);
  if (places.length > 0) context.onEvent({ type: 'llm.foreign_key', data: { provider: provider.id, places } });
}

/** A request's body, unpacked where it came in gzip; undefined when it is too large, broke off or is no gzip. */
export async function readBody(req: IncomingMessage, max: number): Promise<Buffer | undefined> {
  if (Number(req.headers['content-length'] ?? 0) > max) return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  // By hand: an iterator takes several turns for each piece, and a body is usually one.
  const whole = await new Promise<boolean>((resolve) => {
    const more = (chunk: Buffer): void => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes <= max) return;
      req.off('data', more).pause();
      resolve(false);
    };
    req.on('data', more);
    req.once('end', () => resolve(true));
    req.once('error', () => resolve(false));
    req.once('close', () => resolve(false));
  });
  if (!whole) return undefined;
  const body = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
  return req.headers['content-encoding'] === 'gzip' && body ? await unpacked(body, max) : body;
}

/** Judged and forwarded is what is inside. */
async function unpacked(body: Buffer, max: number): Promise<Buffer | undefined> {
  return await promisify(gunzip)(body, { maxOutputLength: max }).catch(() => undefined);
}

export function judge(
  request: LlmRequest,
  { provider, wire, context }: { provider: LlmProvider; wire: Wire; context: IntakeContext },
): Judged {
  const judged = judgeCall(request, {
    provider: provider.id,
    wire,
    models: context.models,
    prices: context.prices,
    maxOutput: context.limits.maxOutputTokens,
    maxBodyBytes: context.limits.maxBodyBytes,
    bound: boundModel(provider),
    outputField: chatOutputField(provider),
    runHash: context.runHash,
  });
  if ('call' in judged) noteStripped(judged.call, provider, context);
  return judged;
}

function noteStripped(
  { found, droppedBetas }: LlmCall,
  provider: LlmProvider,
  { stripped, onEvent }: IntakeContext,
): void {
  const fresh = (names: readonly string[]): string[] =>
    names
      .slice(0, 20)
      .map((name) => name.slice(0, 64))
      .filter((name) => !stripped.has(name));
  const fields = fresh(found.stripped);
  const betas = fresh(droppedBetas);
  // Bounded: an agent that invents names all the time is recorded up to here.
  if (fields.length + betas.length === 0 || stripped.size > 200) return;
  for (const name of [...fields, ...betas]) stripped.add(name);
  onEvent({ type: 'llm.strip', data: { provider: provider.id, fields, betas } });
}
