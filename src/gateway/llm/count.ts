import { countedBound, countRequest } from '../../policy/llm/count.ts';
import type { LlmCall } from '../../policy/llm/judge.ts';
import type { LlmProvider } from './port.ts';
import { upstreamHeaders, upstreamUrl } from './upstream.ts';
import type { UpstreamRequest } from './upstream.ts';

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES = 64 * 1024;

/**
 * Upper bound of a call's input tokens by the provider's own count; undefined when it has no such endpoint or its answer
 * cannot be used. Never rejects.
 */
export async function countInput(
  call: LlmCall,
  { provider, request, signal }: { provider: LlmProvider; request: UpstreamRequest; signal: AbortSignal },
): Promise<number | undefined> {
  const asked = countRequest(call);
  if (asked === undefined) return undefined;
  const body = Buffer.from(JSON.stringify(asked.body));
  const headers = { ...upstreamHeaders(provider, { ...call, stream: false }), 'content-length': body.length };
  const url = upstreamUrl(provider, call.wire, asked.path);
  const within = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const answer = await new Promise<string | undefined>((resolve) => {
    const upstream = request(url, { method: 'POST', headers, signal: within });
    upstream.on('error', () => resolve(undefined));
    upstream.once('response', (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES) upstream.destroy();
        else chunks.push(chunk);
      });
      response.on('error', () => resolve(undefined));
      response.once('close', () => resolve(undefined));
      response.once('end', () => resolve(response.statusCode === 200 ? Buffer.concat(chunks).toString() : undefined));
    });
    upstream.end(body);
  });
  try {
    return answer === undefined ? undefined : countedBound(call, JSON.parse(answer));
  } catch {
    return undefined;
  }
}
