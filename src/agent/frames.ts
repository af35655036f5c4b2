/**
 * Trust: the bytes read here were written by the sandbox. They may be endless, have no newline, not be JSON, nest
 * deeply, answer questions nobody asked, or ask faster than answers are taken.
 *
 * What holds here, so that nothing behind it has to care:
 * - memory is bounded: a line longer than `maxLineBytes` is skipped while it streams by, and reading stops while
 *   `maxOpenRequests` answers of ours have not been taken;
 * - work is bounded: after `maxBytes` or `maxMessages` the stream fails;
 * - only well-formed JSON-RPC passes, rebuilt field by field: requests, notifications, and answers to ids that are
 *   open. Everything else is counted and dropped, and never answered or logged.
 */
import { PassThrough } from 'node:stream';
import type { Readable, Writable } from 'node:stream';
import type { AnyMessage, Stream } from '@agentclientprotocol/sdk';
import { cap, isObject } from './text.ts';

export interface FrameLimits {
  maxLineBytes: number;
  maxBytes: number;
  maxMessages: number;
  maxOpenRequests: number;
}

export interface FrameOptions {
  input: Readable;
  output: Writable;
  limits: FrameLimits;
  /** The request that the agent may make; to others it hears "method not found". */
  serves: string;
  /** A notification, in order with the answers around it. */
  onNotification: (method: string, params: unknown) => void;
  /** Any message that passed. */
  onActivity: () => void;
}

export interface Frames {
  stream: Stream;
  /** Lines that were too long, were not JSON or not JSON-RPC, or named no open id. */
  dropped(): number;
  /** Which limit ended the stream, if one did. */
  exceeded(): string | undefined;
  /** Lets go of both streams without destroying them. With `drain`, what still comes in is read and discarded. */
  close(drain: boolean): void;
}

/** A `Stream` for the protocol's SDK over the standard streams of an agent's process. */
export function openFrames(options: FrameOptions): Frames {
  const { input, limits } = options;
  const tap = tapInput(input);
  const lines = splitLines(tap, limits);
  const writer = openWriter(options.output, limits.maxOpenRequests);
  let dropped = 0;
  let messages = 0;
  let exceeded: string | undefined;

  /** The next request or answer; undefined at the end. */
  async function next(): Promise<AnyMessage | undefined> {
    for (;;) {
      await writer.room();
      const item = await lines.next();
      if (item.done === true) {
        exceeded ??= item.value;
        return undefined;
      }
      messages += 1;
      if (messages > limits.maxMessages) {
        exceeded ??= `more than ${limits.maxMessages} messages`;
        return undefined;
      }
      const message = item.value === 'too_long' ? undefined : readMessage(item.value, writer.open);
      if (message === undefined) {
        dropped += 1;
        continue;
      }
      options.onActivity();
      if (!('method' in message)) return message;
      if ('id' in message) {
        writer.owe();
        return { ...message, params: message.method === options.serves ? message.params : undefined };
      }
      options.onNotification(message.method, message.params);
    }
  }

  function close(drain: boolean): void {
    tap.destroy();
    writer.release();
    input.unpipe(tap);
    if (drain) input.resume();
  }

  const readable = new ReadableStream<AnyMessage>(
    {
      async pull(controller) {
        const message = await next();
        if (message === undefined) controller.close();
        else controller.enqueue(message);
      },
      cancel: () => {
        close(false);
      },
    },
    { highWaterMark: 0 },
  );
  const writable = new WritableStream<AnyMessage>({ write: (message) => writer.write(message) });
  return { stream: { readable, writable }, dropped: () => dropped, exceeded: () => exceeded, close };
}

/** The stream belongs to the caller, so it is read through a tap that can be closed without destroying it. */
function tapInput(input: Readable): PassThrough {
  const tap = new PassThrough();
  input.on('error', () => tap.end());
  input.on('close', () => tap.end());
  tap.on('error', () => undefined);
  if (input.destroyed || input.readableEnded) tap.end();
  else input.pipe(tap);
  return tap;
}

