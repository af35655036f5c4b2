import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { charge, tokens } from './books.ts';
import type { BookEntry, Outcome, PriceCard } from './books.ts';
import { generatedBytes } from './codec.ts';
import type { Answer, Codec } from './codec.ts';
import type { Fault, Reply, Script, ScriptCall, TokenCounts } from './script.ts';

/** One call on its way to an answer; `entry` is its line in the books and is brought up to date as tokens are made. */
export interface OpenCall {
  call: ScriptCall & { rawBody: string };
  codec: Codec;
  card: PriceCard;
  entry: BookEntry;
  script: Script;
  res: ServerResponse;
}

/** Asks the script, books the input, and writes the answer with the faults that the script wants. */
export async function answerCall(open: OpenCall): Promise<void> {
  const { call, codec, res, entry } = open;
  const reply = await open.script(call);
  const fault = reply.fault ?? {};
  if (fault.delayMs !== undefined) await sleep(fault.delayMs);
  if (reply.error !== undefined) {
    const { status, message, headers } = reply.error;
    entry.outcome = 'refused';
    send(res, status, JSON.stringify(codec.error(status, message)), { headers });
    return;
  }
  const full = count(call, reply, fault);
  book(open, { ...full, output: 0 }, 'open');
  if (res.destroyed) {
    entry.outcome = 'aborted';
    return;
  }
  const answer = toAnswer(open, reply, full);
  if (fault.rawBody !== undefined) {
    book(open, full, 'done');
    send(res, 200, fault.rawBody, { type: call.stream ? 'text/event-stream' : 'application/json', gzip: fault.gzip });
  } else if (call.stream) {
    await stream(open, { answer, full, fault });
  } else {
    book(open, full, 'done');
    send(res, 200, JSON.stringify(codec.whole(answer)), { gzip: fault.gzip });
  }
}

function count(call: OpenCall['call'], reply: Reply, fault: Fault): TokenCounts {
  const made = Math.max(1, tokens(generatedBytes({ text: reply.text ?? '', calls: reply.calls ?? [] })));
  const limit = fault.ignoreMaxTokens === true ? Infinity : (call.maxTokens ?? Infinity);
  const wanted = reply.usage ?? {};
  return {
    input: wanted.input ?? tokens(Buffer.byteLength(call.rawBody)),
    cacheRead: wanted.cacheRead ?? 0,
    cacheWrite: wanted.cacheWrite ?? 0,
    cacheWrite1h: wanted.cacheWrite1h ?? 0,
    output: Math.min(wanted.output ?? made, limit),
  };
}

function toAnswer({ call, codec }: OpenCall, reply: Reply, full: TokenCounts): Answer {
  const whole = reply.text ?? '';
  const limit = reply.fault?.ignoreMaxTokens === true ? Infinity : (call.maxTokens ?? Infinity);
  const truncated = (reply.usage?.output ?? tokens(generatedBytes({ text: whole, calls: reply.calls ?? [] }))) > limit;
  const instead = reply.fault?.reportedUsage;
  return {
    id: String(call.index).padStart(6, '0'),
    model: call.model,
    // A cut answer keeps no tool calls: half an argument list would be no call.
    text: truncated ? whole.slice(0, limit * 4) : whole,
    calls: truncated ? [] : (reply.calls ?? []),
    truncated,
    usage: full,
    reported: instead === undefined ? codec.usage(full) : 'omit' in instead ? undefined : instead.value,
    wantsUsage: call.wantsUsage,
  };
}

async function stream(open: OpenCall, made: { answer: Answer; full: TokenCounts; fault: Fault }): Promise<void> {
  const { res, codec } = open;
  const { answer, full, fault } = made;
  const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' };
  res.writeHead(200, fault.gzip === true ? { ...headers, 'content-encoding': 'gzip' } : headers);
  let frames = codec.frames(answer);
  if (fault.gzip === true) {
    book(open, full, 'done');
    res.end(gzipSync(frames.map((frame) => frame.sse).join('')));
    return;
  }
  let share = 0;
  for (let sent = 0; sent < frames.length; sent++) {
    if (fault.endless === true && frames[sent]?.carriesUsage === true) {
      const output = await endless(open, full, fault);
      if (output === undefined) return;
      // What was added is part of what the last frames tell.
      const usage = { ...full, output };
      const reported = fault.reportedUsage === undefined ? codec.usage(usage) : answer.reported;
      frames = codec.frames({ ...answer, usage, reported, truncated: true });
    }
    const frame = frames[sent];
    if (frame === undefined) break;
    if (fault.cutAfterFrames === sent || (fault.cutBeforeUsage === true && frame.carriesUsage === true)) {
      open.entry.outcome = 'cut';
      res.destroy();
      return;
    }
    share += frame.share;
    // Charged before it is sent, as a model is paid for what it generates and not for what arrives.
    if (fault.endless !== true) book(open, { ...full, output: Math.ceil(full.output * Math.min(1, share)) }, 'open');
    if (!(await write(res, frame.sse))) {
      open.entry.outcome = 'aborted';
      return;
    }
    if (fault.frameDelayMs !== undefined) await sleep(fault.frameDelayMs);
  }
  if (fault.endless !== true) book(open, full, 'done');
  open.entry.outcome = 'done';
  res.end();
}

/** Text until the output limit is used up; all output tokens then, or undefined when the client left before. */
async function endless(open: OpenCall, full: TokenCounts, fault: Fault): Promise<number | undefined> {
  const piece = 'and so on ';
  const limit = fault.ignoreMaxTokens === true ? Infinity : (open.call.maxTokens ?? Infinity);
  let output = full.output;
  book(open, full, 'open');
  while (output + tokens(piece.length) <= limit) {
    output += tokens(piece.length);
    book(open, { ...full, output }, 'open');
    if (!(await write(open.res, open.codec.textFrame(piece)))) {
      open.entry.outcome = 'aborted';
      return undefined;
    }
    await sleep(fault.frameDelayMs ?? 0);
  }
  return output;
}

/** Resolves once the bytes have left; false when the client is gone. */
async function write(res: ServerResponse, bytes: string): Promise<boolean> {
  if (res.destroyed) return false;
  return await new Promise((resolve) => res.write(bytes, (error) => resolve(error == null && !res.destroyed)));
}

function book({ entry, card }: OpenCall, usage: TokenCounts, outcome: Outcome): void {
  entry.usage = usage;
  entry.cost = charge(card, usage);
  entry.outcome = outcome;
}

interface Sending {
  type?: string;
  gzip?: boolean | undefined;
  headers?: Record<string, string> | undefined;
}

function send(res: ServerResponse, status: number, body: string, how: Sending): void {
  const headers = { 'content-type': how.type ?? 'application/json', ...how.headers };
  if (how.gzip === true) res.writeHead(status, { ...headers, 'content-encoding': 'gzip' }).end(gzipSync(body));
  else res.writeHead(status, headers).end(body);
}
