import {
  by,
  flag,
  image,
  json,
  list,
  must,
  number,
  object,
  one,
  output,
  pdf,
  refuse,
  runHash,
  shape,
  strip,
  text,
  withinOutput,
} from '../rules.ts';
import type { Rule } from '../rules.ts';
import {
  cacheControl,
  dearer,
  fileSource,
  remoteMcp,
  serverTool,
  unknownBlock,
  unknownRole,
  urlSource,
} from './table.ts';
import type { WireTable } from './table.ts';

/*
 * Anthropic Messages: what each field of a request becomes. A field that is not here is refused.
 */

const textBlock = object({ type: one('text'), text, cache_control: cacheControl, citations: json });

const imageBlock = object({
  type: one('image'),
  source: by('type', {
    cases: { base64: object({ type: one('base64'), media_type: text, data: image }), url: urlSource, file: fileSource },
    other: urlSource,
  }),
  cache_control: cacheControl,
});

const documentBlock = object({
  type: one('document'),
  source: by('type', {
    cases: {
      base64: object({ type: one('base64'), media_type: one('application/pdf'), data: pdf }),
      text: object({ type: one('text'), media_type: one('text/plain'), data: text }),
      content: object({
        type: one('content'),
        content: shape({
          text,
          list: list(by('type', { cases: { text: textBlock, image: imageBlock }, other: unknownBlock })),
        }),
      }),
      url: urlSource,
      file: fileSource,
    },
    other: urlSource,
  }),
  title: text,
  context: text,
  citations: object({ enabled: flag }),
  cache_control: cacheControl,
});

const searchResult = object({
  type: one('search_result'),
  source: text,
  title: text,
  content: list(textBlock),
  citations: object({ enabled: flag }),
  cache_control: cacheControl,
});

const content = by('type', {
  cases: {
    text: textBlock,
    image: imageBlock,
    document: documentBlock,
    search_result: searchResult,
    thinking: object({ type: one('thinking'), thinking: text, signature: text }),
    redacted_thinking: object({ type: one('redacted_thinking'), data: text }),
    tool_use: object({ type: one('tool_use'), id: text, name: text, input: json, cache_control: cacheControl }),
    tool_result: object({
      type: one('tool_result'),
      tool_use_id: text,
      is_error: flag,
      content: shape({
        text,
        list: list(
          by('type', {
            cases: { text: textBlock, image: imageBlock, document: documentBlock, search_result: searchResult },
            other: unknownBlock,
          }),
        ),
      }),
      cache_control: cacheControl,
    }),
    container_upload: fileSource,
  },
  // server_tool_use, web_search_tool_result, code_execution_tool_result, mcp_tool_use and whatever comes after them.
  other: serverTool,
});

const message = by('role', {
  cases: {
    user: object({ role: text, content: shape({ text, list: list(content) }) }),
    assistant: object({ role: text, content: shape({ text, list: list(content) }) }),
    system: object({ role: text, content: shape({ text, list: list(textBlock) }) }),
  },
  other: unknownRole,
});

const ownTool = object({
  type: one('custom'),
  name: text,
  description: text,
  input_schema: json,
  input_examples: json,
  strict: flag,
  eager_input_streaming: flag,
  cache_control: cacheControl,
  allowed_callers: serverTool,
  defer_loading: must(false, 'llm_server_tool', 'tools that the provider loads by search are not allowed'),
});

/** Tools whose schema the provider knows but which the agent runs itself, inside the sandbox. */
const clientTool = object({ type: text, name: text, max_characters: number, cache_control: cacheControl });

const tool = by('type', {
  absent: 'custom',
  cases: {
    custom: ownTool,
    bash_20241022: clientTool,
    bash_20250124: clientTool,
    text_editor_20241022: clientTool,
    text_editor_20250124: clientTool,
    text_editor_20250429: clientTool,
    text_editor_20250728: clientTool,
  },
  other: serverTool,
});

const shared: Record<string, Rule> = {
  model: text,
  messages: list(message),
  system: shape({ text, list: list(textBlock) }),
  tools: list(tool),
  tool_choice: object({ type: one('auto', 'any', 'tool', 'none'), name: text, disable_parallel_tool_use: flag }),
  thinking: object({
    type: one('enabled', 'disabled', 'adaptive'),
    budget_tokens: withinOutput(1024),
    display: text,
  }),
  cache_control: cacheControl,
  output_config: object({ effort: text, format: json }),
  output_format: json,
  context_management: object({
    edits: list(
      by('type', {
        cases: { clear_tool_uses_20250919: json, clear_thinking_20251015: json },
        other: refuse('llm_field', 'this kind of context editing costs calls of its own and is not allowed'),
      }),
    ),
  }),
  mcp_servers: remoteMcp,
  container: serverTool,
  inference_geo: dearer,
  speed: dearer,
  // The provider's default; a committed tier has another price.
  service_tier: strip,
};

const messages = object({
  ...shared,
  max_tokens: output,
  stream: flag,
  temperature: number,
  top_p: number,
  top_k: number,
  stop_sequences: list(text),
  metadata: object({ user_id: runHash }),
});

export const anthropic: WireTable = {
  version: /^v1$/,
  defaultVersion: 'v1',
  endpoints: [
    { method: 'POST', path: '/messages', kind: 'call', body: messages },
    { method: 'POST', path: '/messages/count_tokens', kind: 'count', body: object(shared) },
    { method: 'GET', path: '/models', kind: 'models' },
    { method: 'GET', path: '/models/:model', kind: 'models' },
  ],
  query: { beta: 'true' },
  betas: [
    'claude-code-20250219',
    'context-management-2025-06-27',
    'effort-2025-11-24',
    'extended-cache-ttl-2025-04-11',
    'fine-grained-tool-streaming-2025-05-14',
    'interleaved-thinking-2025-05-14',
    'output-128k-2025-02-19',
    'prompt-caching-2024-07-31',
    'prompt-caching-scope-2026-01-05',
    'structured-outputs-2025-11-13',
    'token-efficient-tools-2025-02-19',
  ],
};
