/** The worker's end of one gateway process: answers its questions, keeps its summary, carries the agent's streams. */
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CofferdamError } from '../domain/errors.ts';
import type { EgressEntryFact, Usage } from '../domain/run.ts';
import type { EndReason } from '../domain/final-state.ts';
import type { Ledger } from '../run/ledger.ts';
import { createModelAccount, type ModelAccount } from '../run/model-account.ts';
import type { AgentOutcome, AgentRun, Gateway, GatewayOptions } from '../run/ports.ts';
import {
  AGENT_SLOTS,
  CONTROL_FD,
  MAX_CALLS,
  MAX_TO_WORKER,
  openChannel,
  ToWorker,
  type GatewayStart,
  type ToGateway,
} from './gateway-ipc.ts';
import { exitOf } from './child-process.ts';

type FromGateway = import('zod').z.output<typeof ToWorker>;
type Exit = Awaited<Gateway['closed']>;

export interface Link {
  /** Errors: what the process said (`config`, `policy`, `gateway`). */
  start(message: GatewayStart, timeoutMs: number): Promise<void>;
  gateway: Omit<Gateway, 'socketDir' | 'close'>;
  /** The process is gone and its last records are written. */
  gone: Promise<Exit>;
  close(): Promise<void>;
  kill(): void;
}

const OP = 'main.gateways';
const CLOSE_MS = 15_000;
const NO_USAGE: Usage = { cost: 0, turns: 0, inputTokens: 0, outputTokens: 0 };

export function createLink(options: {
  run: GatewayOptions;
  ledger: Ledger;
  child: ChildProcess;
  log: ((line: string) => void) | undefined;
}): Link {
  const { run, child } = options;
  const agents = createAgentSlots(child, (message) => channel.send(message));
  const capped = Promise.withResolvers<EndReason>();
  const started = Promise.withResolvers<undefined>();
  const account = run.llm ? openAccount(options, capped.resolve) : undefined;
  let egress: EgressEntryFact[] = [];
  const reports = new Map<number, () => void>();
  let nextReport = 0;
  let open = 0;
  let expected = false;
  let lastWords = '';
  let broken: string | undefined;

  const channel = openChannel<ToGateway, FromGateway>({
    stream: child.stdio[CONTROL_FD] as Duplex,
    schema: ToWorker,
    maxIncoming: MAX_TO_WORKER,
    onMessage: receive,
    onClose: (reason) => {
      if (!expected) broken = reason;
      if (child.exitCode === null && child.signalCode === null && !expected) child.kill('SIGKILL');
    },
  });

  function receive(message: FromGateway): void {
    if (message.type === 'ready') started.resolve(undefined);
    else if (message.type === 'failed') started.reject(new CofferdamError(message.code, OP, message.message));
    else if (message.type === 'egress') {
      egress = message.entries as EgressEntryFact[];
      if (message.id !== undefined) reports.get(message.id)?.();
    } else if (message.type === 'agentMessage')
      agents.message(message.slot, message.message as Parameters<AgentRun['onMessage']>[0]);
    else if (message.type === 'agentDone') agents.done(message.slot, message.outcome as AgentOutcome);
    else void answer(message);
  }

  /** The line is written before the answer goes; what cannot be done is answered with no. */
  async function answer(message: Extract<FromGateway, { id: number }>): Promise<void> {
    open += 1;
    if (open > MAX_CALLS) {
      broken = 'more open questions than agreed';
      child.kill('SIGKILL');
      return;
    }
    try {
      const value = await work(message);
      channel.send({ type: 'answer', id: message.id, ok: true, value });
    } catch {
      channel.send({ type: 'answer', id: message.id, ok: false });
    } finally {
      open -= 1;
    }
  }

  async function work(message: Extract<FromGateway, { id: number }>): Promise<unknown> {
    if (message.type === 'audit') return run.audit.append(message.entry);
    if (!account) throw new CofferdamError('gateway', OP, 'this run has no model');
    return message.type === 'reserve' ? account.reserve(message.call) : account.settle(message.settlement);
  }

  child.stderr?.on('data', (chunk: Buffer) => {
    lastWords = (lastWords + chunk.toString('utf8')).slice(-4096);
  });
  child.on('error', (error) => {
    started.reject(new CofferdamError('gateway', OP, 'the gateway process could not be started', error));
  });
  const gone = exitOf(child).then(async (how): Promise<Exit> => {
    const message = broken ?? how;
    started.reject(
      new CofferdamError('gateway', OP, `the gateway process ended at its start (${message}): ${lastWords.trim()}`),
    );
    if (lastWords !== '') options.log?.(lastWords);
    await account?.finish().catch(() => undefined);
    if (!expected)
      await run.audit.append({ zone: 'worker', type: 'gateway.lost', data: { message } }).catch(() => undefined);
    return { expected, message };
  });
  // After those who ask why: the agent is lost because of it.
  void gone.then(() => agents.lost());

  const abort = (): void => void close();
  run.signal.addEventListener('abort', abort, { once: true });
  void gone.then(() => run.signal.removeEventListener('abort', abort));

  async function close(): Promise<void> {
    if (!expected) {
      expected = true;
      channel.send({ type: 'close' });
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), CLOSE_MS);
    await gone;
    clearTimeout(timer);
  }

  return {
    start: async (message, timeoutMs) => {
      channel.send(message);
      const timer = setTimeout(() => {
        started.reject(
          new CofferdamError(
            'gateway',
            OP,
            `the gateway process did not start within ${timeoutMs} ms: ${lastWords.trim()}`,
          ),
        );
      }, timeoutMs);
      await started.promise.finally(() => clearTimeout(timer));
    },
    gateway: {
      closed: gone,
      capped: capped.promise,
      egress: () => egress,
      refreshEgress: async () => {
        const id = nextReport++;
        const answered = Promise.withResolvers<undefined>();
        reports.set(id, () => answered.resolve(undefined));
        channel.send({ type: 'reportEgress', id });
        await Promise.race([answered.promise, gone]).finally(() => reports.delete(id));
      },
      usage: () => account?.usage() ?? NO_USAGE,
      closeModel: async (reason) => {
        if (!account) return;
        account.close();
        channel.send({ type: 'closeModel' });
        await run.audit.append({ zone: 'worker', type: 'llm.close', data: { reason } });
      },
      runAgent: (agent) => agents.run(agent),
    },
    gone,
    close,
    kill: () => {
      expected = true;
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    },
  };
}

