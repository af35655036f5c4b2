/**
 * What a probe has at hand inside the sandbox. This file is sent there as text, with the probe behind it, and run by the
 * toolbox's own Node: it imports nothing but Node. Everything here resolves within its time, whatever is refused.
 */
import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { lookup as getaddrinfo, resolve4 } from 'node:dns/promises';
import fs from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';

const SOCKET = '/run/cofferdam/gateway.sock';
const CA = '/run/cofferdam/ca.pem';
const WAIT_MS = 6_000;
/** For a datagram that nobody is to answer. */
const FOREIGN_MS = 1_000;

/** What came back on a stream: all of it until it ended, `enough` of it, or the time was up. */
export interface Heard {
  connected: boolean;
  text: string;
  error?: string;
}

interface Talk {
  /** Sent one after the other, as latin1. */
  send?: readonly string[];
  /** Stops listening when the text so far is enough. */
  enough?: (text: string) => boolean;
  waitMs?: number;
}

function talk(
  socket: net.Socket,
  event: 'connect' | 'secureConnect',
  { send = [], enough, waitMs = WAIT_MS }: Talk,
): Promise<Heard> {
  return new Promise((resolve) => {
    const heard: Heard = { connected: false, text: '' };
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(heard);
    };
    const timer = setTimeout(done, waitMs);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      heard.error = error.code ?? error.message;
      done();
    });
    socket.on('data', (chunk: Buffer) => {
      heard.text += chunk.toString('latin1');
      if (enough?.(heard.text) === true) done();
    });
    socket.once('end', done).once('close', done);
    socket.once(event, () => {
      heard.connected = true;
      for (const piece of send) socket.write(Buffer.from(piece, 'latin1'));
    });
  });
}

/** A TCP connection as any program makes it. */
function tcp(host: string, port: number, how: Talk = {}): Promise<Heard> {
  return talk(net.connect({ host, port }), 'connect', how);
}

function unix(path: string, how: Talk = {}): Promise<Heard> {
  return talk(net.connect({ path }), 'connect', how);
}

/** Bytes on the gateway's socket itself. */
function gateway(send: string, how: Omit<Talk, 'send'> = {}): Promise<Heard> {
  return unix(SOCKET, { send: [send], ...how });
}

/** CONNECT; when it is granted the bytes inside the tunnel follow. */
function tunnel(authority: string, how: Talk = {}): Promise<Heard & { status: number }> {
  const { send = [], enough, waitMs = WAIT_MS } = how;
  return new Promise((resolve) => {
    const socket = net.connect({ path: SOCKET });
    const heard = { connected: false, text: '', status: 0 };
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(heard);
    };
    const timer = setTimeout(done, waitMs);
    let head = '';
    socket.on('data', (chunk: Buffer) => {
      if (heard.connected) heard.text += chunk.toString('latin1');
      else head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (!heard.connected && end !== -1) {
        heard.status = Number(head.slice(9, 12));
        heard.text = head.slice(end + 4);
        heard.connected = heard.status === 200;
        if (!heard.connected) return;
        void sendSlowly(socket, send);
      }
      if (heard.connected && enough?.(heard.text) === true) done();
    });
    socket.once('error', done).once('end', done).once('close', done);
    socket.write(Buffer.from(`CONNECT ${authority} HTTP/1.1\r\n\r\n`, 'latin1'));
  });
}

async function sendSlowly(socket: net.Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(Buffer.from(piece, 'latin1'));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** HTTP bytes inside TLS, as an ordinary client of the sandbox makes it: name, address, connection, the sandbox's CA file. */
async function https(
  host: string,
  bytes: string,
  how: Omit<Talk, 'send'> & { servername?: string } = {},
): Promise<Heard> {
  const address = await addressOf(host);
  if (address === undefined) return { connected: false, text: '', error: 'ENOTFOUND' };
  const ca = fs.readFileSync(CA, 'utf8');
  const socket = tls.connect({
    host: address,
    port: 443,
    servername: how.servername ?? host,
    ca,
    ALPNProtocols: ['http/1.1'],
  });
  return talk(socket, 'secureConnect', { send: [bytes], ...how });
}

/** The whole of an answer with a length. */
function answered(text: string): boolean {
  const end = text.indexOf('\r\n\r\n');
  const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1];
  return end !== -1 && length !== undefined && text.length >= end + 4 + Number(length);
}

