import {
  by,
  clamp,
  flag,
  image,
  json,
  list,
  number,
  object,
  one,
  output,
  pdf,
  shape,
  strip,
  text,
  withinOutput,
} from '../rules.ts';
import type { Rule } from '../rules.ts';
import { audio, dearer, fileSource, serverTool, storedState } from './table.ts';
import type { WireTable } from './table.ts';

/*
 * Gemini generateContent: what each field becomes. A field that is not here is refused, and so are the snake_case
 * spellings that the API would take as well: one spelling, one meaning.
 */

const inline = (data: Rule): Rule => object({ mimeType: text, data, displayName: text });

const inlineData = by('mimeType', {
  cases: {
    'image/png': inline(image),
    'image/jpeg': inline(image),
    'image/webp': inline(image),
    'image/heic': inline(image),
    'image/heif': inline(image),
    'application/pdf': inline(pdf),
  },
  other: audio,
});

const part = object({
  text,
  thought: flag,
  thoughtSignature: text,
  inlineData,
  functionCall: object({ id: text, name: text, args: json }),
  functionResponse: object({ id: text, name: text, response: json }),
  fileData: fileSource,
  executableCode: serverTool,
  codeExecutionResult: serverTool,
});

const content = object({ role: text, parts: list(part) });

const tool = object({
  functionDeclarations: list(
    object({
      name: text,
      description: text,
      parameters: json,
      parametersJsonSchema: json,
      response: json,
      responseJsonSchema: json,
    }),
  ),
  googleSearch: serverTool,
  googleSearchRetrieval: serverTool,
  codeExecution: serverTool,
  urlContext: serverTool,
  computerUse: serverTool,
  fileSearch: serverTool,
  googleMaps: serverTool,
  mcpServers: serverTool,
});

const fields: Record<string, Rule> = {
  contents: shape({ list: list(content), object: content }),
  systemInstruction: shape({ text, object: object({ role: text, parts: list(part) }) }),
  tools: list(tool),
  toolConfig: object({
    functionCallingConfig: object({ mode: text, allowedFunctionNames: list(text), streamFunctionCallArguments: flag }),
  }),
  safetySettings: json,
  generationConfig: object({
    maxOutputTokens: output,
    // One answer: further ones multiply the price of the output.
    candidateCount: clamp(1, 1),
    temperature: number,
    topP: number,
    topK: number,
    seed: number,
    presencePenalty: number,
    frequencyPenalty: number,
    stopSequences: list(text),
    responseMimeType: text,
    responseSchema: json,
    responseJsonSchema: json,
    responseModalities: list(one('TEXT')),
    // -1 lets the model choose; it stays within maxOutputTokens.
    thinkingConfig: object({ includeThoughts: flag, thinkingBudget: withinOutput(-1), thinkingLevel: text }),
    mediaResolution: text,
  }),
  cachedContent: storedState,
  labels: strip,
  serviceTier: dearer,
};

export const gemini: WireTable = {
  version: /^v1(?:beta)?$/,
  defaultVersion: 'v1beta',
  endpoints: [
    { method: 'POST', path: '/models/:model:generateContent', kind: 'call', body: object(fields), stream: false },
    { method: 'POST', path: '/models/:model:streamGenerateContent', kind: 'call', body: object(fields), stream: true },
    {
      method: 'POST',
      path: '/models/:model:countTokens',
      kind: 'count',
      body: object({ contents: fields['contents'] ?? json }),
    },
    { method: 'GET', path: '/models', kind: 'models' },
    { method: 'GET', path: '/models/:model', kind: 'models' },
  ],
  query: { alt: 'sse' },
  betas: [],
};
