import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { chmod, copyFile, mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { CofferdamError } from '../domain/errors.ts';
import type { RunId } from '../domain/ids.ts';
import type { EgressEntryFact, EndReason } from '../domain/run.ts';
import type { LlmProvider } from '../gateway/llm/port.ts';
import type { PriceTable } from '../policy/llm/prices.ts';
import type { Ledger } from '../run/ledger.ts';
import { createModelAccount, type ModelAccount } from '../run/model-account.ts';
import type { AgentOutcome, AgentRun, Gateway, GatewayOptions, Gateways } from '../run/ports.ts';
import { FromGateway, MAX_MESSAGE_BYTES, type ToGateway } from './gateway-messages.ts';

/** What every gateway of this worker is made with. */
export interface GatewayHost {
  dataDir: string;
  ledger: Ledger;
  /** CA bundle trusted upstream; what the sandbox gets for passed-through hosts. */
  caFile: string | undefined;
  llm: { providers: LlmProvider[]; models: string[]; prices: PriceTable } | undefined;
}

const OPEN_MS = 30_000;
const CLOSE_MS = 10_000;
/** Each child gets a user id of its own from here, so that gateways of two runs cannot look at each other. */
const FIRST_UID = 2_000_000;

/** One process for each run's gateway. */
export function createGateways(host: GatewayHost): Gateways {
  return { open: (options) => openGateway(host, options) };
}

/** `<dataDir>/runs/<id>/<n>`: short, because Unix sockets' paths are; fresh for each gateway of a run. */
async function socketDirectory(dataDir: string, runId: RunId): Promise<string> {
  const run = join(dataDir, 'runs', runId);
  await mkdir(run, { recursive: true, mode: 0o711 });
  for (let n = 0; ; n += 1) {
    const directory = join(run, `s${n}`);
    try {
      await mkdir(directory, { mode: 0o755 });
      await chmod(directory, 0o755);
      return directory;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST' || n > 8)
        throw new CofferdamError('gateway', 'main.socketDirectory', `cannot create ${directory}`, cause);
    }
  }
}

function start(): ChildProcess {
  const program = fileURLToPath(new URL('./gateway-process.ts', import.meta.url));
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program], {
    // Built, not inherited: nothing of the worker's environment reaches the process that faces the sandbox.
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', NODE_ENV: 'production' },
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc', 'pipe'],
    serialization: 'json',
  });
}

async function openGateway(host: GatewayHost, options: GatewayOptions): Promise<Gateway> {
  const socketDir = await socketDirectory(host.dataDir, options.runId);
  if (host.caFile !== undefined) await copyFile(host.caFile, join(socketDir, 'ca.pem'));
  const child = new GatewayChild(host, options, socketDir, start());
  try {
    await child.open();
  } catch (cause) {
    await child.close();
    throw cause;
  }
  return child;
}

/** The worker's end of one gateway process. */
class GatewayChild implements Gateway {
  readonly socketDir: string;
  readonly closed: Promise<{ expected: boolean; message: string }>;
  readonly capped: Promise<EndReason>;
  readonly #host: GatewayHost;
  readonly #options: GatewayOptions;
  readonly #process: ChildProcess;
  readonly #account: ModelAccount;
  readonly #ready = Promise.withResolvers<undefined>();
  #egress: EgressEntryFact[] = [];
  #agent: { run: AgentRun; done: (outcome: AgentOutcome) => void } | undefined;
  #expected = false;
  #stderr = '';

