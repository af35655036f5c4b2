/**
 * The gateway process of one run. Trust: everything on the run's socket and on the agent's streams is hostile; the worker
 * on the other side of the IPC channel is trusted. It inherits no environment, and when the worker is root it gives up
 * its user after it has loaded its code and bound its socket, before it reads a byte of the sandbox.
 */
import { createHash } from 'node:crypto';
import { Socket } from 'node:net';
import { PLACEHOLDER_KEY } from '../agent/adapters/adapter.ts';
import { speakWithAgent } from '../agent/speak.ts';
import { AuditEntry } from '../domain/audit.ts';
import type { EgressPolicy } from '../domain/policy.ts';
import { createDialer } from '../gateway/dialer.ts';
import { createGateway, type RunningGateway } from '../gateway/gateway.ts';
import { createGitProxy } from '../gateway/git-proxy.ts';
import { GATEWAY_LIMITS } from '../gateway/limits.ts';
import { dialledRequests } from '../gateway/llm/dialled.ts';
import { createLlmHandler, type LlmHandler } from '../gateway/llm/handler.ts';
import type { LlmProvider } from '../gateway/llm/port.ts';
import type { PriceTable } from '../policy/llm/prices.ts';
import { AGENT_FD, ToGateway, type FromGateway } from './gateway-messages.ts';

interface Waiting {
  resolve: (message: ToGateway) => void;
}

const waiting = new Map<number, Waiting>();
const stop = new AbortController();
const state: { gateway?: RunningGateway; llm?: LlmHandler; agent?: AbortController; next: number } = { next: 0 };

function send(message: FromGateway): void {
  process.send?.(message);
}

type Question = Extract<FromGateway, { id: number }>;
type WithoutId<T> = T extends { id: number } ? Omit<T, 'id'> : never;

function ask(question: WithoutId<Question>): Promise<ToGateway> {
  const id = (state.next += 1);
  return new Promise((resolve) => {
    waiting.set(id, { resolve });
    send({ ...question, id });
  });
}

async function audit(entry: AuditEntry): Promise<void> {
  const answer = await ask({ type: 'audit', entry: AuditEntry.parse(entry) });
  if (answer.type !== 'audited' || !answer.ok) throw new Error('the worker could not record the event');
}

async function open(message: Extract<ToGateway, { type: 'open' }>): Promise<void> {
  const policy = message.policy as unknown as EgressPolicy;
  const services: Record<string, NonNullable<Parameters<typeof createGateway>[0]['services']>[string]> = {};
  if (Object.keys(message.git).length > 0)
    services['git'] = createGitProxy({ repositories: message.git, audit, signal: stop.signal });
  if (message.llm) {
    state.llm = openLlm(message.llm, message.ca);
    services['llm'] = state.llm;
  }
  const gateway = createGateway({
    policy,
    audit,
    services,
    onEgress: () => send({ type: 'egress', entries: gateway.egress() }),
  });
  state.gateway = gateway;
  await gateway.listen(message.socketPath);
  if (message.uid !== undefined) dropTo(message.uid);
  send({ type: 'ready' });
}

function openLlm(llm: NonNullable<Extract<ToGateway, { type: 'open' }>['llm']>, ca: string | undefined): LlmHandler {
  const dialer = createDialer({ limits: GATEWAY_LIMITS, signal: stop.signal });
  return createLlmHandler({
    providers: llm.providers as unknown as LlmProvider[],
    models: llm.models,
    prices: llm.prices as unknown as PriceTable,
    runHash: createHash('sha256').update(llm.runHash).digest('hex').slice(0, 32),
    placeholderKey: PLACEHOLDER_KEY,
    request: dialledRequests({ dialer, ca }).request,
    onEvent: (event) => {
      audit({
        zone: 'gateway',
        type: event.type,
        ...(event.decision ? { decision: event.decision } : {}),
        data: event.data,
      }).catch(() => undefined);
    },
    ask: {
      reserve: async (call) => {
        const answer = await ask({ type: 'reserve', call });
        return answer.type === 'reserved'
          ? answer.answer
          : { ok: false, reason: 'audit_unavailable', say: 'the worker did not answer' };
      },
      settle: async (settlement) => {
        const answer = await ask({ type: 'settle', settlement });
        return answer.type === 'settled' ? answer.answer : { notices: [] };
      },
    },
  });
}

/** Order matters: groups and group first, since both need the user that is given up last. */
function dropTo(uid: number): void {
  process.setgroups?.([]);
  process.setgid?.(uid);
  process.setuid?.(uid);
  if (process.getuid?.() !== uid || process.getgid?.() !== uid) throw new Error('the user was not given up');
}

async function runAgent(message: Extract<ToGateway, { type: 'agent' }>): Promise<void> {
  const controller = new AbortController();
  state.agent = controller;
  const streams = new Socket({ fd: AGENT_FD, readable: true, writable: true });
  streams.on('error', () => undefined);
  const outcome = await speakWithAgent({
    agent: message.agent,
    input: streams,
    output: streams,
    cwd: message.cwd,
    prompt: message.prompt,
    onMessage: (said) => send({ type: 'message', message: said }),
    signal: controller.signal,
  });
  streams.end();
  send({ type: 'outcome', outcome });
}

async function close(): Promise<void> {
  state.llm?.close();
  stop.abort();
  await state.gateway?.close();
  send({ type: 'closed', entries: state.gateway?.egress() ?? [] });
  process.disconnect();
}

function handle(raw: unknown): void {
  const message = ToGateway.parse(raw);
  switch (message.type) {
    case 'open':
      open(message).catch((error: unknown) =>
        send({ type: 'failed', message: error instanceof Error ? error.message : String(error) }),
      );
      return;
    case 'agent':
      runAgent(message).catch((error: unknown) =>
        send({ type: 'outcome', outcome: { stop: 'error', summary: '', error: String(error).slice(0, 1000) } }),
      );
      return;
    case 'cancelAgent':
      state.agent?.abort();
      return;
    case 'closeModel':
      state.llm?.close();
      return;
    case 'close':
      close().catch(() => process.exit(1));
      return;
    default:
      waiting.get(message.id)?.resolve(message);
      waiting.delete(message.id);
  }
}

process.on('message', handle);
// The worker is gone: so is the run's way out.
process.on('disconnect', () => process.exit(0));
// A terminal's interrupt goes to the whole group; the worker decides when the gateway ends.
process.on('SIGINT', () => undefined);
