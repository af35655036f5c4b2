// The portal: init's one child inside the sandbox, run by the toolbox's Node as root without capabilities.
//
// Trust: it is a convenience for the programs in the sandbox, trusted by nobody. It holds no secret, knows no policy and
// writes no record. If it were replaced by an attacker's, that one could say to the gateway exactly what the agent can say
// by itself over the same socket. What it must do is end: without it the container is gone.

import { chmodSync, mkdirSync } from 'node:fs';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { serveDns } from './dns.ts';
import { PORTAL_EXIT } from './exit.ts';
import { gatewayClient } from './gateway.ts';
import { createNames } from './names.ts';
import { serveRelay } from './relay.ts';

const DNS_PORT = 53;
const MAX_TIMER_MS = 2 ** 31 - 1;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ports: { type: 'string', default: '' },
      proxy: { type: 'string' },
      deadline: { type: 'string' },
      socket: { type: 'string', default: '/run/cofferdam/gateway.sock' },
    },
  });
  const left = Number(values.deadline) - Date.now();
  if (!(left > 0)) throw new Error('the deadline has passed');
  setTimeout(() => process.exit(PORTAL_EXIT.deadline), Math.min(left, MAX_TIMER_MS));
  provideDirectories();
  const gateway = gatewayClient({ socketPath: values.socket });
  const names = createNames({ ask: (name, type) => gateway.name(name, type) });
  const ports = values.ports.split(',').filter((port) => port !== '');
  await serveDns({ names, port: DNS_PORT, hosts: ['127.0.0.1', '0.0.0.0'] });
  await serveRelay({
    gateway,
    names,
    ports: ports.map(Number).filter((port) => port !== DNS_PORT),
    proxyPort: Number(values.proxy),
  });
  await gateway.hold(() => process.exit(PORTAL_EXIT.gatewayLost));
  process.stdout.write('{"portal":"ready"}\n');
}

/** For images that know nothing of us. Root without capabilities cannot give them away, so they are open to all. */
function provideDirectories(): void {
  for (const directory of ['/workspace', '/home/agent']) {
    try {
      if (mkdirSync(directory, { recursive: true }) !== undefined) chmodSync(directory, 0o777);
    } catch {
      // A read-only or unusual image: the command that needs the directory will say so.
    }
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`portal: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(PORTAL_EXIT.failed);
});
