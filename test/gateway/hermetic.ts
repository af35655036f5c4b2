/** A gateway on a hermetic internet, and raw conversations with it. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { Internet } from '../../src/attack/internet.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { eventProblem } from '../../src/domain/events/events.ts';
import type { EgressPolicy, EgressRule } from '../../src/domain/policy.ts';
import { unreconciled } from './reconcile.ts';
import { createTrust } from '../../src/gateway/tls/trust.ts';
import { createGateway, type GatewaySettings, type RunningGateway } from '../../src/gateway/gateway.ts';

export type { Answers } from '../../src/attack/internet.ts';

export const PUBLIC = '93.184.216.34';
export const ALLOWED = 'allowed.test';

export interface Hermetic {
  socketPath: string;
  gateway: RunningGateway;
  internet: Internet;
  events: AuditEntry[];
  close: () => Promise<void>;
}

export function policyOf(rules: EgressRule[], deny: string[] = []): EgressPolicy {
  return {
    rules: rules.map((rule, index) => ({ ...rule, source: `policy line ${index + 1}` })),
    deny,
    gitRepositories: [],
  };
}

/** `allowed.test` resolves to a public address whose port 443 echoes. `ownDial`: as the gateway dials, on loopback. */
export async function hermetic(
  settings: Partial<GatewaySettings> & { rules?: EgressRule[]; deny?: string[]; ownDial?: boolean } = {},
): Promise<Hermetic> {
  const { rules = [{ host: ALLOWED, passThrough: true }], deny = [], ownDial = false, ...rest } = settings;
  const internet = new Internet();
  internet.names.set(ALLOWED, [PUBLIC]);
  await internet.echo(`${PUBLIC}:443`);
  const events: AuditEntry[] = [];
  const misfits: string[] = [];
  const { certificate } = await internet.authority();
  const directory = mkdtempSync(join(tmpdir(), 'cofgw-'));
  const gateway = await createGateway({
    policy: policyOf(rules, deny),
    audit: (entry) => {
      events.push(entry);
      misfits.push(...[eventProblem(entry)].filter((problem) => problem !== null));
      return Promise.resolve();
    },
    resolve: internet.resolve,
    ...(ownDial ? {} : { dial: internet.dial }),
    trust: createTrust({ ca: certificate }),
    ...rest,
  });
  const socketPath = join(directory, 'g.sock');
  await gateway.listen(socketPath);
  const close = async (): Promise<void> => {
    await gateway.close();
    const problems = settings.audit === undefined ? unreconciled(internet, events) : [];
    await internet.close();
    await rm(directory, { recursive: true, force: true });
    if (misfits.length > 0) throw new Error(`events that do not fit their schemas: ${misfits.join('; ')}`);
    if (problems.length > 0) throw new Error(`AUD-015: ${problems.join('; ')}`);
  };
  return { socketPath, gateway, internet, events, close };
}

/** A raw conversation on a Unix socket. */
export class Raw {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  ended = false;
  #wake: () => void = () => undefined;

  /** A path, or a conversation that has begun. */
  constructor(socket: string | Socket) {
    this.socket = typeof socket === 'string' ? connect({ path: socket, allowHalfOpen: true }) : socket;
    this.socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.#wake();
    });
    this.socket.on('error', () => undefined);
    for (const event of ['end', 'close'] as const) {
      this.socket.on(event, () => {
        this.ended = true;
        this.#wake();
      });
    }
  }

  send(bytes: string | Buffer): this {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    return this;
  }

  /** Waits until the condition holds or the peer ended; rejects after a minute. */
  async until(condition: (received: Buffer) => boolean): Promise<Buffer> {
    const waited = { late: false };
    const deadline = setTimeout(() => {
      waited.late = true;
      this.socket.destroy();
      this.#wake();
    }, 60_000);
    while (!waited.late && !condition(this.received) && !this.ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(deadline);
    // Its own end would look like the peer's.
    if (waited.late) throw new Error('waited too long');
    return this.received;
  }

  async head(): Promise<{ status: number; text: string }> {
    const text = (await this.until((bytes) => bytes.includes('\r\n\r\n'))).toString('latin1');
    return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
  }

  async finish(): Promise<string> {
    return (await this.until(() => false)).toString('latin1');
  }

  close(): void {
    this.socket.destroy();
  }
}