  constructor(host: GatewayHost, options: GatewayOptions, socketDir: string, child: ChildProcess) {
    this.#host = host;
    this.#options = options;
    this.socketDir = socketDir;
    this.#process = child;
    const capped = Promise.withResolvers<EndReason>();
    this.capped = capped.promise;
    const opened = performance.now();
    this.#account = createModelAccount({
      ledger: host.ledger,
      account: {
        runId: options.runId,
        repoKey: options.account.repository,
        installationKey: options.account.installation,
      },
      limits: options.limits,
      audit: (entry) => options.audit.append(entry),
      now: () => new Date().toISOString(),
      elapsedMs: () => performance.now() - opened,
      onCapped: capped.resolve,
    });
    child.stderr?.on('data', (chunk: Buffer) => (this.#stderr = (this.#stderr + chunk.toString('utf8')).slice(-4096)));
    child.on('message', (raw) => this.#receive(raw));
    child.on('error', (error) =>
      this.#ready.reject(new CofferdamError('gateway', 'main.gateway', 'the gateway process did not start', error)),
    );
    this.#ready.promise.catch(() => undefined);
    this.closed = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        const message = `the gateway process ended (${signal ?? String(code)})${this.#stderr === '' ? '' : `: ${this.#stderr.trim()}`}`;
        this.#ready.reject(new CofferdamError('gateway', 'main.gateway', message));
        this.#agent?.done({ stop: 'lost', summary: '', error: 'the gateway process ended' });
        resolve({ expected: this.#expected, message });
      });
    });
  }

  async open(): Promise<void> {
    const { policy, git, llm } = this.#options;
    const ca = this.#host.caFile === undefined ? undefined : await readFile(this.#host.caFile, 'utf8');
    const models = llm ? this.#host.llm : undefined;
    this.#send({
      type: 'open',
      socketPath: join(this.socketDir, 'gateway.sock'),
      ...(process.getuid?.() === 0 ? { uid: FIRST_UID + randomInt(1_000_000) } : {}),
      policy: { ...policy },
      git,
      ...(ca === undefined ? {} : { ca }),
      ...(models === undefined
        ? {}
        : {
            llm: {
              providers: models.providers.map((p) => ({ ...p })),
              models: models.models,
              prices: { ...models.prices },
              runHash: this.#options.runId,
            },
          }),
    });
    const timer = setTimeout(
      () =>
        this.#ready.reject(new CofferdamError('gateway', 'main.gateway', 'the gateway process did not become ready')),
      OPEN_MS,
    );
    try {
      await this.#ready.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #send(message: ToGateway): void {
    if (this.#process.connected) this.#process.send(message, () => undefined);
  }

  #receive(raw: unknown): void {
    const parsed = FromGateway.safeParse(raw);
    if (!parsed.success || JSON.stringify(raw).length > MAX_MESSAGE_BYTES) {
      this.#stderr += ' (it sent a message that is not of the protocol and was ended)';
      this.#process.kill('SIGKILL');
      return;
    }
    const message = parsed.data;
    switch (message.type) {
      case 'ready':
        this.#ready.resolve(undefined);
        return;
      case 'failed':
        this.#ready.reject(new CofferdamError('gateway', 'main.gateway', message.message));
        return;
      case 'audit':
        this.#options.audit.append(message.entry).then(
          () => this.#send({ type: 'audited', id: message.id, ok: true }),
          () => this.#send({ type: 'audited', id: message.id, ok: false }),
        );
        return;
      case 'reserve':
        void this.#account
          .reserve(message.call)
          .catch(() => ({
            ok: false as const,
            reason: 'audit_unavailable' as const,
            say: 'the budget could not be asked',
          }))
          .then((answer) => this.#send({ type: 'reserved', id: message.id, answer }));
        return;
      case 'settle':
        void this.#account
          .settle(message.settlement)
          .catch(() => ({ notices: [] }))
          .then((answer) => this.#send({ type: 'settled', id: message.id, answer }));
        return;
      case 'egress':
      case 'closed':
        this.#egress = message.entries as EgressEntryFact[];
        return;
      case 'message':
        this.#agent?.run.onMessage(message.message as Parameters<AgentRun['onMessage']>[0]);
        return;
      case 'outcome':
        this.#agent?.done(message.outcome as AgentOutcome);
    }
  }

  egress(): EgressEntryFact[] {
    return this.#egress;
  }

  usage(): ReturnType<Gateway['usage']> {
    return this.#account.usage();
  }

  closeModel(): Promise<void> {
    this.#account.close();
    this.#send({ type: 'closeModel' });
    return Promise.resolve();
  }

  async runAgent(run: AgentRun): Promise<AgentOutcome> {
    const streams = this.#process.stdio[4] as unknown as Duplex;
    streams.on('error', () => undefined);
    run.stdout.pipe(streams);
    streams.pipe(run.stdin);
    const cancel = (): void => this.#send({ type: 'cancelAgent' });
    run.signal.addEventListener('abort', cancel, { once: true });
    try {
      return await new Promise<AgentOutcome>((resolve) => {
        this.#agent = { run, done: resolve };
        if (this.#process.exitCode !== null) resolve({ stop: 'lost', summary: '', error: 'the gateway process ended' });
        this.#send({ type: 'agent', agent: run.agent, cwd: run.cwd, prompt: run.prompt });
        if (run.signal.aborted) cancel();
      });
    } finally {
      run.signal.removeEventListener('abort', cancel);
      this.#agent = undefined;
    }
  }

  async close(): Promise<void> {
    this.#expected = true;
    this.#send({ type: 'close' });
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), CLOSE_MS);
    await this.closed;
    clearTimeout(timer);
    await this.#account.finish();
    await rm(this.socketDir, { recursive: true, force: true });
  }
}