function openAccount(
  options: { run: GatewayOptions; ledger: Ledger },
  onCapped: (reason: EndReason) => void,
): ModelAccount {
  const { run, ledger } = options;
  const started = performance.now();
  return createModelAccount({
    ledger,
    account: { runId: run.runId, repoKey: run.account.repository, installationKey: run.account.installation },
    limits: run.limits,
    audit: (entry) => run.audit.append(entry),
    now: () => new Date().toISOString(),
    elapsedMs: () => performance.now() - started,
    onCapped,
  });
}

interface AgentSlots {
  run(agent: AgentRun): Promise<AgentOutcome>;
  message(slot: number, message: Parameters<AgentRun['onMessage']>[0]): void;
  done(slot: number, outcome: AgentOutcome): void;
  /** The process is gone: whoever is speaking hears so. */
  lost(): void;
}

interface Speaking {
  onMessage: AgentRun['onMessage'];
  resolve: (outcome: AgentOutcome) => void;
}

function createAgentSlots(child: ChildProcess, send: (message: ToGateway) => void): AgentSlots {
  const speaking = new Map<number, Speaking>();
  let used = 0;
  let over = false;
  const sockets = Array.from({ length: AGENT_SLOTS }, (_unused, slot) => socketOf(child, slot));
  for (const socket of sockets) socket?.on('error', () => undefined);
  // One that still carries an agent's words would keep the child's end from being noticed.
  child.once('exit', () => {
    for (const socket of sockets) socket?.destroy();
  });

  function run(agent: AgentRun): Promise<AgentOutcome> {
    const slot = used;
    const socket = sockets[slot];
    if (over || !socket || slot >= AGENT_SLOTS) {
      return Promise.resolve({
        stop: 'lost',
        summary: '',
        error: over ? 'the gateway process is gone' : 'too many agents in one run',
      });
    }
    used += 1;
    const { promise, resolve } = Promise.withResolvers<AgentOutcome>();
    speaking.set(slot, { onMessage: agent.onMessage, resolve });
    // The agent may still speak when it is not spoken to any more.
    socket.allowHalfOpen = true;
    void carry(agent.stdout, socket);
    void carry(socket, agent.stdin);
    const { configured = false, cwd, prompt, idleMs } = agent;
    send({ type: 'agent', slot, agent: agent.agent, configured, cwd, prompt, idleMs });
    const cancel = (): void => send({ type: 'cancelAgent', slot });
    agent.signal.addEventListener('abort', cancel, { once: true });
    if (agent.signal.aborted) cancel();
    return promise.finally(() => {
      agent.signal.removeEventListener('abort', cancel);
      speaking.delete(slot);
      agent.stdout.resume();
    });
  }

  return {
    run,
    message: (slot, message) => speaking.get(slot)?.onMessage(message),
    done: (slot, outcome) => speaking.get(slot)?.resolve(outcome),
    lost: () => {
      over = true;
      for (const { resolve } of speaking.values())
        resolve({ stop: 'lost', summary: '', error: 'the gateway process is gone' });
    },
  };
}

function socketOf(child: ChildProcess, slot: number): Socket | undefined {
  return (child.stdio[CONTROL_FD + 1 + slot] ?? undefined) as Socket | undefined;
}

/** Raw bytes with back-pressure; nothing here looks at them. An end that breaks is the other side's to notice. */
async function carry(from: Readable, to: Writable): Promise<void> {
  await pipeline(from, to).catch(() => undefined);
}
