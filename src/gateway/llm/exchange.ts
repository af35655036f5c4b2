/*
 * One forwarded call: the request goes out once, the answer is passed on as it comes, and a copy of it is read for the
 * price. Trust: the client is the hostile sandbox and may leave, stall or never read; the provider may be slow, break
 * off, or send forms that nobody expects.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { LlmCall } from '../../policy/llm/judge.ts';
import type { TokenUsage } from '../../policy/llm/prices.ts';
import { sendError } from './answers.ts';
import { decoded, unreadable } from '../decode.ts';
import { createMeter } from './meter.ts';
import type { Meter } from './meter.ts';
import type { LlmHandlerLimits, LlmProvider } from './port.ts';
import { open, send } from './opened.ts';
import type { Opened } from './opened.ts';
import { answerHeaders } from './upstream.ts';
import type { UpstreamRequest } from './upstream.ts';

/** What became of a call. `charged` is false when the provider certainly charged nothing. */
export interface Exchanged {
  charged: boolean;
  usage: TokenUsage | undefined;
  /** Micro-dollars, where the provider says what it charged. */
  told?: number | undefined;
  textBytes: number;
  /** 0 when there was no answer. */
  status: number;
  aborted: boolean;
  firstByteMs: number | undefined;
}

export interface ExchangeOptions {
  call: LlmCall;
  provider: LlmProvider;
  res: ServerResponse;
  request: UpstreamRequest;
  limits: LlmHandlerLimits;
  /** Monotonic milliseconds. */
  now: () => number;
  onUpstream: (data: Record<string, unknown>) => void;
  /** Ends the call at once, without draining: model access is over. */
  signal: AbortSignal;
}

/** Bytes of text that one output token can be, at most, before a provider counts as ignoring the limit. */
const BYTES_PER_TOKEN = 16;
const ERROR_BODY_BYTES = 256 * 1024;
/** Somebody on the way stopped waiting: the provider may have worked to the end and charged for it. */
const GAVE_UP = [504, 524];
/** How long a connection may wait for its call before another one is taken. */
const MAX_READY_MS = 1_000;

/** A request that may be made: its connection is looked for or opened meanwhile, and not a byte goes out before `send`. */
export interface Prepared {
  /** Forwards the call and answers the client, once. Never rejects. */
  send(body: Buffer): Promise<Exchanged>;
  /** It will not be made. */
  drop(): void;
}

export function prepareExchange(options: ExchangeOptions): Prepared {
  let opened: Opened | undefined = open(options);
  return {
    send: (body) => {
      // The provider may have closed, or be about to close, what waited here for long.
      if (opened && (opened.failed() || options.now() - opened.at > MAX_READY_MS)) opened.abort.abort();
      const usable = opened && !opened.abort.signal.aborted ? opened : open(options);
      opened = undefined;
      return exchange({ ...options, body, opened: usable });
    },
    drop: () => opened?.abort.abort(),
  };
}

async function exchange(options: ExchangeOptions & { body: Buffer; opened: Opened }): Promise<Exchanged> {
  const { body, res, limits, opened } = options;
  const { abort, upstream } = opened;
  const state = { aborted: false, timedOut: false };
  const clock = watch({ ms: limits.firstByteMs, onTimeout: () => end('timedOut') });
  let drain: NodeJS.Timeout | undefined;

  function end(why: 'timedOut' | 'drained'): void {
    if (why === 'timedOut') state.timedOut = true;
    abort.abort();
  }
  function clientGone(): void {
    if (res.writableFinished || drain !== undefined) return;
    state.aborted = true;
    drain = setTimeout(() => end('drained'), limits.drainMs);
  }
  res.once('close', clientGone);
  if (res.destroyed) clientGone();

  const started = options.now();
  const reply = await send(upstream, body);
  try {
    if (!reply.ok) {
      answerLost(options, { ...reply, timedOut: state.timedOut });
      return {
        charged: reply.sent,
        usage: undefined,
        textBytes: 0,
        status: 0,
        aborted: state.aborted,
        firstByteMs: undefined,
      };
    }
    const { response } = reply;
    const status = response.statusCode ?? 0;
    if (status < 200 || status > 299) {
      const usage = await answerRefused(options, response);
      return {
        charged: usage !== undefined || GAVE_UP.includes(status),
        usage,
        textBytes: 0,
        status,
        aborted: state.aborted,
        firstByteMs: undefined,
      };
    }
    const passed = await pass({ options, response, clock, abort: () => abort.abort(), started });
    return { charged: true, status, aborted: state.aborted, ...passed };
  } finally {
    clock.stop();
    clearTimeout(drain);
    res.off('close', clientGone);
  }
}

function answerLost(
  { res, call, signal, onUpstream }: ExchangeOptions,
  { sent, timedOut, distrust }: { sent: boolean; timedOut: boolean; distrust?: string },
): void {
  const lost = sent ? 'connection lost' : (distrust ?? 'unreachable');
  onUpstream({ status: 0, problem: timedOut ? 'timeout' : lost });
  if (signal.aborted) {
    sendError(res, call.wire, {
      status: 400,
      type: 'invalid_request_error',
      message: 'Cofferdam: model access of this run has ended',
    });
    return;
  }
  const unreached = distrust === undefined ? 'cannot be reached' : `cannot be trusted: ${distrust}`;
  const message = timedOut ? 'the model provider did not answer in time' : `the model provider ${unreached}`;
  sendError(res, call.wire, {
    status: timedOut ? 504 : 502,
    type: 'api_error',
    message: `Cofferdam: ${message}`,
    retry: true,
  });
}

