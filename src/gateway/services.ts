/**
 * What the gateway answers itself, below cofferdam.internal: names and the lifeline for the portal, git, the model.
 *
 * Trust: every request comes from the hostile sandbox; the portal has no rights that another process there lacks.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { deny } from '../domain/decision.ts';
import { INTERNAL_SUFFIX } from '../policy/egress/decide.ts';
import { checkHead } from '../policy/egress/http-head.ts';
import { sendText } from './answers.ts';
import { headOf, refuse } from './forward.ts';
import { createHttpFront } from './front.ts';
import type { GatewayLimits } from './limits.ts';
import type { Names } from './names.ts';
import type { Destination, Recorder } from './recorder.ts';

/** Answers one request whose Host named the service. `request.url` is in origin form. */
export type Service = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

export interface Services {
  hosts: ReadonlySet<string>;
  /** A connection to one of the hosts, after CONNECT. */
  serve: (socket: Duplex, rest: Buffer, at: Destination) => void;
  /** One request to one of the hosts. */
  answer: (host: string, request: IncomingMessage, response: ServerResponse) => void;
  close: () => void;
}

export const SELF = `gateway${INTERNAL_SUFFIX}`;
/** Seconds that the portal may keep an answer: an address never changes its name within a run. */
const NAME_TTL = 300;

export function createServices(options: {
  names: () => Names;
  limits: Pick<GatewayLimits, 'headMs' | 'idleMs'>;
  recorder: Recorder;
  /** First label → handler: `git`, `llm`. */
  services: Readonly<Record<string, Service>>;
}): Services {
  const byHost = new Map<string, Service>(
    Object.entries(options.services).map(([label, service]) => [`${label}${INTERNAL_SUFFIX}`, service]),
  );
  byHost.set(SELF, (request, response) => self(options.names(), request, response));
  const hosts: ReadonlySet<string> = new Set(byHost.keys());

  function answer(host: string, request: IncomingMessage, response: ServerResponse): void {
    const service = byHost.get(host);
    if (!service) {
      sendText(response, { status: 404, body: 'no such service\n' });
      return;
    }
    Promise.resolve(service(request, response)).catch(() => {
      if (response.headersSent) response.destroy();
      else sendText(response, { status: 500, body: 'the gateway failed on this request\n', close: true });
    });
  }

  const places = new WeakMap<Duplex, Destination>();
  const front = createHttpFront({
    limits: options.limits,
    recorder: options.recorder,
    handlers: {
      request: (request, response) => {
        const at = places.get(request.socket);
        if (!at) return void response.destroy();
        const head = checkHead(headOf(request), { ...at, defaultPort: 80 });
        if (head.ok) answer(at.host, request, response);
        else void refuse(options, response, { at, decision: deny('http', head.reason), what: head.what });
      },
    },
  });

  return {
    hosts,
    serve: (socket, rest, at) => {
      places.set(front.take(socket, rest, at), at);
    },
    answer,
    close: () => front.close(),
  };
}

async function self(names: Names, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = request.url ?? '';
  if (request.method !== 'GET') {
    sendText(response, { status: 405, body: 'GET only\n' });
  } else if (url === '/v1/hold') {
    // Never ends: its end tells the portal that the gateway is gone.
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.flushHeaders();
    response.write('\n');
  } else if (url.startsWith('/v1/name/')) {
    const [, name = '', type] = /^\/v1\/name\/([^?]*)(?:\?type=(\d{1,5}))?/.exec(url) ?? [];
    const answer =
      type === undefined ? await names.answer(decoded(name)) : await names.refuse(decoded(name), Number(type));
    if (answer.address === undefined) sendText(response, { status: 404, body: 'no such name\n' });
    else
      sendText(response, {
        status: 200,
        type: 'application/json',
        body: JSON.stringify({ address: answer.address, ttl: NAME_TTL }),
      });
  } else {
    sendText(response, { status: 404, body: 'no such path\n' });
  }
}

function decoded(raw: string): string {
  try {
    return decodeURIComponent(raw);
  } catch {
    return raw;
  }
}
