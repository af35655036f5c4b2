/**
 * The gateway process of one run: the gateway, and the agent's protocol. It starts with a built environment, gets
 * everything by message, loads and opens all that it needs, and then gives up its rights.
 *
 * Trust: what it faces is the hostile sandbox. It holds this run's policy, model key and host credentials; it has no
 * Docker socket, no App key, no GitHub token and no Redis. It ends when its worker does.
 *
 * Preconditions: nothing is imported after the change of user, since the checkout may lie where that user cannot read.
 */
import { constants, openSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { PLACEHOLDER_KEY } from '../agent/adapters/adapter.ts';
import { speakWithAgent } from '../agent/speak.ts';
import type { AuditEntry } from '../domain/audit.ts';
import { CofferdamError } from '../domain/errors.ts';
import { createDialer, type Dial, type Resolve } from '../gateway/dialer.ts';
import { createGateway, type RunningGateway } from '../gateway/gateway.ts';
import { createGitProxy, type ServedRepository } from '../gateway/git-proxy.ts';
import { GATEWAY_LIMITS } from '../gateway/limits.ts';
import { dialledRequests } from '../gateway/llm/dialled.ts';
import { createLlmHandler, type LlmHandler } from '../gateway/llm/handler.ts';
import { LlmReserveAnswer } from '../gateway/llm/port.ts';
import type { Service } from '../gateway/services.ts';
import { createTrust, type Trust } from '../gateway/tls/trust.ts';
import { javaTrustStore } from '../gateway/tls/trust-store.ts';
import type { PriceTable } from '../policy/llm/prices.ts';
import {
  AGENT_SLOTS,
  CA_NAME,
  CONTROL_FD,
  MAX_CALLS,
  MAX_TO_GATEWAY,
  openChannel,
  SOCKET_NAME,
  ToGateway,
  TRUST_STORE_NAME,
  type Channel,
  type GatewayStart,
  type ToWorker,
} from './gateway-ipc.ts';
import { MOUNTED_MODE } from '../sandbox/layout.ts';
import { dropRights } from './child-process.ts';
import { createCalls, type Calls } from './gateway-calls.ts';

interface Running {
  gateway: RunningGateway;
  llm: LlmHandler | undefined;
}

/** What of the outside world may be another one: the battery's, whose process has an entry of its own. */
export interface Outside {
  resolve?: Resolve;
  dial?: Dial;
}

interface Child {
  channel: Channel<ToWorker>;
  calls: Calls;
  outside: Outside;
  slots: Socket[];
  agents: Map<number, AbortController>;
  stopped: AbortController;
  running?: Running;
  egressTimer?: NodeJS.Timeout;
}

/**
 * Makes this process the gateway of one run; it begins when the worker says so. Nothing that comes by message, by
 * environment or by argument can give it another outside: only who writes the process's entry can.
 */
export function becomeGateway(outside: Outside = {}): void {
  const channel: Channel<ToWorker> = openChannel<ToWorker, ToGateway>({
    stream: new Socket({ fd: CONTROL_FD }),
    schema: ToGateway,
    maxIncoming: MAX_TO_GATEWAY,
    onMessage: (message) => receive(child, message),
    // The worker is gone: without its record nothing may go on.
    onClose: () => process.exit(0),
  });
  const slots = Array.from(
    { length: AGENT_SLOTS },
    (_unused, index) => new Socket({ fd: CONTROL_FD + 1 + index, allowHalfOpen: true }),
  );
  for (const slot of slots) slot.on('error', () => undefined);
  const calls = createCalls({ send: (message) => channel.send(message), max: MAX_CALLS });
  const child: Child = { channel, calls, outside, slots, agents: new Map(), stopped: new AbortController() };
}

function receive(child: Child, message: ToGateway): void {
  if (message.type === 'start') void start(child, message);
  else if (message.type === 'answer') child.calls.answer(message);
  else if (message.type === 'agent') void runAgent(child, message);
  else if (message.type === 'cancelAgent') child.agents.get(message.slot)?.abort();
  else if (message.type === 'closeModel') child.running?.llm?.close();
  else if (message.type === 'reportEgress') sendEgress(child, message.id);
  else void stop(child);
}

async function start(child: Child, settings: GatewayStart): Promise<void> {
  try {
    const repositories = openRepositories(settings.git);
    const running = await compose(child, settings, repositories);
    // The run's own authority for what is read, the bundle for what is passed through.
    const trusted = running.gateway.authority + settings.ca;
    await writeFile(join(settings.socketDir, CA_NAME), trusted, { mode: MOUNTED_MODE });
    await writeFile(join(settings.socketDir, TRUST_STORE_NAME), javaTrustStore(trusted), { mode: MOUNTED_MODE });
    await running.gateway.listen(join(settings.socketDir, SOCKET_NAME));
    if (settings.user) dropRights(settings.user, { code: 'gateway', op: 'main.gatewayProcess', name: 'gateway' });
    checkRepositories(repositories);
    child.running = running;
    child.channel.send({ type: 'ready', uid: process.getuid?.() ?? 0 });
  } catch (error) {
    const code =
      error instanceof CofferdamError && (error.code === 'config' || error.code === 'policy') ? error.code : 'gateway';
    child.channel.send({
      type: 'failed',
      code,
      message: error instanceof Error ? error.message.slice(0, 4000) : 'unknown',
    });
  }
}

/** Opened while the rights are there: the directories above the mirrors are closed to everybody else. */
function openRepositories(git: Record<string, string>): Record<string, ServedRepository> {
  return Object.fromEntries(
    Object.entries(git).map(([name, path]): [string, ServedRepository] => [
      name,
      { path: '/proc/self/fd/3', inherit: [openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)] },
    ]),
  );
}

