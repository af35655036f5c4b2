/**
 * A hermetic internet: names, addresses, and the sink that keeps every byte that was sent to them. It stands where the
 * outside is, for the battery and for tests of the gateway; nothing in it is on a network.
 */
import { mkdtempSync } from 'node:fs';
import { chmod, rm } from 'node:fs/promises';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLSSocket, type SecureContext } from 'node:tls';
import { createRunAuthority, type RunAuthority } from '../gateway/tls/authority.ts';
import { DIALLED, outsideAt, type Question } from './outside.ts';

export type Answers = string[] | (() => string[] | Promise<string[]>);

/** The outside: names, addresses, and what was sent to them. */
export class Internet {
  readonly names = new Map<string, Answers>();
  /** Every question that reached the resolver, in order. */
  readonly queries: string[] = [];
  /** Every address that was dialled, `ip:port`. */
  readonly dials: string[] = [];
  /** Where what is kept is exactly what came over the wire, `ip:port`. */
  readonly raw = new Set<string>();
  readonly #listeners = new Map<string, (socket: Socket) => void>();
  readonly #bytes = new Map<string, Buffer[]>();
  readonly #sockets = new Set<Socket>();
  #authority: Promise<RunAuthority> | undefined;
  #door: Promise<{ path: string; server: Server; directory: string }> | undefined;

  /** Listens for `ip:port`. The handler gets each connection and keeps what arrives. */
  serve(at: string, handler: (socket: Socket) => void): Promise<void> {
    this.#listeners.set(at, handler);
    return Promise.resolve();
  }

  /** Keeps what arrives and answers every piece with `echo:` and itself. */
  async echo(at: string): Promise<void> {
    this.raw.add(at);
    await this.serve(at, (socket) => {
      socket.on('data', (chunk: Buffer) => {
        this.keep(at, chunk);
        socket.write(Buffer.concat([Buffer.from('echo:'), chunk]));
      });
      socket.on('end', () => socket.end());
    });
  }

  /** An HTTPS host: a real TLS stack and a real HTTP parser; the sink keeps the requests as they were read. */
  async serveHttps(at: string, host: string, handler: RequestListener): Promise<void> {
    await this.serveTls(at, await (await this.authority()).contextFor(host), handler);
  }

  /** As `serveHttps`, with a certificate of the caller's choice. */
  async serveTls(at: string, secureContext: SecureContext, handler: RequestListener): Promise<void> {
    const http = createHttpServer((request, response) => {
      const headers = request.rawHeaders.flatMap((name, index) =>
        index % 2 === 0 ? `${name}: ${request.rawHeaders[index + 1] ?? ''}` : [],
      );
      this.keep(
        at,
        Buffer.from([`${request.method ?? ''} ${request.url ?? ''}`, ...headers, '', ''].join('\r\n'), 'latin1'),
      );
      request.on('data', (chunk: Buffer) => this.keep(at, chunk));
      handler(request, response);
    });
    await this.serve(at, (socket) => {
      const secured = new TLSSocket(socket, { isServer: true, secureContext, ALPNProtocols: ['http/1.1'] });
      secured.on('error', () => undefined);
      http.emit('connection', secured);
    });
  }

  /** Who signs for the hosts of this internet. */
  authority(): Promise<RunAuthority> {
    const rules = ['test', 'com'].map((host) => ({ host, source: 'hermetic internet' }));
    this.#authority ??= createRunAuthority({
      runName: 'hermetic internet',
      policy: { rules, deny: [], gitRepositories: [] },
    });
    return this.#authority;
  }

  keep(at: string, chunk: Buffer): void {
    const kept = this.#bytes.get(at) ?? [];
    kept.push(chunk);
    this.#bytes.set(at, kept);
  }

  sink(at: string): Buffer {
    return Buffer.concat(this.#bytes.get(at) ?? []);
  }

  /** Every `ip:port` at which something arrived. */
  kept(): string[] {
    return [...this.#bytes.keys()];
  }

  sinkTotal(): number {
    return [...this.#bytes.values()].flat().reduce((sum, chunk) => sum + chunk.length, 0);
  }

  readonly resolve = async (host: string): Promise<string[]> => {
    this.queries.push(host);
    const answers = this.names.get(host);
    if (!answers) throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
    return typeof answers === 'function' ? await answers() : answers;
  };

  readonly dial = async (target: { address: string; port: number }, signal: AbortSignal): Promise<Socket> =>
    outsideAt(await this.open()).dial(target, signal);

  /** Path of the socket through which another process reaches this internet: see `outsideAt`. */
  async open(): Promise<string> {
    this.#door ??= this.#listen();
    return (await this.#door).path;
  }

  async #listen(): Promise<{ path: string; server: Server; directory: string }> {
    const directory = mkdtempSync(join(tmpdir(), 'cofnet-'));
    const path = join(directory, 's');
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
      this.#readQuestion(socket);
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    // The gateway's process is a user of its own.
    await chmod(directory, 0o755);
    await chmod(path, 0o666);
    return { path, server, directory };
  }

  /** One line of JSON, sent alone: the other side waits for the answer. */
  #readQuestion(socket: Socket): void {
    socket.once('readable', () => {
      const line = socket.read() as Buffer | null;
      if (line === null) return;
      const question = JSON.parse(line.toString()) as Question;
      if ('resolve' in question) void this.#answer(socket, question.resolve);
      else this.#connect(socket, question.dial);
    });
  }

  async #answer(socket: Socket, host: string): Promise<void> {
    const answer = await this.resolve(host).then(
      (addresses) => ({ addresses }),
      (error: unknown) => ({ code: error instanceof Error && 'code' in error ? error.code : 'ESERVFAIL' }),
    );
    socket.end(JSON.stringify(answer));
  }

  #connect(socket: Socket, at: string): void {
    this.dials.push(at);
    const listener = this.#listeners.get(at);
    if (!listener) {
      socket.destroy();
      return;
    }
    socket.write(DIALLED);
    listener(socket);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const door = await this.#door;
    if (!door) return;
    await new Promise((resolve) => door.server.close(resolve));
    await rm(door.directory, { recursive: true, force: true });
  }
}