function get(host: string, path: string, headers: readonly string[] = []): Promise<Heard> {
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${host}`, ...headers, 'Connection: close', '', ''];
  return https(host, lines.join('\r\n'), { enough: answered });
}

function addressOf(host: string): Promise<string | undefined> {
  return getaddrinfo(host, { family: 4 }).then(
    ({ address }) => address,
    () => undefined,
  );
}

/** As programs ask that bring a resolver of their own (c-ares). */
function ownAddressOf(host: string): Promise<string | undefined> {
  return resolve4(host).then(
    ([address]) => address,
    () => undefined,
  );
}

const TYPES: Readonly<Record<string, number>> = {
  A: 1,
  CNAME: 5,
  NULL: 10,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  HTTPS: 65,
  ANY: 255,
};

function question(name: string, type: string): Buffer {
  const labels = name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]);
  const head = Buffer.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, TYPES[type] ?? 1, 0, 1])]);
}

interface DnsAnswer {
  /** -1: no answer. */
  rcode: number;
  answers: number;
}

/** One question to a resolver of the caller's choice. The sandbox's own answers every one, if late on a busy machine; others are not there. */
async function dns(name: string, type = 'A', server = '127.0.0.1', over: 'udp' | 'tcp' = 'udp'): Promise<DnsAnswer> {
  const message = question(name, type);
  let reply: Buffer;
  const text = message.toString('latin1');
  if (over === 'udp') {
    reply = Buffer.from(await udp(server, 53, text, server === '127.0.0.1' ? WAIT_MS : FOREIGN_MS), 'latin1');
  } else {
    const length = String.fromCharCode(message.length >> 8, message.length & 255);
    const heard = await tcp(server, 53, { send: [length + text], enough: (answer) => answer.length > 14 });
    reply = Buffer.from(heard.text, 'latin1').subarray(2);
  }
  if (reply.length < 12) return { rcode: -1, answers: 0 };
  return { rcode: reply.readUInt8(3) & 15, answers: reply.readUInt16BE(6) };
}

/** A datagram; what came back in its time, or nothing. */
function udp(address: string, port: number, bytes: string, waitMs = FOREIGN_MS): Promise<string> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    const done = (text: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(text);
    };
    const timer = setTimeout(() => done(''), waitMs);
    socket.once('message', (message) => done(message.toString('latin1')));
    socket.once('error', () => done(''));
    socket.send(Buffer.from(bytes, 'latin1'), port, address, (error) => {
      if (error) done('');
    });
  });
}

interface Ran {
  /** -1: it could not be started or did not end in time. */
  code: number;
  text: string;
}

/** A program of the image or the toolbox. */
function run(argv: readonly string[], waitMs = 10_000): Promise<Ran> {
  return new Promise((resolve) => {
    const [file = '', ...args] = argv;
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), waitMs);
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    child.once('error', () => resolve({ code: -1, text: 'not there' }));
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? -1, text: text.slice(0, 20_000) });
    });
  });
}

/** Body of a TLS ClientHello in records of at most `recordSize` bytes; without names there is no such extension. */
function clientHello(names: readonly string[] | undefined, recordSize = 16_384): string {
  const vector = (width: 1 | 2, body: Buffer): Buffer =>
    Buffer.concat([
      width === 1 ? Buffer.from([body.length]) : Buffer.from([body.length >> 8, body.length & 255]),
      body,
    ]);
  const entries = (names ?? []).map((name) =>
    Buffer.concat([Buffer.from([0]), vector(2, Buffer.from(name, 'latin1'))]),
  );
  const sni = names === undefined ? [] : [Buffer.from([0, 0]), vector(2, vector(2, Buffer.concat(entries)))];
  const body = Buffer.concat([
    ...[Buffer.from([3, 3]), Buffer.alloc(32, 7), vector(1, Buffer.alloc(0))],
    ...[vector(2, Buffer.from([0x13, 0x01])), vector(1, Buffer.from([0])), vector(2, Buffer.concat(sni))],
  ]);
  const message = Buffer.concat([
    Buffer.from([1, body.length >> 16, (body.length >> 8) & 255, body.length & 255]),
    body,
  ]);
  let records = '';
  for (let at = 0; at < message.length; at += recordSize) {
    const record = Buffer.concat([Buffer.from([22, 3, 1]), vector(2, message.subarray(at, at + recordSize))]);
    records += record.toString('latin1');
  }
  return records;
}

/** CONNECT to one after the other: what each was answered. */
async function statuses(authorities: readonly string[], how: Talk = {}): Promise<number[]> {
  const all: number[] = [];
  for (const authority of authorities) all.push((await tunnel(authority, how)).status);
  return all;
}

export const inside = {
  fs,
  SOCKET,
  tcp,
  unix,
  gateway,
  tunnel,
  statuses,
  https,
  get,
  answered,
  addressOf,
  ownAddressOf,
  dns,
  udp,
  run,
  clientHello,
  sleep: (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms)),
  process,
  spawn,
  net,
};

export type Inside = typeof inside;
