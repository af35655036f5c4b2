import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TriggerSink } from '../domain/trigger.ts';
import type { Logger } from '../telemetry/log.ts';
import { createWebhookHandler } from '../webhook/handler.ts';

export interface ServerOptions {
  host: string;
  port: number;
  webhookSecret: string;
  prefix: string;
  label: string;
  sink: TriggerSink;
  /** Answers what is below `/runs`. */
  pages?: (request: IncomingMessage, response: ServerResponse) => Promise<boolean>;
  /** Answers whether Redis is reachable. */
  healthy: () => Promise<boolean>;
  log: Logger;
}

export interface RunningServer extends AsyncDisposable {
  url: string;
}

/** The process that faces the internet: webhooks and health. It holds no App key, no Docker socket and no model key. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const webhook = await createWebhookHandler({
    secret: options.webhookSecret,
    prefix: options.prefix,
    label: options.label,
    sink: options.sink,
    log: options.log,
  });
  const server = createServer((request, response) => {
    route(options, webhook, request, response).catch(() => response.destroy());
  });
  // Slow senders: GitHub delivers a body within seconds.
  server.headersTimeout = 15_000;
  server.requestTimeout = 60_000;
  await listen(server, options);
  const address = server.address() as AddressInfo;
  return {
    url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`,
    [Symbol.asyncDispose]: () => close(server),
  };
}

async function route(
  options: ServerOptions,
  webhook: (request: IncomingMessage, response: ServerResponse) => Promise<boolean>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (await webhook(request, response)) return;
  if (await options.pages?.(request, response)) return;
  if (request.method === 'GET' && request.url === '/healthz') {
    const ok = await options.healthy().catch(() => false);
    respond(response, ok ? 200 : 503, { ok });
    return;
  }
  respond(response, 404, { error: 'not_found' });
}

function respond(response: ServerResponse, status: number, body: Record<string, unknown>): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}

function listen(server: Server, options: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
    // An open delivery gets a moment; the queue has it or GitHub can send it again.
    setTimeout(() => server.closeAllConnections(), 5000).unref();
  });
}
