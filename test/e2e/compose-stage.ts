import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../src/local/free-port.ts';
import { startStandIn, type StandIn } from '../../src/local/github/stand-in.ts';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import { machinePaths } from '../../src/local/machine/directory.ts';
import { runCommand, type CommandResult } from '../../src/local/machine/process.ts';
import { fixProject } from '../../src/local/provider/fix-project.ts';
import { startProvider, type RunningProvider } from '../../src/local/provider/server.ts';

export const KEY = 'sk-canary-of-the-compose-test';

/** A project without dependencies, since the containers of a private Docker reach no registry. */
const PROJECT = {
  'package.json': '{ "type": "module", "scripts": { "test": "node --test" } }\n',
  'add.js': 'export const add = (a, b) => a - b;\n',
  'add.test.js':
    "import assert from 'node:assert/strict';\nimport { test } from 'node:test';\nimport { add } from './add.js';\n\ntest('adds', () => assert.equal(add(2, 3), 5));\n",
  '.github/cofferdam.yml': 'verify: [npm test]\n',
};

const script = fixProject({
  title: 'Make add() add',
  steps: [
    { read: 'add.js' },
    { edit: { path: 'add.js', before: 'a - b', after: 'a + b' } },
    { run: 'npm test' },
    { say: 'add() adds now.' },
  ],
});

/** A compose project on the private Docker, and a GitHub and a model on this machine's loopback for it. */
export interface ComposeStage extends AsyncDisposable {
  project: string;
  dir: string;
  dataDir: string;
  url: string;
  standIn: StandIn;
  provider: RunningProvider;
  shop: RepositoryHandle;
  compose: (...args: string[]) => Promise<CommandResult>;
}

/**
 * Carries ports of this machine's loopback into the network of a container: a socket in a mounted directory for each. So
 * nothing here listens on an address that others reach, and the containers reach nothing else.
 */
async function carry(directory: string, ports: readonly number[]): Promise<Server[]> {
  await mkdir(directory, { recursive: true });
  return Promise.all(
    ports.map(async (port) => {
      const server = createServer((client) => {
        const upstream = connect(port, '127.0.0.1');
        client.pipe(upstream).pipe(client);
        client.on('error', () => upstream.destroy());
        upstream.on('error', () => client.destroy());
      });
      const socket = join(directory, `${port}.sock`);
      await new Promise<void>((resolve) => server.listen(socket, resolve));
      await chmod(socket, 0o777);
      return server;
    }),
  );
}

const CARRIER = `const net = require('node:net');
for (const port of process.argv.slice(1)) net.createServer((client) => {
  const upstream = net.connect('/carry/' + port + '.sock');
  client.pipe(upstream).pipe(client);
  client.on('error', () => upstream.destroy());
  upstream.on('error', () => client.destroy());
}).listen(Number(port), '127.0.0.1');
for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => process.exit(0));`;

/** What the test adds to the project's file: the worker's network, and that Docker's storage lies elsewhere here. */
function override(directory: string, ports: readonly number[]): string {
  const { kernel } = machinePaths();
  return JSON.stringify({
    services: {
      loopback: {
        image: 'cofferdam/cofferdam:latest',
        entrypoint: ['node', '-e', CARRIER],
        command: ports.map(String),
        volumes: [`${directory}:/carry:ro`],
      },
      worker: {
        network_mode: 'service:loopback',
        depends_on: ['redis', 'loopback'],
        // The private Docker's runtime names the collector's socket of this machine, not one in the data directory.
        volumes: [`${kernel}:${kernel}`],
      },
    },
  });
}

export async function composeStage(options: {
  program: string;
  dockerSocket: string;
  dockerData: string;
}): Promise<ComposeStage> {
  await using undo = new AsyncDisposableStack();
  const project = `cdtest${randomBytes(4).toString('hex')}`;
  const dir = await mkdtemp(join(tmpdir(), 'cdc-'));
  undo.defer(() => rm(dir, { recursive: true, force: true }));
  await chmod(dir, 0o711);
  const port = await freePort();
  const standIn = await startStandIn({
    dir: join(dir, 'github'),
    app: {
      permissions: { contents: 'write', issues: 'write', pull_requests: 'write', checks: 'write', metadata: 'read' },
      events: ['issues', 'issue_comment'],
    },
    webhook: { url: `http://127.0.0.1:${port}/api/github/webhooks` },
  });
  undo.defer(() => standIn.stop());
  const prices = { '*': { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75 } };
  const provider = await startProvider({ script, apiKey: KEY, prices });
  undo.defer(() => provider.stop());
  const shop = await standIn.createRepository({
    owner: 'acme',
    name: 'shop',
    files: PROJECT,
    collaborators: { alice: 'write' },
    labels: ['agent'],
  });
  const ports = [Number(new URL(standIn.url).port), Number(new URL(provider.url).port)];
  const servers = await carry(join(dir, 'carry'), ports);
  undo.defer(() => {
    for (const server of servers) server.close();
  });
  const dataDir = join(dir, 'data');
  await mkdir(dataDir);
  const policy = join(dir, 'policy.yml');
  await writeFile(policy, policyText(provider.url), { mode: 0o644 });
  const extra = join(dir, 'override.json');
  await writeFile(extra, override(join(dir, 'carry'), ports));
  const env = {
    PATH: process.env['PATH'],
    HOME: dir,
    DOCKER_HOST: `unix://${options.dockerSocket}`,
    DOCKER_SOCKET: options.dockerSocket,
    DOCKER_DATA_ROOT: options.dockerData,
    APP_ID: String(standIn.app.id),
    PRIVATE_KEY: Buffer.from(standIn.app.privateKeyPem).toString('base64'),
    WEBHOOK_SECRET: standIn.app.webhookSecret,
    GHE_HOST: standIn.host,
    GHE_PROTOCOL: 'http',
    COFFERDAM_POLICY: policy,
    COFFERDAM_DATA_DIR: dataDir,
    ANTHROPIC_API_KEY: KEY,
    PORT: String(port),
  };
  const files = ['-f', 'docker-compose.yml', '-f', extra];
  const compose = (...args: string[]): Promise<CommandResult> =>
    runCommand([options.program, '-p', project, '--project-directory', process.cwd(), ...files, ...args], { env });
  undo.defer(async () => void (await compose('down', '--volumes', '--remove-orphans', '--timeout', '60')));
  const rest = undo.move();
  const url = `http://127.0.0.1:${port}`;
  const dispose = (): Promise<void> => rest.disposeAsync();
  return { project, dir, dataDir, url, standIn, provider, shop, compose, [Symbol.asyncDispose]: dispose };
}

function policyText(provider: string): string {
  return `egress: { allow: [github] }
llm:
  default: anthropic/claude-sonnet-4-5
  providers: { anthropic: { apiKeyEnv: ANTHROPIC_API_KEY, baseUrl: "${provider}/v1" } }
  models: ["claude-*"]
limits: { maxCostUsd: 2, timeoutMinutes: 10 }
`;
}
