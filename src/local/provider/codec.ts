import type { IncomingHttpHeaders } from 'node:http';
import type { ReadRequest, TokenCounts, ToolCall } from './script.ts';

/** A finished answer, ready to be written in one wire's format. */
export interface Answer {
  id: string;
  model: string;
  text: string;
  calls: ToolCall[];
  /** The output limit cut the answer. */
  truncated: boolean;
  usage: TokenCounts;
  /** Usage in the wire's format, or what a fault wants there; undefined leaves it out. */
  reported: unknown;
  wantsUsage: boolean;
}

/** One piece of a stream. `share` of the output is generated once it is sent; the shares of all frames add up to 1. */
export interface Frame {
  sse: string;
  share: number;
  carriesUsage?: true;
}

/** One wire format, from the provider's side. */
export interface Codec {
  /** The key that the client sent, by this wire's header. */
  key(headers: IncomingHttpHeaders, url: URL): string | undefined;
  read(body: Record<string, unknown>, url: URL): ReadRequest;
  usage(counts: TokenCounts): unknown;
  whole(answer: Answer): unknown;
  frames(answer: Answer): Frame[];
  /** One more frame of text, for streams without end. */
  textFrame(text: string): string;
  error(status: number, message: string): unknown;
}

export type Json = Record<string, unknown>;

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function objects(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** All text of a content that is a string or a list of blocks with `text`. */
export function contentText(content: unknown): string {
  if (typeof content === 'string') return content;
  return objects(content)
    .map((block) => text(block['text']) || contentText(block['content']))
    .filter((part) => part !== '')
    .join('\n');
}

export function bearer(headers: IncomingHttpHeaders): string | undefined {
  return /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
}

/** Cuts a text into the pieces that a stream sends. */
export function pieces(whole: string, size = 24): string[] {
  return whole.match(new RegExp(`[\\s\\S]{1,${size}}`, 'gu')) ?? [];
}

/** Gives every content piece of a stream an equal share of the output. */
export function spread(frames: { sse: string; content?: boolean; carriesUsage?: true }[]): Frame[] {
  const contents = frames.filter((frame) => frame.content === true).length;
  return frames.map(({ sse, content, carriesUsage }) => ({
    sse,
    share: content === true ? 1 / contents : 0,
    ...(carriesUsage === undefined ? {} : { carriesUsage }),
  }));
}

export function sse(data: unknown, event?: string): string {
  return `${event === undefined ? '' : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
}

export function argsText(call: ToolCall): string {
  return typeof call.args === 'string' ? call.args : JSON.stringify(call.args);
}

/** Bytes that the model "generated": its text, and names and arguments of its tool calls. */
export function generatedBytes(answer: Pick<Answer, 'text' | 'calls'>): number {
  return Buffer.byteLength(answer.text + answer.calls.map((call) => call.name + argsText(call)).join(''));
}
