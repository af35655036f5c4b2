import { Readable, Writable } from 'node:stream';
import { PassThrough } from 'node:stream';
import * as acp from '@agentclientprotocol/sdk';
import { runAcp } from '../../src/agent/acp.ts';
import type { AcpOptions } from '../../src/agent/acp.ts';
import type { AgentMessage, AgentOutcome } from '../../src/agent/messages.ts';

export interface Held {
  outcome: AgentOutcome;
  messages: AgentMessage[];
}

/** `runAcp` against whatever writes to `fromAgent` and reads from `toAgent`. */
export async function hold(
  agent: { fromAgent: Readable; toAgent: Writable },
  overrides: Partial<AcpOptions> = {},
): Promise<Held> {
  const messages: AgentMessage[] = [];
  const outcome = await runAcp({
    input: agent.fromAgent,
    output: agent.toAgent,
    cwd: '/clone/repo',
    prompt: 'Make the test pass.',
    onMessage: (message) => messages.push(message),
    signal: new AbortController().signal,
    ...overrides,
  });
  return { outcome, messages };
}

export interface Pipes {
  fromAgent: PassThrough;
  toAgent: PassThrough;
}

export function pipes(): Pipes {
  return { fromAgent: new PassThrough(), toAgent: new PassThrough() };
}

/** A well-behaved agent on the SDK's own agent side. */
export function goodAgent(
  turn: (context: { client: acp.AgentContext; sessionId: string; cancelled: Promise<void> }) => Promise<acp.StopReason>,
  seen: {
    initialize?: acp.InitializeRequest;
    session?: acp.NewSessionRequest;
    mode?: string;
    prompt?: acp.PromptRequest;
  },
): Pipes {
  const wires = pipes();
  let cancel: () => void = () => undefined;
  const cancelled = new Promise<void>((resolve) => (cancel = resolve));
  acp
    .agent({ name: 'scripted' })
    .onRequest('initialize', ({ params }) => {
      seen.initialize = params;
      return { protocolVersion: acp.PROTOCOL_VERSION, agentCapabilities: {} };
    })
    .onRequest('session/new', ({ params }) => {
      seen.session = params;
      return { sessionId: 's-1' };
    })
    .onRequest('session/set_mode', ({ params }) => {
      seen.mode = params.modeId;
      return {};
    })
    .onRequest('session/prompt', async ({ params, client }) => {
      seen.prompt = params;
      return { stopReason: await turn({ client, sessionId: params.sessionId, cancelled }) };
    })
    .onNotification('session/cancel', () => {
      cancel();
    })
    .connect(
      acp.ndJsonStream(
        Writable.toWeb(wires.fromAgent) as WritableStream<Uint8Array>,
        Readable.toWeb(wires.toAgent) as ReadableStream<Uint8Array>,
      ),
    );
  return wires;
}

interface Call {
  id?: number | string;
  method?: string;
  params?: unknown;
  result?: unknown;
  error?: unknown;
}

/**
 * An agent that answers the opening as it should and does what it likes from the prompt on. `write` takes lines as they
 * are; `promptId` is the id of the prompt request.
 */
export function rawAgent(
  onPrompt: (agent: {
    write: (line: string) => void;
    update: (update: unknown) => void;
    promptId: number;
    pipes: Pipes;
  }) => void,
  onCall: (call: Call) => void = () => undefined,
): Pipes {
  const wires = pipes();
  const write = (line: string): void => void wires.fromAgent.write(`${line}\n`);
  const send = (message: object): void => write(JSON.stringify({ jsonrpc: '2.0', ...message }));
  let rest = '';
  wires.toAgent.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const call = JSON.parse(line) as Call;
      onCall(call);
      if (call.method === 'initialize') send({ id: call.id, result: { protocolVersion: 1 } });
      if (call.method === 'session/new') send({ id: call.id, result: { sessionId: 's-1' } });
      if (call.method === 'session/prompt') {
        onPrompt({
          write,
          update: (update) => send({ method: 'session/update', params: { sessionId: 's-1', update } }),
          promptId: call.id as number,
          pipes: wires,
        });
      }
    }
  });
  return wires;
}

export function endTurn(id: number): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result: { stopReason: 'end_turn' } });
}

export function textChunk(text: string): object {
  return { sessionUpdate: 'agent_message_chunk', content: { type: 'text', text } };
}
