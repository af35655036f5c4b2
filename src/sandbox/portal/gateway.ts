import http from 'node:http';
import net from 'node:net';
import type { Socket } from 'node:net';

// Trust: the gateway is on the host and is trusted by the portal; nothing else is. What is sent to it (names, addresses) comes
// from the sandbox, and the gateway treats it as hostile whatever is checked here.

const AUTHORITY = 'gateway.cofferdam.internal';
const ANSWER_LIMIT = 4096;
const ANSWER_MS = 20_000;

/** A name's address in the sandbox; `refused` when policy or the resolver has none; `failed` when the gateway gave no answer. */
export type NameAnswer = { address: string; ttl: number } | 'refused' | 'failed';

export interface GatewayClient {
  /** With a type: a record that is no address was asked for. */
  name(name: string, type?: number): Promise<NameAnswer>;
  /** A raw connection to `host:port`, or undefined when the gateway refused it or is not there. */
  connect(host: string, port: number): Promise<Socket | undefined>;
  /** A plain connection to the gateway's socket, for clients that speak to it themselves. */
  open(): Socket;
  /** Resolves once the gateway holds the connection; `onLost` is called when that ends. */
  hold(onLost: () => void): Promise<void>;
}

/** A client for the gateway behind this Unix socket. */
export function gatewayClient(options: { socketPath: string }): GatewayClient {
  const { socketPath } = options;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  const open = () => net.connect({ path: socketPath, allowHalfOpen: true });
  return {
    name: (name, type) =>
      askName({ socketPath, agent, name: encodeURIComponent(name) + (type === undefined ? '' : `?type=${type}`) }),
    connect: (host, port) => tunnel({ open, authority: `${host}:${port}` }),
    open,
    hold: (onLost) => hold({ socketPath, onLost }),
  };
}

/** `name` as it stands in the path. */
function askName(options: { socketPath: string; agent: http.Agent; name: string }): Promise<NameAnswer> {
  return new Promise((resolve) => {
    const request = http.get(
      {
        socketPath: options.socketPath,
        agent: options.agent,
        host: AUTHORITY,
        path: `http://${AUTHORITY}/v1/name/${options.name}`,
        timeout: ANSWER_MS,
      },
      (response) => {
        if (response.statusCode === 404) {
          response.resume();
          resolve('refused');
          return;
        }
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (piece: string) => {
          text += piece;
          if (text.length > ANSWER_LIMIT) response.destroy();
        });
        response.on('error', () => resolve('failed'));
        response.on('close', () => resolve(response.statusCode === 200 ? parseAnswer(text) : 'failed'));
      },
    );
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve('failed'));
  });
}

function parseAnswer(text: string): NameAnswer {
  try {
    const value = JSON.parse(text) as { address?: unknown; ttl?: unknown } | null;
    const address = value?.address;
    const ttl = value?.ttl;
    if (typeof address === 'string' && net.isIPv4(address) && typeof ttl === 'number' && ttl >= 0) {
      return { address, ttl: Math.floor(ttl) };
    }
  } catch {
    // Not JSON: the same as any other answer that cannot be understood.
  }
  return 'failed';
}

function tunnel(options: { open: () => Socket; authority: string }): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const request = http.request({
      method: 'CONNECT',
      path: options.authority,
      headers: { host: options.authority },
      // Only without an agent is this the function that connects.
      createConnection: options.open,
    });
    request.on('connect', (response, socket: Socket, head: Buffer) => {
      if (response.statusCode !== 200) {
        socket.destroy();
        resolve(undefined);
        return;
      }
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    // An answer without a tunnel, and every failure.
    request.on('response', (response) => {
      response.destroy();
      resolve(undefined);
    });
    request.on('error', () => resolve(undefined));
    request.end();
  });
}

function hold(options: { socketPath: string; onLost: () => void }): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.get(
      {
        socketPath: options.socketPath,
        agent: new http.Agent({ keepAlive: false }),
        host: AUTHORITY,
        path: `http://${AUTHORITY}/v1/hold`,
      },
      (response) => {
        if (response.statusCode !== 200) {
          response.destroy();
          reject(new Error(`the gateway answered ${response.statusCode ?? 0} to /v1/hold`));
          return;
        }
        response.resume();
        response.on('error', () => undefined);
        response.on('close', options.onLost);
        resolve();
      },
    );
    // After the answer this changes nothing: the promise is settled and 'close' has told.
    request.on('error', reject);
  });
}
