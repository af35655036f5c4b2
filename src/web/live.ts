/** Live pages by server-sent events: the parts of a page that changed, as they would be written into a page now. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { HEADERS } from './answer.ts';
import { runParts, runTitle } from './view/page.ts';
import type { RunView } from './view/run-view.ts';

export interface LiveOptions {
  /** The run as it stands; null when it may not be seen any more. */
  look: () => Promise<RunView | null>;
  /** Resolves when there may be something new. */
  changed: (signal: AbortSignal) => Promise<void>;
}

/** Between two messages at least. */
const PACE_MS = 400;
/** The queue's side of a run changes without a line in its log. */
const AT_LEAST_MS = 2_500;
const HEARTBEAT_MS = 15_000;
/** Browsers open the connection again by themselves; access is then checked anew. */
const LIFETIME_MS = 10 * 60_000;
const MAX_BACKLOG = 4 * 1_048_576;

/** How many pages are live at a time, in all: each holds a connection. */
export interface LiveLimit {
  open: number;
  readonly most: number;
}

function say(response: ServerResponse, event: string, data: unknown): void {
  response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** Writes until the run is over, the reader is gone, or may not look any more. */
export async function serveLive(
  exchange: { request: IncomingMessage; response: ServerResponse },
  options: LiveOptions,
  limit: LiveLimit,
): Promise<void> {
  const { request, response } = exchange;
  if (limit.open >= limit.most) {
    response
      .writeHead(503, { ...HEADERS, 'retry-after': '10', 'content-type': 'text/plain' })
      .end('too many live pages\n');
    return;
  }
  const headers = { ...HEADERS, 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' };
  if (request.method === 'HEAD') {
    response.writeHead(200, headers).end();
    return;
  }
  limit.open += 1;
  const gone = new AbortController();
  request.once('close', () => gone.abort());
  response.once('close', () => gone.abort());
  response.writeHead(200, headers);
  response.write('retry: 3000\n\n');
  const heartbeat = setInterval(() => response.write(': \n\n'), HEARTBEAT_MS);
  try {
    await tell(response, options, gone.signal);
  } finally {
    limit.open -= 1;
    clearInterval(heartbeat);
    response.end();
  }
}

async function tell(response: ServerResponse, options: LiveOptions, gone: AbortSignal): Promise<void> {
  const told = new Map<string, string>();
  const end = Date.now() + LIFETIME_MS;
  while (!gone.aborted && Date.now() < end) {
    const view = await options.look();
    if (view === null) {
      say(response, 'lost', {});
      return;
    }
    for (const { id, markup } of runParts(view)) {
      if (told.get(id) === markup.text) continue;
      told.set(id, markup.text);
      say(response, 'part', { id, html: markup.text, title: runTitle(view) });
    }
    if (view.over) {
      say(response, 'over', {});
      return;
    }
    // Whoever does not read is let go; the browser opens the page's stream again when it can.
    if (response.writableLength > MAX_BACKLOG) return;
    await Promise.race([
      options.changed(AbortSignal.any([gone, AbortSignal.timeout(AT_LEAST_MS)])),
      wait(AT_LEAST_MS, gone),
    ]);
    await wait(PACE_MS, gone);
  }
}

async function wait(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
