import { execFile, fork, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import type { RequestOptions } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { AuditFile } from '../../src/audit/log.ts';
import { createRedactor } from '../../src/audit/redact.ts';
import { loadSigningKey } from '../../src/audit/seal.ts';
import { runId } from '../../src/domain/ids.ts';
import { createGateways } from '../../src/main/gateway-client.ts';
import { freezePrices, operatorRow } from '../../src/policy/llm/prices.ts';
import type { Ledger } from '../../src/run/ledger.ts';

/** Something that a model call can go through. */
export interface Target {
  name: string;
  /** Where a chat call is posted to; the body is the same for all. */
  options: RequestOptions;
  /** Resident bytes of its process; undefined where it has none. */
  memory(): number | undefined;
  stop(): Promise<void>;
}

export interface Upstream {
  port: number;
  /** Bytes of an answer. */
  streamed: number;
  paced: number;
  whole: number;
  stop(): void;
}

const run = promisify(execFile);
const KEY = 'sk-bench';

export async function startUpstream(): Promise<Upstream> {
  const child = fork(fileURLToPath(new URL('llm-upstream.child.ts', import.meta.url)));
  const [sizes] = (await once(child, 'message')) as [Omit<Upstream, 'stop'>];
  return { ...sizes, stop: () => void child.kill() };
}

export function direct({ port }: Upstream): Target {
  return {
    name: 'direct',
    options: { host: '127.0.0.1', port, path: '/v1/chat/completions', headers: { authorization: `Bearer ${KEY}` } },
    memory: () => undefined,
    stop: () => Promise.resolve(),
  };
}

/** What one more process on the way costs on this machine, when it does nothing but pass bytes on. */
export async function relay({ port }: Upstream): Promise<Target> {
  const directory = mkdtempSync(join(tmpdir(), 'cfbl-relay-'));
  const socketPath = join(directory, 'relay.sock');
  const child = fork(fileURLToPath(new URL('llm-relay.child.ts', import.meta.url)), [socketPath, String(port)]);
  await once(child, 'message');
  return {
    name: 'relay',
    options: { socketPath, path: '/v1/chat/completions', headers: { authorization: `Bearer ${KEY}` } },
    memory: () => memoryOf(child.pid ?? 0),
    stop: async () => {
      const gone = once(child, 'exit');
      child.disconnect();
      await gone;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The gateway process of a run as a worker starts it: audit on disk, synced before each call, and a ledger. */
export async function cofferdam({ port }: Upstream, ledger: Ledger): Promise<Target> {
  const dataDir = mkdtempSync(join(tmpdir(), 'cfbl-'));
  const id = runId(crypto.getRandomValues(new Uint8Array(12)));
  const audit = await AuditFile.create({
    file: join(dataDir, 'audit.jsonl'),
    runId: id,
    redact: createRedactor([KEY]),
    key: await loadSigningKey(dataDir),
  });
  const before = children();
  const gateway = await createGateways({
    dataDir,
    ledger,
    caFile: undefined,
    llm: {
      providers: [{ id: 'corp', wires: ['openai-chat'], baseUrl: `http://127.0.0.1:${port}/v1`, key: KEY }],
      models: ['m', 'paced'],
      prices: freezePrices(
        ['m', 'paced'].map((model) => operatorRow(model, { inputPerMTok: 3, outputPerMTok: 15 })),
        '2026-11-24',
      ),
    },
  }).open({
    runId: id,
    policy: { rules: [], deny: [], gitRepositories: [] },
    git: {},
    llm: true,
    limits: {
      maxCost: 1e12,
      repositoryDailyCost: 1e12,
      installationDailyCost: 1e12,
      timeoutMs: 3.6e6,
      maxTurns: 1e6,
      stepMs: 60_000,
      idleMs: 60_000,
    },
    account: { repository: 'o/a', installation: 'i' },
    audit,
    signal: new AbortController().signal,
  });
  const pid = children().find((child) => !before.includes(child)) ?? 0;
  return {
    name: 'cofferdam',
    options: {
      socketPath: join(gateway.socketDir, 'gateway.sock'),
      path: 'http://llm.cofferdam.internal/corp/v1/chat/completions',
      headers: { host: 'llm.cofferdam.internal' },
    },
    memory: () => memoryOf(pid),
    stop: async () => {
      await gateway.close();
      await audit.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** The portkey gateway, from the registry into a temporary directory. Rejects with the reason when it does not start. */
export async function portkey({ port }: Upstream): Promise<Target> {
  const directory = mkdtempSync(join(tmpdir(), 'cfbl-portkey-'));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  try {
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', directory];
    await run('npm', [...args, '@portkey-ai/gateway@1.15.2'], { cwd: directory, timeout: 300_000 });
  } catch (error) {
    remove();
    throw error;
  }
  const own = await freePort();
  const script = join(directory, 'node_modules/@portkey-ai/gateway/build/start-server.js');
  const child = spawn(process.execPath, [script, `--port=${own}`, '--headless'], {
    stdio: 'ignore',
    env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production' },
  });
  const stop = (): Promise<void> => end(child).finally(remove);
  if (!(await answers(own))) {
    await stop();
    throw new Error('it does not listen');
  }
  return {
    name: 'portkey',
    options: {
      host: '127.0.0.1',
      port: own,
      path: '/v1/chat/completions',
      headers: {
        authorization: `Bearer ${KEY}`,
        'x-portkey-provider': 'openai',
        'x-portkey-custom-host': `http://127.0.0.1:${port}/v1`,
      },
    },
    memory: () => memoryOf(child.pid ?? 0),
    stop,
  };
}

/** The LiteLLM proxy, from the registry into a virtual environment of its own. Rejects with the reason when it does not start. */
export async function litellm({ port }: Upstream): Promise<Target> {
  const directory = mkdtempSync(join(tmpdir(), 'cfbl-litellm-'));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const bin = join(directory, 'env/bin');
  const config = join(directory, 'config.yaml');
  const params = { api_base: `http://127.0.0.1:${port}/v1`, api_key: KEY };
  const models = ['m', 'paced'].map((name) => ({
    model_name: name,
    litellm_params: { model: `openai/${name}`, ...params },
  }));
  try {
    await run('python3', ['-m', 'venv', join(directory, 'env')], { timeout: 120_000 });
    const args = ['install', '--quiet', '--disable-pip-version-check', 'litellm[proxy]==1.108.7'];
    await run(join(bin, 'pip'), args, { timeout: 900_000 });
    // JSON is YAML.
    writeFileSync(config, JSON.stringify({ model_list: models }));
  } catch (error) {
    remove();
    throw error;
  }
  const own = await freePort();
  const child = spawn(join(bin, 'litellm'), ['--config', config, '--host', '127.0.0.1', '--port', String(own)], {
    stdio: 'ignore',
    cwd: directory,
    env: {
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      HOME: directory,
      LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      LITELLM_MASTER_KEY: KEY,
    },
  });
  const stop = (): Promise<void> => end(child).finally(remove);
  if (!(await answers(own, 1_200))) {
    await stop();
    throw new Error('it does not listen');
  }
  return {
    name: 'litellm',
    options: {
      host: '127.0.0.1',
      port: own,
      path: '/v1/chat/completions',
      headers: { authorization: `Bearer ${KEY}` },
    },
    memory: () => memoryOf(child.pid ?? 0),
    stop,
  };
}

async function end(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  if (child.exitCode === null) child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await gone;
}

/** Whether something answers there, asked ten times a second. */
async function answers(port: number, tries = 200): Promise<boolean> {
  for (let tried = 0; tried < tries; tried++) {
    const there = await new Promise<boolean>((resolve) => {
      const request = httpRequest({ host: '127.0.0.1', port, path: '/' }, (response) => {
        response.resume();
        resolve(true);
      });
      request.once('error', () => resolve(false)).end();
    });
    if (there) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

function children(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}

function memoryOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}
