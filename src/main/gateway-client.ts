/**
 * The worker's side of gateway processes: one for each sandbox, with a built environment, a user id of its own when the
 * worker is root, and nothing in common with the worker but a few socket pairs.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { CofferdamError } from '../domain/errors.ts';
import type { OperatorEgress } from '../domain/policy.ts';
import { MAX_SOCKET_PATH } from '../gateway/listener.ts';
import type { GatewayLimits } from '../gateway/limits.ts';
import type { LlmProvider } from '../gateway/llm/port.ts';
import type { Revocation } from '../gateway/tls/trust.ts';
import { lintPolicy } from '../policy/egress/lint.ts';
import type { PriceTable } from '../policy/llm/prices.ts';
import type { Ledger } from '../run/ledger.ts';
import type { Gateway, GatewayOptions, Gateways } from '../run/ports.ts';
import { APT_CONFIGURATION } from '../sandbox/environment.ts';
import { APT_FILE, MOUNTED_MODE } from '../sandbox/layout.ts';
import { AGENT_SLOTS, SOCKET_NAME, type GatewayStart } from './gateway-ipc.ts';
import { createLink } from './gateway-link.ts';
import { servableRepositories } from './gateway-repositories.ts';
import { readRevocation } from './revocation.ts';
import { createUserIds, type UserIds } from './gateway-users.ts';

/** What every gateway of this worker is made with. */
export interface GatewayHost {
  dataDir: string;
  ledger: Ledger;
  /** Providers with their keys, models and frozen prices: what runs with `llm` get. */
  llm: { providers: LlmProvider[]; models: string[]; prices: PriceTable } | undefined;
  /** PEM bundle that is trusted upstream; default: what the host trusts. */
  caFile: string | undefined;
  /** Of which hosts certificates must not be on these lists; read for each gateway. */
  revocation?: OperatorEgress['revocation'];
  /** Value of an environment variable that a rule's credential names. Errors: `config` when it is not set. */
  credential?: (valueEnv: string) => string;
  limits?: Partial<GatewayLimits>;
  /** First of the user ids that gateway processes get when this process is root, and how many there are. */
  users?: { first: number; count: number };
  /** What the gateway process writes to standard error: its last words. */
  log?: (line: string) => void;
  startTimeoutMs?: number;
  /** The process's module, and its arguments; another one only in tests and in the battery of attacks. */
  script?: string;
  scriptArguments?: readonly string[];
}

const SCRIPT = fileURLToPath(new URL('gateway-process.ts', import.meta.url));
const OP = 'main.gateways';
const SOCKET_DIR_TRIES = 20;

/** Makes the `Gateways` of one worker. */
export function createGateways(options: GatewayHost): Gateways {
  const users = createUserIds(options.users);
  return { open: (run) => openGateway(options, users, run) };
}

/** Errors: `policy` (a rule that would be a hole), `config` (socket path, credential, revocation lists), `gateway` (did not start). */
async function openGateway(options: GatewayHost, users: UserIds, run: GatewayOptions): Promise<Gateway> {
  checkPolicy(run);
  await using undo = new AsyncDisposableStack();
  const socketDir = await makeSocketDir(options.dataDir, run.runId);
  undo.defer(() => removeSocketDir(socketDir));
  const user = users.take();
  undo.defer(() => user?.release());
  const views = `${socketDir}-git`;
  undo.defer(() => rm(views, { recursive: true, force: true }));
  const git = await servableRepositories(run.git, views);
  const [ca, revocation] = await Promise.all([trusted(options.caFile), readRevocation(options.revocation)]);
  const start = startMessage({ options, run: { ...run, git }, socketDir, user, ca, revocation });
  const link = createLink({ run, ledger: options.ledger, child: startChild(options), log: options.log });
  undo.defer(() => link.kill());
  await link.start(start, options.startTimeoutMs ?? 30_000);
  const rest = undo.move();
  const disposed = link.gone.finally(() => rest.disposeAsync());
  return { ...link.gateway, socketDir, close: () => link.close().then(() => disposed.then(() => undefined)) };
}

function checkPolicy(run: GatewayOptions): void {
  const problems = lintPolicy(run.policy);
  if (problems.length === 0) return;
  throw new CofferdamError('policy', OP, problems.map((problem) => `${problem.rule}: ${problem.message}`).join('\n'));
}

