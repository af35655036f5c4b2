import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:https';
import { createServer as createPlain } from 'node:http';
import type { IncomingMessage, RequestListener } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { createDialer } from '../../src/gateway/dialer.ts';
import { dialledRequests } from '../../src/gateway/llm/dialled.ts';
import { createTrust } from '../../src/gateway/tls/trust.ts';

const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0)) step();
});

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

function requests(ca?: string): ReturnType<typeof dialledRequests> {
  const limits = { resolveMs: 2_000, dialMs: 2_000 };
  const resolve = (host: string): Promise<string[]> =>
    Promise.resolve(host === 'metadata.example' ? ['169.254.169.254'] : ['127.0.0.1']);
  const dialer = createDialer({ limits, resolve, signal: new AbortController().signal });
  const made = dialledRequests({ dialer, trust: createTrust({ ca }), timeoutMs: 2_000 });
  undo.push(() => made.close());
  return made;
}

async function ask(made: ReturnType<typeof dialledRequests>, url: string): Promise<string> {
  const signal = new AbortController().signal;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = made.request(new URL(url), { method: 'POST', headers: { 'content-length': 2 }, signal });
    request.once('response', resolve).once('error', reject).end('hi');
  });
  let body = '';
  for await (const chunk of response) body += String(chunk);
  return body;
}

const says: RequestListener = (req, res) => res.end(`hello ${req.socket.remotePort ?? 0}`);

/** A self-signed certificate, made by openssl (which every host with CA certificates has). */
function certificate(name: string): { key: string; cert: string } {
  const directory = mkdtempSync(join(tmpdir(), 'cofferdam-llm-'));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`];
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}

test('keeps a connection for the next call', async () => {
  const port = await listening(createPlain(says));
  const made = requests();
  const first = await ask(made, `http://llm.corp.example:${port}/v1`);
  expect(await ask(made, `http://llm.corp.example:${port}/v1`)).toBe(first);
});

test('refuses an address that no operator can mean', async () => {
  await expect(ask(requests(), 'http://metadata.example:80/')).rejects.toThrow('address_forbidden');
});

test('an endpoint that nobody serves is an error before any byte is sent', async () => {
  const server = createPlain(says);
  const port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  await expect(ask(requests(), `http://llm.corp.example:${port}/`)).rejects.toThrow('does not answer');
});

test('certificates are verified, against the operator’s own authority where there is one', async () => {
  const made = certificate('llm.corp.example');
  const port = await listening(createServer(made, says));
  expect(await ask(requests(made.cert), `https://llm.corp.example:${port}/`)).toMatch(/^hello/);
  await expect(ask(requests(), `https://llm.corp.example:${port}/`)).rejects.toThrow('egress.caFile');
  await expect(ask(requests(made.cert), `https://other.corp.example:${port}/`)).rejects.toThrow('of other names');
});
