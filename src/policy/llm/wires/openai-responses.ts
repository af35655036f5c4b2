import { by, dataUrl, flag, json, list, number, object, one, output, refuse, shape, strip, text } from '../rules.ts';
import type { Rule } from '../rules.ts';
import {
  audio,
  background,
  fileSource,
  openaiCommon,
  openaiModels,
  remoteMcp,
  serverTool,
  storedState,
  unknownBlock,
} from './table.ts';
import type { WireTable } from './table.ts';

/*
 * OpenAI Responses: what each field becomes. A field that is not here is refused.
 */

const part = by('type', {
  cases: {
    input_text: object({ type: text, text }),
    output_text: object({ type: text, text, annotations: json, logprobs: json }),
    refusal: object({ type: text, refusal: text }),
    input_image: object({ type: text, image_url: dataUrl, detail: text, file_id: fileSource }),
    input_file: fileSource,
    input_audio: audio,
  },
  other: unknownBlock,
});

const toolOutput = shape({ text, list: list(part) });

/** What every item may carry besides its own fields. */
const common = { type: text, id: text, status: text };

const call = object({ ...common, call_id: text, name: text, namespace: text, arguments: text });
const callOutput = object({ ...common, call_id: text, output: toolOutput });

const item = by('type', {
  absent: 'message',
  cases: {
    message: object({
      ...common,
      role: one('user', 'assistant', 'system', 'developer'),
      content: shape({ text, list: list(part) }),
      phase: text,
    }),
    function_call: call,
    function_call_output: callOutput,
    custom_tool_call: object({ ...common, call_id: text, name: text, namespace: text, input: text }),
    custom_tool_call_output: object({ ...common, call_id: text, name: text, output: toolOutput }),
    local_shell_call: object({ ...common, call_id: text, action: json }),
    local_shell_call_output: object({ ...common, call_id: text, output: text }),
    apply_patch_call: object({ ...common, call_id: text, operation: json }),
    apply_patch_call_output: object({ ...common, call_id: text, output: text }),
    reasoning: object({ ...common, summary: json, content: json, encrypted_content: text }),
    item_reference: storedState,
    mcp_call: remoteMcp,
    mcp_list_tools: remoteMcp,
  },
  // web_search_call, file_search_call, code_interpreter_call, image_generation_call, computer_call and the like.
  other: serverTool,
});

const functionTool = object({ type: text, name: text, description: text, parameters: json, strict: flag });
const customTool = object({ type: text, name: text, description: text, format: json });

const tool = by('type', {
  cases: {
    function: functionTool,
    custom: customTool,
    namespace: object({
      type: text,
      name: text,
      description: text,
      tools: list(by('type', { cases: { function: functionTool, custom: customTool }, other: serverTool })),
    }),
    // Run by the agent itself, inside the sandbox.
    local_shell: object({ type: text }),
    apply_patch: object({ type: text }),
    mcp: remoteMcp,
  },
  other: serverTool,
});

const toolChoice = by('type', {
  cases: {
    function: object({ type: text, name: text }),
    custom: object({ type: text, name: text }),
    apply_patch: object({ type: text }),
    allowed_tools: json,
    mcp: remoteMcp,
  },
  other: serverTool,
});

const responses: Rule = object({
  ...openaiCommon,
  input: shape({ text, list: list(item) }),
  instructions: text,
  max_output_tokens: output,
  stream_options: object({ include_obfuscation: flag }),
  tools: list(tool),
  tool_choice: shape({ text, object: toolChoice }),
  max_tool_calls: number,
  reasoning: object({ effort: text, summary: text, generate_summary: text }),
  text: object({ format: json, verbosity: text }),
  truncation: one('auto', 'disabled'),
  include: list(one('reasoning.encrypted_content', 'message.output_text.logprobs')),
  previous_response_id: storedState,
  conversation: storedState,
  prompt: storedState,
  background,
  context_management: refuse('llm_field', "the provider's own compaction is not allowed: it costs calls of its own"),
  client_metadata: strip,
});

export const openaiResponses: WireTable = {
  version: /^v1$/,
  defaultVersion: 'v1',
  endpoints: [{ method: 'POST', path: '/responses', kind: 'call', body: responses }, ...openaiModels],
  query: {},
  betas: [],
};
