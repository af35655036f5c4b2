import type { ClientRequest, OutgoingHttpHeaders } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { WIRE_TABLES } from '../../policy/llm/route.ts';
import type { LlmCall } from '../../policy/llm/judge.ts';
import type { Wire } from '../../domain/policy.ts';
import type { LlmProvider } from './port.ts';

/** Opens a request to a provider; the gateway's dialer stands behind it. Never follows redirects, never tries again. */
export type UpstreamRequest = (
  url: URL,
  options: { method: string; headers: OutgoingHttpHeaders; signal: AbortSignal },
) => ClientRequest;

/**
 * Where a call goes: the operator's `baseUrl`, completed with the wire's version where it has none. Its query stays (the
 * API version of some providers is there), and `path` is a result of the policy's routing.
 */
export function upstreamUrl(provider: LlmProvider, wire: Wire, path: string): URL {
  const base = new URL(provider.baseUrl);
  const [below = '', query = ''] = path.split('?');
  let prefix = base.pathname.replace(/\/+$/, '');
  const versioned = /\/v\d[A-Za-z0-9.]*$/.test(prefix);
  const bare = prefix === '';
  // Chat servers live at all kinds of paths; Anthropic's and Google's clients always add the version themselves.
  if (!versioned && (bare || wire === 'anthropic' || wire === 'gemini')) {
    prefix += `/${WIRE_TABLES[wire].defaultVersion}`;
  }
  const url = new URL(base.origin + prefix + below);
  url.search = [base.search.slice(1), query].filter((part) => part !== '').join('&');
  return url;
}

/**
 * All headers of the forwarded request, but for its length, are made here: nothing of the agent's but what the policy wrote
 * into the call.
 */
export function upstreamHeaders(provider: LlmProvider, call: LlmCall): OutgoingHttpHeaders {
  return {
    'content-type': 'application/json',
    accept: call.stream ? 'text/event-stream' : 'application/json',
    'accept-encoding': 'identity',
    'user-agent': 'cofferdam',
    ...call.headers,
    ...credential(provider, call.wire),
  };
}

function credential({ key, baseUrl }: LlmProvider, wire: Wire): OutgoingHttpHeaders {
  if (key === undefined || key === '') return {};
  if (wire === 'anthropic') return { 'x-api-key': key };
  if (wire === 'gemini') return { 'x-goog-api-key': key };
  return azureStyle(new URL(baseUrl)) ? { 'api-key': key } : { authorization: `Bearer ${key}` };
}

/** Azure's own hosts, and what is told the version of its API in the address. */
function azureStyle({ hostname, searchParams }: URL): boolean {
  return /\.azure\.(?:com|us|cn)$/.test(hostname) || searchParams.has('api-version');
}

/** Azure's older addresses name the deployment that answers; what a request calls its model is not looked at there. */
export function boundModel({ baseUrl }: LlmProvider): string | undefined {
  const name = /\/deployments\/([^/]+)/.exec(new URL(baseUrl).pathname)?.[1];
  return name === undefined ? undefined : decodeURIComponent(name);
}

/** The name of the output limit that a chat server certainly knows: OpenAI's own models refuse the older one. */
export function chatOutputField(provider: LlmProvider): 'max_tokens' | 'max_completion_tokens' {
  const base = new URL(provider.baseUrl);
  return /(?:^|\.)openai\.com$/.test(base.hostname) || azureStyle(base) ? 'max_completion_tokens' : 'max_tokens';
}

const PASSED =
  /^(?:content-type|retry-after|retry-after-ms|x-should-retry|request-id|x-request-id|(?:anthropic|x)-ratelimit-[a-z-]+)$/;

/** Headers of an answer that the agent gets: no cookies, no organisation. */
export function answerHeaders(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => PASSED.test(name)));
}

/** Headers with which a client can bring a key of its own. */
const KEY_HEADERS = [
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'cookie',
  'proxy-authorization',
  'openai-organization',
  'openai-project',
  'anthropic-organization',
];

/** Names of the places where a client's credential is not the placeholder that agents are configured with. */
export function foreignKeys(request: { headers: IncomingHttpHeaders; url: string }, placeholder: string): string[] {
  const foreign = KEY_HEADERS.filter((name) => {
    const value = request.headers[name];
    return value !== undefined && value !== placeholder && value !== `Bearer ${placeholder}`;
  });
  const query = new URLSearchParams(request.url.split('?')[1] ?? '');
  for (const name of ['key', 'api_key']) {
    const value = query.get(name);
    if (value !== null && value !== placeholder) foreign.push(`?${name}`);
  }
  return foreign;
}
