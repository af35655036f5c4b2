import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../src/local/free-port.ts';
import { gatewayClient } from '../../src/sandbox/portal/gateway.ts';
import { createNames } from '../../src/sandbox/portal/names.ts';
import { serveRelay } from '../../src/sandbox/portal/relay.ts';
import type { Relay } from '../../src/sandbox/portal/relay.ts';
import { stubGateway } from './stub-gateway.ts';
import type { StubGateway } from './stub-gateway.ts';

// The portal's own parts on loopback ports: 127.0.0.7 stands for the address that the gateway gave to a name.

let gateway: StubGateway;
let relay: Relay | undefined;

beforeEach(async () => {
  gateway = await stubGateway({ names: { 'allowed.test': '127.0.0.7' } });
});
afterEach(async () => {
  relay?.close();
  relay = undefined;
  await gateway.close();
});

async function start(options: { maxConnections?: number } = {}): Promise<{ port: number; proxy: number }> {
  const client = gatewayClient({ socketPath: path.join(gateway.socketDir, 'gateway.sock') });
  const names = createNames({ ask: (name) => client.name(name) });
  await names.lookup('allowed.test');
  const proxyPort = await freePort();
  relay = await serveRelay({ gateway: client, names, ports: [0], proxyPort, ...options });
  return { port: relay.ports[0] ?? 0, proxy: proxyPort };
}

async function exchange(host: string, port: number, send: string): Promise<string> {
  const socket = net.connect(port, host);
  let text = '';
  socket.on('data', (piece) => (text += piece.toString()));
  socket.on('error', () => undefined);
  socket.end(send);
  // Not `once`: a reset is one of the endings.
  await new Promise((resolve) => socket.on('close', resolve));
  return text;
}

describe('the portal’s relay', () => {
  it('connects by the name that the address was given to, and passes the half-close on', async () => {
    const { port } = await start();
    expect(await exchange('127.0.0.7', port, 'ping')).toBe('hello\nping');
    expect(gateway.connects).toEqual([`allowed.test:${port}`]);
  });

  it('NET-002 hands a bare address to the gateway, which refuses it, and delivers no byte', async () => {
    const { port } = await start();
    expect(await exchange('127.0.0.9', port, 'ping')).toBe('');
    expect(gateway.connects).toEqual([`127.0.0.9:${port}`]);
  });

  it('carries 8 MiB both ways unchanged', async () => {
    const { port } = await start();
    const payload = Buffer.alloc(8 * 2 ** 20, 'cofferdam');
    const socket = net.connect({ port, host: '127.0.0.7', allowHalfOpen: true });
    const pieces: Buffer[] = [];
    socket.on('data', (piece) => pieces.push(piece));
    socket.end(payload);
    await once(socket, 'close');
    expect(Buffer.concat(pieces).subarray(6).equals(payload)).toBe(true);
  });

  it('RES-006 closes what is over its limit, and serves again afterwards', async () => {
    const { port } = await start({ maxConnections: 4 });
    const held = Array.from({ length: 4 }, () => net.connect(port, '127.0.0.7'));
    await Promise.all(held.map((socket) => once(socket, 'data')));
    expect(await exchange('127.0.0.7', port, 'x')).toBe('');
    await Promise.all(
      held.map(async (socket) => {
        socket.end();
        await once(socket, 'close');
      }),
    );
    await expect.poll(() => exchange('127.0.0.7', port, 'x')).toBe('hello\nx');
  });

  it('passes a proxy’s clients on as they are', async () => {
    const { proxy } = await start();
    const text = await exchange(
      '127.0.0.1',
      proxy,
      'GET http://foo.test/a HTTP/1.1\r\nHost: foo.test\r\nConnection: close\r\n\r\n',
    );
    expect(text).toContain('proxied');
    expect(gateway.proxied).toEqual(['http://foo.test/a']);
  });

  it('closes the client when the gateway is gone', async () => {
    const { port } = await start();
    await gateway.close();
    expect(await exchange('127.0.0.7', port, 'ping')).toBe('');
    gateway = await stubGateway();
  });

  it('tells when the gateway lets go', async () => {
    const client = gatewayClient({ socketPath: path.join(gateway.socketDir, 'gateway.sock') });
    const lost = new Promise<void>((resolve) => void client.hold(resolve).then(() => gateway.dropHold()));
    await lost;
    await gateway.close();
    await expect(client.hold(() => undefined)).rejects.toThrow();
    gateway = await stubGateway();
  });
});
