import {
  by,
  clamp,
  dataUrl,
  flag,
  json,
  list,
  number,
  object,
  one,
  output,
  shape,
  strip,
  text,
  withinOutput,
} from '../rules.ts';
import type { Rule } from '../rules.ts';
import {
  audio,
  cacheControl,
  fileSource,
  openaiCommon,
  openaiModels,
  otherModel,
  remoteMcp,
  serverTool,
  unknownBlock,
  unknownRole,
} from './table.ts';
import type { WireTable } from './table.ts';

/*
 * OpenAI Chat Completions, and the many servers that speak it: what each field becomes. A field that is not here is
 * refused.
 */

const textPart = object({ type: one('text'), text, cache_control: cacheControl });

const userPart = by('type', {
  cases: {
    text: textPart,
    image_url: object({
      type: one('image_url'),
      image_url: object({ url: dataUrl, detail: text }),
      cache_control: cacheControl,
    }),
    input_audio: audio,
    file: fileSource,
  },
  other: unknownBlock,
});

const assistantPart = by('type', {
  cases: { text: textPart, refusal: object({ type: one('refusal'), refusal: text }) },
  other: unknownBlock,
});

const functionCall = object({ name: text, arguments: text });

const toolCall = by('type', {
  absent: 'function',
  cases: {
    function: object({ id: text, type: text, index: number, function: functionCall, extra_content: json }),
    custom: object({ id: text, type: text, index: number, custom: object({ name: text, input: text }) }),
  },
  other: serverTool,
});

const plain: Rule = object({ role: text, content: shape({ text, list: list(textPart) }), name: text });

const message = by('role', {
  cases: {
    system: plain,
    developer: plain,
    user: object({ role: text, content: shape({ text, list: list(userPart) }), name: text }),
    assistant: object({
      role: text,
      content: shape({ text, list: list(assistantPart) }),
      name: text,
      refusal: text,
      tool_calls: list(toolCall),
      function_call: functionCall,
      // What reasoning models of other makers said before; they want it back.
      reasoning_content: text,
      reasoning: text,
      reasoning_details: json,
      audio,
    }),
    tool: object({ role: text, content: shape({ text, list: list(userPart) }), tool_call_id: text, name: text }),
    function: object({ role: text, content: text, name: text }),
  },
  other: unknownRole,
});

const tool = by('type', {
  cases: {
    function: object({
      type: text,
      function: object({ name: text, description: text, parameters: json, strict: flag }),
      cache_control: cacheControl,
    }),
    custom: object({ type: text, custom: object({ name: text, description: text, format: json }) }),
    mcp: remoteMcp,
  },
  other: serverTool,
});

const toolChoice = by('type', {
  cases: {
    function: object({ type: text, function: object({ name: text }) }),
    custom: object({ type: text, custom: object({ name: text }) }),
    allowed_tools: json,
  },
  other: serverTool,
});

const completions = object({
  ...openaiCommon,
  messages: list(message),
  max_tokens: output,
  max_completion_tokens: output,
  // One answer: further ones multiply the price of the output.
  n: clamp(1, 1),
  // Written anew in judge.ts: usage is always asked for.
  stream_options: object({ include_usage: flag, include_obfuscation: flag }),
  top_k: number,
  min_p: number,
  frequency_penalty: number,
  presence_penalty: number,
  repetition_penalty: number,
  stop: shape({ text, list: list(text) }),
  seed: number,
  logit_bias: json,
  logprobs: flag,
  response_format: json,
  tools: list(tool),
  tool_choice: shape({ text, object: toolChoice }),
  functions: list(object({ name: text, description: text, parameters: json })),
  function_call: shape({ text, object: object({ name: text }) }),
  reasoning_effort: text,
  reasoning: object({ effort: text, max_tokens: withinOutput(1), enabled: flag, exclude: flag }),
  include_reasoning: flag,
  enable_thinking: flag,
  thinking_budget: withinOutput(1),
  thinking: object({ type: text, budget_tokens: withinOutput(1) }),
  verbosity: text,
  modalities: list(one('text')),
  // Asked for by clients of aggregators; usage is read from the standard place.
  usage: strip,
  // Rejected guesses are charged on top of the output limit.
  prediction: strip,
  audio,
  models: otherModel,
  web_search_options: serverTool,
  plugins: serverTool,
  data_sources: serverTool,
});

export const openaiChat: WireTable = {
  version: /^v1$/,
  defaultVersion: 'v1',
  endpoints: [{ method: 'POST', path: '/chat/completions', kind: 'call', body: completions }, ...openaiModels],
  query: {},
  betas: [],
};
