// The proof that a sandbox gives before anything of its image or task runs, as one line of JSON. It runs as the agent and as
// root. Host names are never looked up through the system's resolver: that could load code that the image names.

import dgram from 'node:dgram';
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import process from 'node:process';
import { PORTAL_ADDRESS, PORTAL_NAME } from './names.ts';

interface Check {
  name: string;
  ok: boolean;
  observed: string;
}

const BLOCKED_NAME = 'cofferdam-self-test.invalid';
const GATEWAY_SOCKET = '/run/cofferdam/gateway.sock';
const ANSWER_MS = 8_000;
const UDP_MS = 1_000;
const TYPE_A = 1;

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** The kernel's own words; the start-up banner was read before this by another program. */
function gvisor(): Check {
  const observed = `${read('/proc/version').trim()}; ${read('/proc/cmdline').trim()}`;
  return { name: 'gvisor', ok: /vmlinuz-[0-9.]+-gvisor/.test(observed), observed };
}

function capabilities(): Check {
  const status = read('/proc/self/status');
  const sets = [...status.matchAll(/^Cap(Inh|Prm|Eff|Bnd|Amb):\s*([0-9a-f]+)$/gm)];
  const ok = sets.length >= 4 && sets.every(([, , bits = '1']) => /^0+$/.test(bits));
  return { name: 'capabilities', ok, observed: sets.map(([, set, bits]) => `${set ?? ''}=${bits ?? ''}`).join(' ') };
}

function interfaces(): Check {
  const names = read('/proc/net/dev')
    .split('\n')
    .slice(2)
    .map((line) => line.split(':')[0]?.trim() ?? '')
    .filter((name) => name !== '');
  return { name: 'interfaces', ok: names.join() === 'lo', observed: names.join(', ') };
}

/** Every directory but the kernel's and the toolbox, which the host has looked through. */
function sockets(): Check {
  const found: string[] = [];
  const queue = ['/'];
  for (let directory = queue.pop(); directory !== undefined; directory = queue.pop()) {
    if (['/proc', '/sys', '/opt/cofferdam'].includes(directory)) continue;
    try {
      for (const entry of readdirSync(directory, { withFileTypes: true })) {
        const file = path.join(directory, entry.name);
        if (entry.isSocket()) found.push(file);
        else if (entry.isDirectory()) queue.push(file);
      }
    } catch {
      // A directory that this user may not read: root's turn comes.
    }
  }
  return {
    name: 'sockets',
    ok: found.every((file) => file === GATEWAY_SOCKET),
    observed: found.slice(0, 20).join(', '),
  };
}

/** Must be refused, or be taken and closed without a byte. */
function silentAddress(name: string, host: string, port: number): Promise<Check> {
  return new Promise((resolve) => {
    let bytes = 0;
    const socket = net.connect({ host, port });
    const done = (ok: boolean, how: string): void => {
      resolve({ name, ok: ok && bytes === 0, observed: `${host}:${port} ${how}, ${bytes} bytes` });
      socket.destroy();
    };
    socket.setTimeout(ANSWER_MS, () => done(false, 'stayed open'));
    socket.on('connect', () => socket.write('GET / HTTP/1.0\r\n\r\n'));
    socket.on('data', (piece) => (bytes += piece.length));
    socket.on('error', (error: NodeJS.ErrnoException) => done(true, `refused (${error.code ?? 'error'})`));
    socket.on('close', () => done(true, 'closed'));
  });
}

function question(name: string): Buffer {
  const labels = name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  const header = Buffer.from([0x43, 0x44, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, TYPE_A, 0, 1])]);
}

/** `refused`, `silent`, or the answer's code and its last four bytes (the address, when it has one). */
function askTcp(host: string, name: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port: 53 });
    let received = Buffer.alloc(0);
    const done = (text: string): void => {
      resolve(text);
      socket.destroy();
    };
    socket.setTimeout(ANSWER_MS, () => done('silent'));
    socket.on('connect', () => {
      const message = question(name);
      socket.write(Buffer.concat([Buffer.from([0, message.length]), message]));
    });
    socket.on('data', (piece) => {
      received = Buffer.concat([received, piece]);
      if (received.length > 2 && received.length >= 2 + received.readUInt16BE(0)) done(describe(received.subarray(2)));
    });
    socket.on('error', () => done('refused'));
    socket.on('close', () => done('closed'));
  });
}

function askUdp(host: string, name: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    let isDone = false;
    const done = (text: string): void => {
      if (isDone) return;
      isDone = true;
      resolve(text);
      socket.close();
    };
    setTimeout(() => done('silent'), UDP_MS);
    socket.on('message', (message) => done(describe(message)));
    socket.on('error', () => done('refused'));
    socket.send(question(name), 53, host, (error) => error && done('refused'));
  });
}

function describe(message: Buffer): string {
  if (message.length < 12) return 'malformed';
  const code = message.readUInt16BE(2) & 0xf;
  return message.readUInt16BE(6) === 0 ? `code ${code}` : `code ${code} ${[...message.subarray(-4)].join('.')}`;
}

async function blockedName(): Promise<Check> {
  const observed = await askTcp('127.0.0.1', BLOCKED_NAME);
  return { name: 'blocked_name', ok: observed === 'code 3', observed };
}

/** Only the portal knows its own name; a resolver of the internet would say that there is none. */
async function foreignResolver(): Promise<Check> {
  const own = `code 0 ${PORTAL_ADDRESS}`;
  const [tcp, udp] = await Promise.all([askTcp('8.8.8.8', PORTAL_NAME), askUdp('8.8.8.8', PORTAL_NAME)]);
  const ok = [own, 'refused'].includes(tcp) && [own, 'refused', 'silent'].includes(udp);
  return { name: 'foreign_resolver', ok, observed: `tcp ${tcp}; udp ${udp}` };
}

const checks: Check[] = [gvisor(), capabilities(), interfaces(), sockets()];
checks.push(
  ...(await Promise.all([
    blockedName(),
    foreignResolver(),
    silentAddress('raw_address', '1.1.1.1', 443),
    silentAddress('metadata_address', '169.254.169.254', 80),
  ])),
);
process.stdout.write(`${JSON.stringify({ checks })}\n`);
process.exit(0);
