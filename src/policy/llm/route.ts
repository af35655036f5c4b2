import type { DenyReason } from '../../domain/decision.ts';
import type { Wire } from '../../domain/policy.ts';
import { anthropic } from './wires/anthropic.ts';
import { gemini } from './wires/gemini.ts';
import { openaiChat } from './wires/openai-chat.ts';
import { openaiResponses } from './wires/openai-responses.ts';
import type { Endpoint, WireTable } from './wires/table.ts';

export const WIRE_TABLES: Record<Wire, WireTable> = {
  anthropic,
  'openai-chat': openaiChat,
  'openai-responses': openaiResponses,
  gemini,
};

export type Routed =
  | { ok: true; endpoint: Endpoint; model: string | undefined; /** Below the version, with its query. */ path: string }
  | { ok: false; reason: DenyReason; say: string };

/** Finds the endpoint of a request. Paths are compared as they came: an encoded, doubled or dotted one is unknown. */
export function route(wire: Wire, method: string, target: string): Routed {
  const table = WIRE_TABLES[wire];
  const [path, query] = split(target);
  const below = withoutVersion(path, table.version);
  for (const endpoint of table.endpoints) {
    const match = pattern(endpoint.path).exec(below);
    if (match === null) continue;
    // A list of models is answered here; HEAD is how some clients ask whether anybody is there.
    const asked = method === 'HEAD' ? 'GET' : method;
    if (endpoint.method !== asked) continue;
    // Model lists are answered here, so that their paging does not matter.
    const params = endpoint.kind === 'models' ? judgeQuery('', {}) : judgeQuery(query, table.query);
    if (!params.ok) return params;
    return { ok: true, endpoint, model: match.groups?.['model'], path: below + params.query };
  }
  const shown = JSON.stringify(`${method} ${path}`.slice(0, 120));
  return { ok: false, reason: 'llm_endpoint', say: `${shown} is not an endpoint that is forwarded to the provider` };
}

function split(target: string): [string, string] {
  const mark = target.indexOf('?');
  return mark === -1 ? [target, ''] : [target.slice(0, mark), target.slice(mark + 1)];
}

function withoutVersion(path: string, version: RegExp): string {
  const first = /^\/([^/]+)(\/.*)$/.exec(path);
  return first?.[1] !== undefined && first[2] !== undefined && version.test(first[1]) ? first[2] : path;
}

function pattern(path: string): RegExp {
  return new RegExp(`^${path.replace(':model', '(?<model>[A-Za-z0-9._@-]{1,100})')}$`);
}

type JudgedQuery = { ok: true; query: string } | { ok: false; reason: DenyReason; say: string };

function judgeQuery(query: string, known: Readonly<Record<string, string>>): JudgedQuery {
  const kept: string[] = [];
  for (const [name, value] of new URLSearchParams(query)) {
    // A client's key; the gateway adds the operator's.
    if (name === 'key' || name === 'api_key') continue;
    if (!Object.hasOwn(known, name) || known[name] !== value) {
      return {
        ok: false,
        reason: 'llm_endpoint',
        say: `the query parameter ${JSON.stringify(name.slice(0, 64))} is not forwarded`,
      };
    }
    if (!kept.includes(`${name}=${value}`)) kept.push(`${name}=${value}`);
  }
  return { ok: true, query: kept.length === 0 ? '' : `?${kept.join('&')}` };
}