/** CONNECT, waits for the status; on a 200 the conversation goes on inside the tunnel. */
export async function connectTo(
  socketPath: string,
  authority: string,
): Promise<{ status: number; raw: Raw; text: string }> {
  const raw = new Raw(socketPath).send(`CONNECT ${authority} HTTP/1.1\r\n\r\n`);
  const { status, text } = await raw.head();
  raw.received = Buffer.alloc(0);
  return { status, raw, text };
}

/** A TLS client inside a tunnel, trusting the run's authority; begins `after` something; rejects when the handshake fails. */
export async function tlsTo(
  h: Hermetic,
  host: string,
  options: { port?: number; ca?: string; after?: Promise<unknown> | undefined } = {},
): Promise<Raw> {
  const { raw, status } = await connectTo(h.socketPath, `${host}:${options.port ?? 443}`);
  if (status !== 200) throw new Error(`CONNECT: ${status}`);
  await options.after;
  raw.socket.removeAllListeners('data');
  const secured = tlsConnect({
    socket: raw.socket,
    servername: host,
    ca: options.ca ?? h.gateway.authority,
    ALPNProtocols: ['http/1.1'],
  });
  await new Promise((resolve, reject) => {
    secured.once('secureConnect', resolve);
    secured.once('error', reject);
    secured.once('close', () => {
      reject(new Error('closed'));
    });
  });
  return new Raw(secured);
}

export interface HelloOptions {
  /** Server names in one list; undefined leaves the extension out. */
  names?: (string | Buffer)[] | undefined;
  ech?: boolean;
  /** Bytes of padding extension. */
  padding?: number;
}

/** Body of a ClientHello handshake message (with its header). */
export function helloMessage(options: HelloOptions = {}): Buffer {
  const {
    names = [ALLOWED],
    ech = false,
    padding = 0,
  } = 'names' in options ? options : { ...options, names: [ALLOWED] };
  const extensions: Buffer[] = [];
  if (!('names' in options) || options.names !== undefined) {
    const entries = names.map((name) => Buffer.concat([Buffer.from([0]), vector(2, Buffer.from(name))]));
    extensions.push(extension(0, vector(2, Buffer.concat(entries))));
  }
  if (ech) extensions.push(extension(0xfe0d, Buffer.alloc(32, 1)));
  if (padding > 0) extensions.push(extension(21, Buffer.alloc(padding)));
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    vector(1, Buffer.alloc(0)),
    vector(2, Buffer.from([0x13, 0x01])),
    vector(1, Buffer.from([0])),
    vector(2, Buffer.concat(extensions)),
  ]);
  return Buffer.concat([Buffer.from([1, body.length >> 16, (body.length >> 8) & 255, body.length & 255]), body]);
}

/** A ClientHello in records of at most `recordSize` bytes. */
export function clientHello(options: HelloOptions = {}, recordSize = 16_384): Buffer {
  const message = helloMessage(options);
  const records: Buffer[] = [];
  for (let offset = 0; offset < message.length; offset += recordSize) {
    records.push(Buffer.concat([Buffer.from([22, 3, 1]), vector(2, message.subarray(offset, offset + recordSize))]));
  }
  return Buffer.concat(records);
}

function extension(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type >> 8, type & 255]), vector(2, body)]);
}

function vector(width: 1 | 2, body: Buffer): Buffer {
  const length = width === 1 ? Buffer.from([body.length]) : Buffer.from([body.length >> 8, body.length & 255]);
  return Buffer.concat([length, body]);
}

/** Denials with this reason among the events. */
export function denials(events: AuditEntry[], reason?: string): AuditEntry[] {
  return events.filter(
    (event) => event.decision?.allow === false && (reason === undefined || event.decision.reason === reason),
  );
}
