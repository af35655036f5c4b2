/** Answers of the gateway itself, in the two shapes that it has at hand: a response object, and a raw socket after CONNECT. */
import { STATUS_CODES, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Decision, DenyReason } from '../domain/decision.ts';

type Denial = Decision & { allow: false };

const STATUS: Partial<Record<DenyReason, number>> = {
  malformed: 400,
  host_mismatch: 400,
  too_large: 413,
  too_many_connections: 429,
  name_limit: 429,
  bytes_limit: 429,
  miss_limit: 429,
  timeout: 504,
  name_not_found: 502,
  resolver_failed: 502,
  dial_failed: 502,
  certificate_invalid: 502,
  certificate_revoked: 502,
  audit_unavailable: 503,
};

function denialStatus(denial: Denial): number {
  return STATUS[denial.reason] ?? 403;
}

/** What the client reads: the reason, the rule, and what would change it. Never a secret, an address or another host. */
function denialBody(denial: Denial, hint?: string): string {
  const body = {
    error: 'denied by cofferdam',
    reason: denial.reason,
    rule: denial.rule,
    ...(hint === undefined ? {} : { hint }),
  };
  return `${JSON.stringify(body)}\n`;
}

export function sendDenial(response: ServerResponse, denial: Denial, hint?: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  // The rest of a refused request is not read: the connection ends with the answer.
  sendText(response, {
    status: denialStatus(denial),
    type: 'application/json',
    body: denialBody(denial, hint),
    close: true,
  });
}

export function sendText(
  response: ServerResponse,
  answer: { status: number; type?: string; body: string; close?: boolean },
): void {
  response.writeHead(answer.status, {
    'content-type': answer.type ?? 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(answer.body),
    ...(answer.close === true ? { connection: 'close' } : {}),
  });
  response.end(answer.body);
}

/** Ends a socket with a whole HTTP answer. */
export function endSocket(socket: Duplex, denial: Denial, hint?: string): void {
  if (socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = denialStatus(denial);
  const body = denialBody(denial, hint);
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Denied'}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n`;
  socket.end(head + body, () => {
    socket.destroy();
  });
}
