import type { Wire } from '../../domain/policy.ts';

/** Tokens of one call as the provider bills them. `input` is what was neither read from nor written to a cache. */
export interface TokenCounts {
  input: number;
  cacheRead: number;
  cacheWrite: number;
  cacheWrite1h: number;
  output: number;
}

/** A tool that the agent offered. `schema` is its JSON schema; `freeform` marks tools that take plain text. */
export interface OfferedTool {
  name: string;
  schema: Record<string, unknown>;
  freeform: boolean;
}

/** What the codecs read out of a request, whatever its wire. */
export interface ReadRequest {
  model: string;
  stream: boolean;
  tools: OfferedTool[];
  /** System prompt and every text of the conversation, in order. */
  texts: string[];
  /** Rounds of tool calls that the conversation already holds. */
  rounds: number;
  /** Texts of the tool results, in order. */
  results: string[];
  maxTokens: number | undefined;
  /** Whether a chat client asked for usage in the stream; other wires always report it. */
  wantsUsage: boolean;
}

/** One call as a script sees it. */
export interface ScriptCall extends ReadRequest {
  wire: Wire;
  /** How many calls came before this one. */
  index: number;
  /** A request that offers tools; the others ask for titles and summaries. */
  main: boolean;
}

export interface ToolCall {
  name: string;
  /** An object for schema tools, text for freeform ones. */
  args: Record<string, unknown> | string;
}

/** Misbehaviour, for tests of whoever stands before the provider. */
export interface Fault {
  /** Wait before the first byte. */
  delayMs?: number;
  /** Wait between frames. */
  frameDelayMs?: number;
  /** Text without end, until the client leaves or `maxTokens` is used up. */
  endless?: boolean;
  /** Break the connection after so many frames. */
  cutAfterFrames?: number;
  /** Break the connection just before the frame that tells the usage. */
  cutBeforeUsage?: boolean;
  /** Usage as reported instead of the truth: left out, or any JSON value in its place. */
  reportedUsage?: { omit: true } | { value: unknown };
  ignoreMaxTokens?: boolean;
  /** Answer with gzip although identity was asked for. */
  gzip?: boolean;
  /** Bytes sent as they are in place of the answer's body. */
  rawBody?: string;
}

/** What the model "says". */
export interface Reply {
  text?: string;
  calls?: ToolCall[];
  /** What is charged; what is left out is counted from the bytes. */
  usage?: Partial<TokenCounts>;
  /** An error answer instead; nothing is charged. */
  error?: { status: number; message: string; headers?: Record<string, string> };
  fault?: Fault;
}

export type Script = (call: ScriptCall) => Reply | Promise<Reply>;
