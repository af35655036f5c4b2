import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import { CofferdamError } from '../../domain/errors.ts';
import { freePort } from '../free-port.ts';
import type { RepositoryHandle } from '../github/repository-handle.ts';
import { startStandIn, type StandIn } from '../github/stand-in.ts';
import type { Script } from '../provider/script.ts';
import { startProvider, type RunningProvider } from '../provider/server.ts';

const PROGRAM = fileURLToPath(new URL('../../main/cofferdam.ts', import.meta.url));
const PROJECT = fileURLToPath(new URL('project', import.meta.url));
const KEY = 'key-of-the-scripted-provider';
/** A well-known card, so that the demo's money looks like money. */
const PRICES = { '*': { input: 3, output: 15, cacheRead: 0.3, cacheWrite: 3.75 } };

/** A real model instead of the scripted one. */
export interface RealModel {
  /** `anthropic` or `openai`. */
  provider: string;
  model: string;
  keyVariable: string;
}

export interface StageOptions {
  /** Empty, and short: sockets lie below it. */
  directory: string;
  script: Script;
  model?: RealModel | undefined;
  /** The registry's hosts have addresses that are not of the public internet. */
  registryPrivate: boolean;
  /** YAML of the policy's `limits`. */
  limits?: string;
  agent?: string;
  /** More lines of the policy. */
  policy?: string;
}

/** A GitHub, a model and a repository on this machine, and the settings with which Cofferdam is started on them. */
export interface DemoStage extends AsyncDisposable {
  standIn: StandIn;
  /** Undefined with a real model. */
  provider: RunningProvider | undefined;
  repository: RepositoryHandle;
  /** Settings for `cofferdam start`; nothing else tells it where it is. */
  env: Record<string, string>;
  dataDir: string;
  policyFile: string;
}

/** Somebody with write access, and somebody without. */
export const PEOPLE = { writer: 'mira', reader: 'tom' } as const;

export async function setStage(options: StageOptions): Promise<DemoStage> {
  const { directory, model } = options;
  await using undo = new AsyncDisposableStack();
  // Gateways run as users of their own and have to pass through.
  await chmod(directory, 0o711);
  const port = await freePort();
  const standIn = await startStandIn({
    dir: join(directory, 'github'),
    app: await appFile(),
    webhook: { url: `http://127.0.0.1:${port}/api/github/webhooks` },
  });
  undo.defer(() => standIn.stop());
  const provider =
    model === undefined ? await startProvider({ script: options.script, apiKey: KEY, prices: PRICES }) : undefined;
  undo.defer(() => provider?.stop());
  const repository = await standIn.createRepository({
    owner: 'acme',
    name: 'kettle',
    fromDir: PROJECT,
    collaborators: { [PEOPLE.writer]: 'write', [PEOPLE.reader]: 'read' },
    labels: ['agent'],
  });
  const policyFile = join(directory, 'policy.yml');
  await writeFile(join(directory, 'model-key'), KEY, { mode: 0o600 });
  await writeFile(policyFile, policyText(options, provider));
  const dataDir = join(directory, 'data');
  await mkdir(dataDir, { recursive: true });
  const rest = undo.move();
  return {
    standIn,
    provider,
    repository,
    dataDir,
    policyFile,
    env: {
      APP_ID: String(standIn.app.id),
      PRIVATE_KEY: standIn.app.privateKeyPem,
      WEBHOOK_SECRET: standIn.app.webhookSecret,
      GHE_HOST: standIn.host,
      GHE_PROTOCOL: 'http',
      COFFERDAM_POLICY: policyFile,
      COFFERDAM_DATA_DIR: dataDir,
      PORT: String(port),
      // Run pages without sign-in: this server listens on loopback only.
      COFFERDAM_PAGES: 'local',
      COFFERDAM_PUBLIC_URL: `http://127.0.0.1:${port}`,
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

const AppFile = z.object({
  default_permissions: z.record(z.string(), z.enum(['read', 'write'])),
  default_events: z.array(z.string()),
});

/** The App as `app.yml` asks for it. */
async function appFile(): Promise<{ permissions: Record<string, 'read' | 'write'>; events: string[] }> {
  const file = fileURLToPath(new URL('../../../app.yml', import.meta.url));
  const app = AppFile.parse(parse(await readFile(file, 'utf8')));
  return { permissions: app.default_permissions, events: app.default_events };
}

function policyText(options: StageOptions, provider: RunningProvider | undefined): string {
  const { directory, registryPrivate, model } = options;
  const settings =
    provider === undefined
      ? `{ apiKeyEnv: ${model?.keyVariable ?? ''} }`
      : `{ apiKeyFile: "${join(directory, 'model-key')}", baseUrl: "${provider.url}/v1" }`;
  const { provider: id, model: name } = model ?? { provider: 'anthropic', model: 'claude-sonnet-4-5' };
  return `egress: { allow: [npm, github], presetsAllowPrivate: ${String(registryPrivate)} }
llm:
  default: ${id}/${name}
  providers: { ${id}: ${settings} }
  models: ["${name}"]
limits: ${options.limits ?? '{ maxCostUsd: 2, timeoutMinutes: 10 }'}
agent: ${options.agent ?? 'opencode'}
${options.policy ?? ''}
`;
}

/** `cofferdam <command>` as a process. */
export interface RunningProduct extends AsyncDisposable {
  readonly pid: number;
  /** Everything that it wrote. */
  readonly logFile: string;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

const START_MS = 180_000;

/**
 * Starts Cofferdam as its operator would, and waits until its server takes webhooks.
 * Errors: `internal` with the end of its log.
 */
export async function startProduct(options: {
  env: Record<string, string>;
  /** Variables of this process that it needs as well. */
  inherit?: NodeJS.ProcessEnv;
  logFile: string;
  command?: string;
}): Promise<RunningProduct> {
  const { env, logFile, command = 'start' } = options;
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn(process.execPath, [PROGRAM, command], {
    env: { ...options.inherit, ...env },
    stdio: ['ignore', log, log],
    detached: true,
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once('exit', (code) => resolve(code));
    child.once('error', () => resolve(127));
  });
  const product: RunningProduct = {
    pid: child.pid ?? 0,
    logFile,
    ended,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
  const healthy = async (): Promise<boolean> =>
    fetch(`http://127.0.0.1:${env['PORT'] ?? ''}/healthz`).then(
      (answer) => answer.ok,
      () => false,
    );
  const until = Date.now() + START_MS;
  while (command !== 'worker' && !(await healthy())) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > until) {
      child.kill('SIGTERM');
      const said = (await readFile(logFile, 'utf8')).trim().split('\n').slice(-15).join('\n');
      throw new CofferdamError('internal', 'local.startProduct', `cofferdam ${command} did not start:\n${said}`);
    }
    await sleep(100);
  }
  return product;
}
