import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { RequestOptions } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../../src/local/free-port.ts';
import { freezePrices, operatorRow } from '../../src/policy/llm/prices.ts';
import type { Ledger } from '../../src/run/ledger.ts';
import { startGateway } from './gateway.ts';
import { memoryOf } from './measure.ts';
import { startProgram } from './programs.ts';

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

/** The gateway process of a run: audit on disk, synced before each call, and a ledger. */
export async function cofferdam({ port }: Upstream, ledger: Ledger): Promise<Target> {
  const gateway = await startGateway({
    ledger,
    llm: {
      providers: [{ id: 'corp', wires: ['openai-chat'], baseUrl: `http://127.0.0.1:${port}/v1`, key: KEY }],
      models: ['m', 'paced'],
      prices: freezePrices(
        ['m', 'paced'].map((model) => operatorRow(model, { inputPerMTok: 3, outputPerMTok: 15 })),
        '2026-11-24',
      ),
    },
    policy: { rules: [], deny: [], gitRepositories: [] },
    secrets: [KEY],
  });
  return {
    name: 'cofferdam',
    options: {
      socketPath: gateway.socketPath,
      path: 'http://llm.cofferdam.internal/corp/v1/chat/completions',
      headers: { host: 'llm.cofferdam.internal' },
    },
    memory: () => memoryOf(gateway.pid),
    stop: () => gateway.stop(),
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
  const program = await startProgram({
    command: [process.execPath, script, `--port=${own}`, '--headless'],
    env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production' },
    cwd: directory,
    port: own,
  }).catch(removing(remove));
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
    memory: () => memoryOf(program.pid),
    stop: () => program.stop().finally(remove),
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
  const program = await startProgram({
    command: [join(bin, 'litellm'), '--config', config, '--host', '127.0.0.1', '--port', String(own)],
    cwd: directory,
    env: {
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      HOME: directory,
      LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      LITELLM_MASTER_KEY: KEY,
    },
    port: own,
    tries: 1_200,
  }).catch(removing(remove));
  return {
    name: 'litellm',
    options: {
      host: '127.0.0.1',
      port: own,
      path: '/v1/chat/completions',
      headers: { authorization: `Bearer ${KEY}` },
    },
    memory: () => memoryOf(program.pid),
    stop: () => program.stop().finally(remove),
  };
}

function removing(remove: () => void): (error: unknown) => never {
  return (error) => {
    remove();
    throw error;
  };
}