function openWriter(output: Writable, maxOpenRequests: number) {
  /** Our requests that have no answer yet. */
  const open = new Set<number>();
  /** The agent's requests whose answer it has not taken yet. */
  let owed = 0;
  let wake: (() => void) | undefined;
  let released = false;
  // A process that is gone is noticed by the failed write; without a listener the event would end this process.
  output.on('error', () => undefined);

  function write(message: AnyMessage): Promise<void> {
    const isAnswer = !('method' in message);
    if (!isAnswer && 'id' in message && typeof message.id === 'number') open.add(message.id);
    return new Promise((resolve, reject) => {
      output.write(`${JSON.stringify(message)}\n`, (error) => {
        if (isAnswer) {
          owed -= 1;
          wake?.();
        }
        if (error) reject(error);
        else resolve();
      });
    });
  }

  function owe(): void {
    owed += 1;
  }

  async function room(): Promise<void> {
    if (owed >= maxOpenRequests && !released) await new Promise<void>((resolve) => (wake = resolve));
  }

  function release(): void {
    released = true;
    wake?.();
  }
  return { open, write, owe, room, release };
}

/** Lines without their newline, empty ones left out. Returns the limit that was exceeded, if one was. */
async function* splitLines(
  input: Readable,
  limits: FrameLimits,
): AsyncGenerator<Buffer | 'too_long', string | undefined, undefined> {
  const line = new GrowingBuffer(limits.maxLineBytes);
  let total = 0;
  for await (const chunk of input) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
    total += bytes.length;
    if (total > limits.maxBytes) return `more than ${limits.maxBytes} bytes`;
    let start = 0;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      line.append(bytes.subarray(start, end));
      const whole = line.take();
      if (whole.length > 0) yield whole;
      start = end + 1;
    }
    line.append(bytes.subarray(start));
  }
  const rest = line.take();
  if (rest.length > 0) yield rest;
  return undefined;
}

/** One line as it comes in, in however small pieces; past its limit it forgets everything but that. */
class GrowingBuffer {
  readonly #max: number;
  #bytes = Buffer.alloc(0);
  #length = 0;

  constructor(max: number) {
    this.#max = max;
  }

  append(piece: Buffer): void {
    const length = this.#length + piece.length;
    if (length > this.#max) this.#bytes = Buffer.alloc(0);
    else {
      if (length > this.#bytes.length) {
        const grown = Buffer.alloc(Math.min(this.#max, Math.max(length, 2 * this.#bytes.length, 4096)));
        this.#bytes.copy(grown, 0, 0, this.#length);
        this.#bytes = grown;
      }
      piece.copy(this.#bytes, this.#length);
    }
    this.#length = length;
  }

  take(): Buffer | 'too_long' {
    const taken = this.#length > this.#max ? 'too_long' : this.#bytes.subarray(0, this.#length);
    this.#bytes = Buffer.alloc(0);
    this.#length = 0;
    return taken;
  }
}

function readMessage(line: Buffer, open: Set<number>): AnyMessage | undefined {
  let json: unknown;
  try {
    json = JSON.parse(line.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!isObject(json) || json['jsonrpc'] !== '2.0') return undefined;
  const { id, method } = json;
  if (typeof method === 'string') return readCall(method, id, json['params']);
  if (typeof id !== 'number' || method !== undefined || !open.delete(id)) return undefined;
  const error = json['error'];
  if (error === undefined) return { jsonrpc: '2.0', id, result: json['result'] ?? null };
  return { jsonrpc: '2.0', id, error: readError(error) };
}

function readCall(method: string, id: unknown, params: unknown): AnyMessage | undefined {
  const name = cap(method, 100);
  if (id === undefined) return { jsonrpc: '2.0', method: name, params };
  const usable = (typeof id === 'number' && Number.isSafeInteger(id)) || (typeof id === 'string' && id.length <= 200);
  return usable ? { jsonrpc: '2.0', id, method: name, params } : undefined;
}

function readError(error: unknown): { code: number; message: string } {
  const { code, message } = isObject(error) ? error : {};
  return {
    code: typeof code === 'number' && Number.isSafeInteger(code) ? code : -32603,
    message: cap(typeof message === 'string' ? message : 'error without a message', 2000),
  };
}
