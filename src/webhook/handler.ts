/**
 * The one door that the internet knocks at.
 *
 * Trust: before the signature matched, every byte is hostile: the size is capped, nothing is parsed. After it, the sender is GitHub,
 * but what it carries was typed by anybody. No payload and no message of an error goes into an answer (GitHub shows answers to the
 * App's owner) or into a log.
 */
import { generateKeyPair } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { Probot } from 'probot';
import { CofferdamError } from '../domain/errors.ts';
import { DeliveryId, Trigger, type TriggerSink } from '../domain/trigger.ts';
import { createLogger, type Logger } from '../telemetry/log.ts';
import { drainBody, readBody } from './body.ts';
import { Envelope } from './payload.ts';
import { readTrigger } from './read-trigger.ts';
import type { TriggerWords } from './reading.ts';

const WEBHOOK_PATH = '/api/github/webhooks';
/** GitHub sends no larger payload. */
const MAX_BYTES = 25 * 2 ** 20;
const BODY_TIMEOUT_MS = 30_000;

const TRIGGERS = Trigger.shape.event.options;

export interface WebhookOptions extends TriggerWords {
  secret: string;
  sink: TriggerSink;
  log: Logger;
}

/** Answers a request for the webhook path and resolves with true; false for any other path. Never rejects. */
export type WebhookHandler = (request: IncomingMessage, response: ServerResponse) => Promise<boolean>;

type Outcome = 'accepted' | 'duplicate' | 'full' | 'failed' | 'ignored';

/** Errors: `config` without a secret. */
export async function createWebhookHandler(options: WebhookOptions): Promise<WebhookHandler> {
  if (options.secret.length < 8) {
    const op = 'webhook.createWebhookHandler';
    throw new CofferdamError('config', op, 'WEBHOOK_SECRET is missing or shorter than 8 characters');
  }
  const outcomes = new WeakMap<object, Outcome>();
  const probot = await createReceiver(options, outcomes);
  return async (request, response) => {
    if (pathOf(request) !== WEBHOOK_PATH) return false;
    try {
      await answer({ request, response, probot, outcomes, log: options.log });
      // Cutting the connection at once would cost the sender the answer.
      if (!request.complete) drainBody(request, { maxBytes: 2 * MAX_BYTES, timeoutMs: BODY_TIMEOUT_MS });
    } catch (error) {
      options.log.error({ kind: error instanceof Error ? error.name : 'unknown' }, 'webhook failed');
      send(response, 500, 'internal');
    }
    return true;
  };
}

/** A Probot that calls no API: its key is made here and known to nobody, and its own log, which would print payloads, is silent. */
async function createReceiver(options: WebhookOptions, outcomes: WeakMap<object, Outcome>): Promise<Probot> {
  const key = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const probot = new Probot({
    appId: 1,
    privateKey: key.privateKey,
    secret: options.secret,
    log: createLogger({ level: 'silent' }),
  });
  await probot.ready();
  probot.on(TRIGGERS, async ({ id, name, payload }) => {
    outcomes.set(payload, await enqueue({ id, name, payload }, options));
  });
  probot.on(['installation', 'installation_repositories'], ({ id, name, payload }) => {
    options.log.info(
      { deliveryId: id, event: name, action: payload.action, installation: payload.installation.id },
      'installation',
    );
  });
  return probot;
}

async function enqueue(
  delivery: { id: string; name: string; payload: unknown },
  options: WebhookOptions,
): Promise<Outcome> {
  const log = options.log.child({ deliveryId: delivery.id, event: delivery.name });
  const reading = readTrigger(delivery, options);
  if ('ignored' in reading) {
    log.debug({ reason: reading.ignored }, 'delivery ignored');
    return 'ignored';
  }
  try {
    const outcome = await options.sink.enqueue(reading.trigger);
    log.info({ outcome, key: reading.trigger.key }, 'trigger');
    return outcome;
  } catch (error) {
    log.error({ kind: error instanceof Error ? error.name : 'unknown' }, 'trigger not enqueued');
    return 'failed';
  }
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  probot: Probot;
  outcomes: WeakMap<object, Outcome>;
  log: Logger;
}

async function answer({ request, response, probot, outcomes }: Exchange): Promise<void> {
  const head = readHead(request);
  if ('status' in head) {
    send(response, head.status, head.error);
    return;
  }
  const body = await readBody(request, { maxBytes: MAX_BYTES, timeoutMs: BODY_TIMEOUT_MS });
  if ('refused' in body) {
    if (body.refused !== 'aborted') send(response, body.refused === 'timeout' ? 408 : 413, body.refused);
    return;
  }
  const text = body.bytes.toString('utf8');
  if (!(await probot.webhooks.verify(text, head.signature).catch(() => false))) {
    send(response, 401, 'signature');
    return;
  }
  const payload = parse(text);
  if (payload === undefined) {
    send(response, 400, 'payload');
    return;
  }
  // The event's name comes from outside; unknown ones have no handler and end here.
  await probot.webhooks.receive({ id: head.id, name: head.event, payload } as Parameters<
    typeof probot.webhooks.receive
  >[0]);
  const outcome = outcomes.get(payload) ?? 'ignored';
  if (outcome === 'full' || outcome === 'failed') send(response, 503, outcome === 'full' ? 'queue_full' : 'queue');
  else send(response, 202, undefined);
}

type Head = { id: string; event: string; signature: string } | { status: number; error: string };

/** Refuses what cannot be a delivery before a byte of its body is read. */
function readHead(request: IncomingMessage): Head {
  if (request.method !== 'POST') return { status: 405, error: 'method' };
  if (!/^\s*application\/json\s*(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
    return { status: 415, error: 'content_type' };
  }
  const id = DeliveryId.safeParse(request.headers['x-github-delivery']);
  const event = request.headers['x-github-event'];
  if (!id.success || typeof event !== 'string' || !/^[a-z0-9_]{1,64}$/.test(event))
    return { status: 400, error: 'headers' };
  const signature = request.headers['x-hub-signature-256'];
  if (typeof signature !== 'string' || !/^sha256=[0-9a-f]{64}$/.test(signature))
    return { status: 401, error: 'signature' };
  return { id: id.data, event, signature };
}

function parse(text: string): Envelope | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Envelope.safeParse(value).success ? (value as Envelope) : undefined;
  } catch {
    return undefined;
  }
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0]?.replace(/\/+$/, '') ?? '';
}

function send(response: ServerResponse, status: number, error: string | undefined): void {
  if (response.headersSent || response.destroyed) return;
  const body = JSON.stringify(error === undefined ? { ok: true } : { ok: false, error });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  response.writeHead(status, headers).end(body);
}
