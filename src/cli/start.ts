import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { environmentOf, requireSettings, type Environment } from '../config/environment.ts';
import { loadPolicy } from '../config/policy-file.ts';
import { installPrograms, missingPrograms } from '../local/machine/packages.ts';
import { startRedis } from '../local/machine/redis.ts';
import { createLogger, type Logger } from '../telemetry/log.ts';

const PROGRAM = fileURLToPath(new URL('../main/cofferdam.ts', import.meta.url));

/** All that the process which faces the internet may know: above all no key of the App, of a model or of a registry. */
const SERVER_VARIABLES = [
  'PATH',
  'HOME',
  'LANG',
  'TZ',
  'NODE_EXTRA_CA_CERTS',
  'NODE_ENV',
  'WEBHOOK_SECRET',
  'GITHUB_CLIENT_ID',
  'GITHUB_CLIENT_SECRET',
  'COFFERDAM_DATA_DIR',
  'COFFERDAM_PAGES',
  'GHE_HOST',
  'GHE_PROTOCOL',
  'COFFERDAM_POLICY',
  'COFFERDAM_PUBLIC_URL',
  'PORT',
  'HOST',
  'LOG_LEVEL',
];
/** What faces the internet keeps to itself. */
const NOT_FOR_WORKER = ['WEBHOOK_SECRET', 'GITHUB_CLIENT_SECRET', 'PORT', 'HOST'];

const RESTART_MS = [1_000, 2_000, 5_000, 15_000, 30_000];
/** A process that ran this long is not failing at its start. */
const STEADY_MS = 60_000;
/** A worker brings out and publishes what its runs have. */
const STOP_MS = 10 * 60_000;
/** Wrong settings, when a process ends with it at the first start: starting it again would not help. Later it may be a GitHub that is away. */
const HOPELESS = 2;

/** `cofferdam start`: server and worker on one machine, each a process of its own, and a private Redis when none is named. */
export async function startCommand(options: { environment: Environment; signal: AbortSignal }): Promise<number> {
  const { signal } = options;
  const environment = requireSettings(options.environment, [
    'APP_ID',
    'PRIVATE_KEY',
    'WEBHOOK_SECRET',
    'COFFERDAM_POLICY',
  ]);
  await loadPolicy(environment.policyFile, environment.github);
  const log = createLogger({ level: environment.logLevel }).child({ process: 'start' });
  await using undo = new AsyncDisposableStack();
  const redisUrl = environment.redisUrl ?? (await privateRedis(environment, undo, signal));
  const all = { ...environmentOf(), REDIS_URL: redisUrl };
  const stopping = new AbortController();
  const stop = (): void => stopping.abort();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  const ends = await Promise.all([
    keepRunning({ name: 'server', env: pick(all, [...SERVER_VARIABLES, 'REDIS_URL']), stopping, log }),
    keepRunning({ name: 'worker', env: without(all, NOT_FOR_WORKER), stopping, log }),
  ]);
  return ends.find((code) => code !== 0) ?? 0;
}

/** Only this user reaches it, through its socket; the queue survives a restart. */
async function privateRedis(
  environment: Environment,
  undo: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<string> {
  const missing = await missingPrograms(['redis']);
  if (missing.length > 0) await installPrograms(missing, signal);
  await mkdir(environment.dataDir, { recursive: true, mode: 0o711 });
  const redis = await startRedis({ directory: join(environment.dataDir, 'redis'), appendOnly: true, signal });
  undo.defer(() => redis.stop());
  return redis.url;
}

interface Kept {
  name: 'server' | 'worker';
  env: NodeJS.ProcessEnv;
  stopping: AbortController;
  log: Logger;
}

/** Starts the process again when it ends by itself; ends everything when that cannot help. Resolves with its last exit code. */
async function keepRunning({ name, env, stopping, log }: Kept): Promise<number> {
  const { signal } = stopping;
  let failures = 0;
  let first = true;
  while (!signal.aborted) {
    const started = Date.now();
    const code = await runOnce(name, env, signal);
    if (wasStopped(signal)) return code;
    if (code === HOPELESS && first) {
      log.error({ name, code }, 'process refused to start');
      stopping.abort();
      return code;
    }
    first = false;
    if (Date.now() - started > STEADY_MS) failures = 0;
    const wait = RESTART_MS[Math.min(failures, RESTART_MS.length - 1)] ?? 1_000;
    log.error({ name, code, againInMs: wait }, 'process ended by itself; it is started again');
    failures += 1;
    await sleep(wait, undefined, { signal }).catch(() => undefined);
  }
  return 0;
}

/** Asked anew: it may have changed while something was waited for. */
function wasStopped(signal: AbortSignal): boolean {
  return signal.aborted;
}

async function runOnce(name: string, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<number> {
  // A group of its own: Ctrl-C reaches this process only, which passes it on once. The channel tells the child when we are gone.
  const child = spawn(process.execPath, [PROGRAM, name], {
    env,
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const stop = (): void => end(child);
  signal.addEventListener('abort', stop, { once: true });
  try {
    const [code] = (await once(child, 'exit')) as [number | null];
    return code ?? 1;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function end(child: ChildProcess): void {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS).unref();
  child.once('exit', () => clearTimeout(timer));
}

function pick(env: NodeJS.ProcessEnv, names: readonly string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => names.includes(name)));
}

function without(env: NodeJS.ProcessEnv, names: readonly string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));
}