/** Passes an error answer on; the usage in it, if there is one after all. */
async function answerRefused(options: ExchangeOptions, response: IncomingMessage): Promise<TokenUsage | undefined> {
  const { res, call, provider, onUpstream } = options;
  const status = response.statusCode ?? 0;
  const meter = createMeter({ wire: call.wire, events: false, maxBytes: ERROR_BODY_BYTES });
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Unpacked: what is looked for in it must not be hidden.
  await flow(
    decoded(response, options.limits, () => response.destroy()),
    (chunk) => {
      meter.push(chunk);
      bytes += chunk.length;
      if (bytes <= ERROR_BODY_BYTES) chunks.push(chunk);
      else response.destroy();
    },
  );
  meter.end();
  onUpstream({ status });
  if (status === 401 || status === 403 || (status >= 300 && status < 400)) {
    // The provider's own words can repeat parts of the key.
    const why = status < 400 ? 'sent a redirect, which is not followed' : "refused the operator's key";
    const message = `Cofferdam: the model provider ${why} (HTTP ${status}); the operator has to correct its settings`;
    sendError(res, call.wire, { status: 400, type: 'invalid_request_error', message });
  } else if (!res.headersSent && !res.destroyed) {
    const text = unreadable(response) === undefined ? Buffer.concat(chunks).toString('utf8') : '';
    const clean = provider.key === undefined || provider.key === '' ? text : text.replaceAll(provider.key, '[key]');
    res.writeHead(status < 400 ? 502 : status, answerHeaders(response.headers)).end(clean);
  }
  return meter.usage();
}

interface Pass {
  options: ExchangeOptions;
  response: IncomingMessage;
  clock: Watch;
  abort: () => void;
  started: number;
}

/** Passes a good answer on, chunk by chunk, with the client's back pressure, and reads it after that. */
async function pass({
  options,
  response,
  clock,
  abort,
  started,
}: Pass): Promise<Pick<Exchanged, 'usage' | 'told' | 'textBytes' | 'firstByteMs'>> {
  const { res, call, limits } = options;
  const events = /^text\/event-stream\b/i.test(response.headers['content-type'] ?? '');
  const meter = createMeter({ wire: call.wire, events, maxBytes: limits.maxMeteredBytes });
  let firstByteMs: number | undefined;
  let plain = 0;
  if (!res.destroyed && !res.headersSent) {
    const packed = unreadable(response);
    res.writeHead(200, {
      ...answerHeaders(response.headers),
      ...(packed === undefined ? {} : { 'content-encoding': packed }),
    });
    // The head goes out together with the first bytes where they have come already.
    setImmediate(() => firstByteMs === undefined && !res.writableEnded && res.flushHeaders());
  }
  const source = decoded(response, limits, abort);
  const resume = (): void => {
    clock.restart(limits.idleMs);
    source.resume();
  };
  res.on('drain', resume);
  // Without a client there is nobody to wait for: the rest is read for its price.
  res.once('close', resume);
  clock.restart(limits.idleMs);
  const complete = await flow(source, (chunk) => {
    firstByteMs ??= options.now() - started;
    if (res.destroyed || res.write(chunk)) clock.restart(limits.idleMs);
    else {
      source.pause();
      clock.stop();
    }
    meter.push(chunk);
    plain += chunk.length;
    if (events ? tooMuch(meter, call) : plain > limits.maxMeteredBytes) abort();
  });
  res.off('drain', resume);
  res.off('close', resume);
  if (complete) {
    meter.end();
    res.end();
  } else res.destroy();
  return { usage: meter.usage(), told: meter.told(), textBytes: events ? meter.textBytes() : 0, firstByteMs };
}

/** A provider that goes on far beyond the limit that it was given is cut off. */
function tooMuch(meter: Meter, call: LlmCall): boolean {
  return meter.textBytes() > call.output * BYTES_PER_TOKEN + 65_536;
}

/** Reads a stream to its end; false when it broke off. */
function flow(source: Readable, onChunk: (chunk: Buffer) => void): Promise<boolean> {
  return new Promise((resolve) => {
    source.on('data', onChunk);
    source.once('end', () => resolve(true));
    source.once('close', () => resolve(false));
    source.on('error', () => resolve(false));
  });
}

interface Watch {
  restart(ms: number): void;
  stop(): void;
}

function watch({ ms, onTimeout }: { ms: number; onTimeout: () => void }): Watch {
  let timer: NodeJS.Timeout | undefined = setTimeout(onTimeout, ms);
  let current = ms;
  return {
    restart: (next) => {
      // The same span again is the case of every chunk, and refreshing is cheap.
      if (timer !== undefined && next === current) timer.refresh();
      else {
        clearTimeout(timer);
        current = next;
        timer = setTimeout(onTimeout, next);
      }
    },
    stop: () => {
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