/** `<dataDir>/runs/<id>/s<n>`: only the socket and what clients are told about certificates lie there, since the directory is mounted into the sandbox. */
async function makeSocketDir(dataDir: string, runId: string): Promise<string> {
  const runDir = join(dataDir, 'runs', runId);
  for (let index = 0, tries = 0; ;) {
    const socketDir = join(runDir, `s${index}`);
    if (Buffer.byteLength(join(socketDir, SOCKET_NAME)) > MAX_SOCKET_PATH) {
      const message = `${socketDir} is too long for a Unix socket: choose a shorter COFFERDAM_DATA_DIR`;
      throw new CofferdamError('config', OP, message);
    }
    try {
      await mkdir(runDir, { recursive: true, mode: 0o700 });
      await mkdir(socketDir);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      // Whoever ends another gateway of this run removes the run's directory once it is empty, perhaps just now.
      if (code === 'ENOENT' && tries++ < SOCKET_DIR_TRIES) continue;
      if (code !== 'EEXIST') throw error;
      index += 1;
      continue;
    }
    // The sandbox's agent is not root and has to enter; who may come here on the host is decided one level up.
    await chmod(socketDir, 0o755);
    await writeFile(join(socketDir, APT_FILE), APT_CONFIGURATION, { mode: MOUNTED_MODE });
    return socketDir;
  }
}

async function removeSocketDir(socketDir: string): Promise<void> {
  await rm(socketDir, { recursive: true, force: true });
  // Other things of the run may lie beside it.
  await rmdir(dirname(socketDir)).catch(() => undefined);
}

function startMessage(of: {
  options: GatewayHost;
  run: GatewayOptions;
  socketDir: string;
  user: { uid: number; gid: number } | undefined;
  ca: string;
  revocation: Revocation | undefined;
}): GatewayStart {
  const { options, run, socketDir, user, ca, revocation } = of;
  const names = run.policy.rules.flatMap((rule) => rule.credential?.valueEnv ?? []);
  const credentials = Object.fromEntries(names.map((name) => [name, credentialOf(options, name)]));
  return {
    type: 'start',
    runId: run.runId,
    socketDir,
    policy: run.policy,
    ca,
    ...(revocation ? { revocation: { lists: [...revocation.lists], hosts: [...revocation.hosts] } } : {}),
    git: run.git,
    credentials,
    ...(run.llm && options.llm ? { llm: llmOf(options.llm, run.runId) } : {}),
    limits: { ...options.limits },
    ...(user ? { user: { uid: user.uid, gid: user.gid } } : {}),
  };
}

function credentialOf(options: GatewayHost, name: string): string {
  if (options.credential) return options.credential(name);
  throw new CofferdamError('config', OP, `a rule names the credential ${name}, and nothing here can read it`);
}

function llmOf(llm: NonNullable<GatewayHost['llm']>, runId: string): GatewayStart['llm'] {
  const providers = llm.providers.map(({ key, wires, ...rest }) => ({
    ...rest,
    wires: [...wires],
    ...(key === undefined ? {} : { key }),
  }));
  return { providers, models: llm.models, prices: llm.prices, runHash: runHash(runId) };
}

async function trusted(caFile: string | undefined): Promise<string> {
  if (caFile === undefined) return getCACertificates('system').join('\n');
  return readFile(caFile, 'utf8').catch((cause: unknown) => {
    throw new CofferdamError('config', OP, `egress.caFile: cannot read ${caFile}`, cause);
  });
}

/** Stands for the run where providers ask for a user id. */
function runHash(runId: string): string {
  return createHash('sha256').update(`cofferdam ${runId}`).digest('hex').slice(0, 32);
}

/** Nothing of this process's environment, arguments or descriptors but the socket pairs. */
function startChild(options: GatewayHost): ChildProcess {
  const pairs = Array.from({ length: 1 + AGENT_SLOTS }, () => 'pipe' as const);
  return spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      '--max-old-space-size=768',
      // Bytes on their way count as old space; from the small default on, every few MiB of them would be a full collection.
      '--initial-old-space-size=96',
      options.script ?? SCRIPT,
      ...(options.scriptArguments ?? []),
    ],
    {
      cwd: '/',
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', UV_THREADPOOL_SIZE: '16' },
      stdio: ['ignore', 'ignore', 'pipe', ...pairs],
    },
  );
}