function checkRepositories(repositories: Record<string, ServedRepository>): void {
  for (const [name, repository] of Object.entries(repositories)) {
    try {
      readFileSync(`/proc/self/fd/${repository.inherit?.[0] ?? -1}/HEAD`);
    } catch (cause) {
      const message = `the mirror of ${name} cannot be read by the gateway's user: its files need to be readable by others (umask 022)`;
      throw new CofferdamError('gateway', 'main.gatewayProcess', message, cause);
    }
  }
}

async function compose(
  child: Child,
  settings: GatewayStart,
  repositories: Record<string, ServedRepository>,
): Promise<Running> {
  const audit = (entry: AuditEntry): Promise<void> =>
    child.calls.call((id) => ({ type: 'audit', id, entry })).then(() => undefined);
  const trust = createTrust({ ca: settings.ca, revocation: settings.revocation });
  const llm = settings.llm ? composeLlm(child, { settings: settings.llm, trust }) : undefined;
  const services: Record<string, Service> = llm ? { llm } : {};
  if (Object.keys(repositories).length > 0) {
    services['git'] = createGitProxy({ repositories, audit, signal: child.stopped.signal });
  }
  const gateway = await createGateway({
    policy: settings.policy,
    audit,
    services,
    credentials: settings.credentials,
    trust,
    runName: settings.runId,
    limits: settings.limits,
    onEgress: () => egressSoon(child),
    ...child.outside,
  });
  return { gateway, llm };
}

function composeLlm(
  child: Child,
  { settings: llm, trust }: { settings: NonNullable<GatewayStart['llm']>; trust: Trust },
): LlmHandler {
  const dialer = createDialer({ ...child.outside, limits: GATEWAY_LIMITS, signal: child.stopped.signal });
  return createLlmHandler({
    providers: llm.providers,
    models: llm.models,
    prices: llm.prices as PriceTable,
    runHash: llm.runHash,
    placeholderKey: PLACEHOLDER_KEY,
    request: dialledRequests({ dialer, trust, timeoutMs: GATEWAY_LIMITS.dialMs }).request,
    ask: {
      reserve: async (call) => LlmReserveAnswer.parse(await child.calls.call((id) => ({ type: 'reserve', id, call }))),
      settle: (settlement) => child.calls.call((id) => ({ type: 'settle', id, settlement })).then(() => undefined),
    },
    onEvent: ({ type, decision, data }) => {
      const entry: AuditEntry = { zone: 'gateway', type, ...(decision ? { decision } : {}), data };
      child.calls.call((id) => ({ type: 'audit', id, entry })).catch(() => undefined);
    },
  });
}

/** The summary goes to the worker a few times a second at most. */
function egressSoon(child: Child): void {
  child.egressTimer ??= setTimeout(() => {
    delete child.egressTimer;
    sendEgress(child);
  }, 250);
}

function sendEgress(child: Child, id?: number): void {
  const entries = child.running?.gateway.egress();
  if (entries) child.channel.send({ type: 'egress', entries, ...(id === undefined ? {} : { id }) });
}

async function runAgent(child: Child, order: Extract<ToGateway, { type: 'agent' }>): Promise<void> {
  const { slot, agent, configured, cwd, prompt, idleMs } = order;
  const streams = child.slots[slot];
  if (!streams || child.agents.has(slot)) return;
  const controller = new AbortController();
  child.agents.set(slot, controller);
  const signal = AbortSignal.any([controller.signal, child.stopped.signal]);
  let dropped = 0;
  try {
    const outcome = await speakWithAgent({
      agent,
      configured,
      input: streams,
      output: streams,
      cwd,
      prompt,
      timeouts: { idle: idleMs },
      onMessage: (message) => {
        // Prose may be lost; the worker's memory may not be its price.
        if (child.channel.backlog() > 8 * 2 ** 20) dropped += 1;
        else child.channel.send({ type: 'agentMessage', slot, message });
      },
      signal,
    });
    const lost = dropped + (outcome.dropped ?? 0);
    child.channel.send({ type: 'agentDone', slot, outcome: { ...outcome, ...(lost === 0 ? {} : { dropped: lost }) } });
  } catch (error) {
    const message = error instanceof Error ? error.message.slice(0, 4000) : 'unknown';
    child.channel.send({ type: 'agentDone', slot, outcome: { stop: 'error', summary: '', error: message } });
  }
}

async function stop(child: Child): Promise<void> {
  child.stopped.abort();
  child.running?.llm?.close();
  await child.running?.gateway.close().catch(() => undefined);
  sendEgress(child);
  // The frames above are on their way; the worker closes the channel when it has read them.
  process.exitCode = 0;
  child.channel.end();
}
