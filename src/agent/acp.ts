/**
 * Trust: the agent at the other end is the sandbox's, hence hostile. This runs in the gateway's process, under a user
 * id of its own. It offers the agent nothing (no files, no terminal), grants every permission that it is asked for
 * (inside the sandbox there is nothing to protect from the agent), and believes nothing: an answer counts only as far
 * as it is well formed, silence ends, and a turn's end says nothing about the work. What the bytes may do to memory is
 * settled in `frames.ts`, what a message may carry in `messages.ts`.
 */
import type { Readable, Writable } from 'node:stream';
import * as acp from '@agentclientprotocol/sdk';
import { openFrames } from './frames.ts';
import type { FrameLimits, Frames } from './frames.ts';
import { createReporter } from './messages.ts';
import type { AgentMessage, AgentOutcome, MessageLimits } from './messages.ts';
import { isObject } from './text.ts';
import type { Json } from './text.ts';
import { createTimer, race } from './timer.ts';
import type { Timer } from './timer.ts';

/** Milliseconds. */
export interface AcpTimeouts {
  /** From the start of the process to its first answer; under gVisor a cold start takes many seconds. */
  initialize: number;
  /** `session/new`, `session/set_mode` and `session/set_title`, each. */
  session: number;
  /** Without any message from the agent while it works: a long test run or a slow model call is silent, too. */
  idle: number;
  /** From `session/cancel` to the end of the turn. */
  cancel: number;
}

/** Newer than the library's names of methods. */
const SET_TITLE = 'session/set_title';

const ACP_TIMEOUTS: AcpTimeouts = { initialize: 60_000, session: 60_000, idle: 15 * 60_000, cancel: 5_000 };

const FRAME_LIMITS: FrameLimits = {
  // Agents put whole files into their updates, twice.
  maxLineBytes: 8 * 2 ** 20,
  maxBytes: 2 * 2 ** 30,
  maxMessages: 2_000_000,
  maxOpenRequests: 64,
};

export interface AcpOptions {
  /** The agent's standard output. */
  input: Readable;
  /** The agent's standard input. */
  output: Writable;
  cwd: string;
  prompt: string;
  /** Mode that the session is put into before the prompt. */
  modeId?: string | undefined;
  /** Title that the session is given before the prompt; an agent that takes none is no error. */
  title?: string | undefined;
  /** The agent's own extension of `session/new`. */
  meta?: Record<string, unknown> | undefined;
  onMessage: (message: AgentMessage) => void;
  timeouts?: Partial<AcpTimeouts>;
  limits?: Partial<FrameLimits>;
  messageLimits?: MessageLimits;
  signal: AbortSignal;
}

/** An end that is not the agent's own; everything else thrown below comes from the connection. */
class Stop extends Error {
  readonly stop: string;
  constructor(stop: string, message: string) {
    super(message);
    this.stop = stop;
  }
}

/**
 * Holds one turn of the Agent Client Protocol with the process behind the two streams and closes its input at the end;
 * the streams are not destroyed, and ending the process is the caller's part. Resolves at the end of the turn, when a
 * limit or timeout is reached, when the streams end, or soon after `signal` (`session/cancel` is sent then).
 * Never rejects for what the agent does.
 */
export async function runAcp(options: AcpOptions): Promise<AgentOutcome> {
  const { messageLimits } = options;
  const reporter = createReporter({
    onMessage: options.onMessage,
    ...(messageLimits === undefined ? {} : { limits: messageLimits }),
  });
  const talk: Conversation = { options, timeouts: { ...ACP_TIMEOUTS, ...options.timeouts }, idle: undefined };
  const frames = openFrames({
    input: options.input,
    output: options.output,
    limits: { ...FRAME_LIMITS, ...options.limits },
    serves: acp.methods.client.session.requestPermission,
    onNotification: (method, params) => {
      if (method === acp.methods.client.session.update) reporter.update(params);
    },
    onActivity: () => talk.idle?.touch(),
  });
  const { requestPermission } = acp.methods.client.session;
  const connection = acp
    .client({ name: 'cofferdam' })
    .onRequest(requestPermission, readOptions, (context) => answerPermission(context.params))
    .connect(frames.stream);
  let orderly = false;
  try {
    const ended = await converse(talk, connection.agent).then(
      (stop) => ({ stop }),
      (thrown: unknown) => failure(thrown, frames),
    );
    orderly = !('error' in ended) && ended.stop !== 'cancelled';
    reporter.flush();
    const dropped = frames.dropped() + reporter.dropped();
    return { ...ended, summary: reporter.summary(), ...(dropped === 0 ? {} : { dropped }) };
  } finally {
    connection.close();
    // An agent that ended its turn may want to say more before it exits; any other is about to be killed.
    frames.close(orderly);
    options.output.end();
  }
}

interface Conversation {
  options: AcpOptions;
  timeouts: AcpTimeouts;
  /** Runs while the agent works. */
  idle: Timer | undefined;
}

/** Initialise, open a session, set its mode and title, prompt. Resolves with the turn's stop reason. */
async function converse(talk: Conversation, agent: acp.ClientContext): Promise<string> {
  const { cwd, modeId, title, meta } = talk.options;
  const { initialize, session } = acp.methods.agent;
  const hello: unknown = await ask(talk, initialize, talk.timeouts.initialize, () =>
    agent.request(initialize, {
      protocolVersion: acp.PROTOCOL_VERSION,
      clientCapabilities: {},
      clientInfo: { name: 'cofferdam', version: '1' },
    }),
  );
  if (!isObject(hello) || hello['protocolVersion'] !== acp.PROTOCOL_VERSION) {
    throw new Stop('error', `the agent does not speak version ${acp.PROTOCOL_VERSION} of the protocol`);
  }
  const opened: unknown = await ask(talk, session.new, talk.timeouts.session, () =>
    agent.request(session.new, { cwd, mcpServers: [], ...(meta === undefined ? {} : { _meta: meta }) }),
  );
  const sessionId = isObject(opened) ? opened['sessionId'] : undefined;
  if (typeof sessionId !== 'string' || sessionId.length > 1_000) {
    throw new Stop('error', 'the agent gave no usable session id');
  }
  if (modeId !== undefined) {
    await ask(talk, session.setMode, talk.timeouts.session, () =>
      agent.request(session.setMode, { sessionId, modeId }),
    );
  }
  if (title !== undefined) {
    await ask(talk, SET_TITLE, talk.timeouts.session, () =>
      agent.request(SET_TITLE, { sessionId, title }).catch((thrown: unknown) => {
        if (!(thrown instanceof acp.RequestError)) throw thrown;
      }),
    );
  }
  return takeTurn(talk, agent, sessionId);
}

/** One request of the opening, with its own time. */
async function ask<T>(talk: Conversation, method: string, ms: number, call: () => Promise<T>): Promise<T> {
  const result = await race(call(), createTimer(ms), talk.options.signal);
  if (result.by === 'answer') return result.value;
  if (result.by === 'signal') throw new Stop('cancelled', 'cancelled');
  throw new Stop('error', `the agent did not answer ${method} within ${ms} ms`);
}

async function takeTurn(talk: Conversation, agent: acp.ClientContext, sessionId: string): Promise<string> {
  const { timeouts, options } = talk;
  const { session } = acp.methods.agent;
  talk.idle = createTimer(timeouts.idle);
  const turn: Promise<unknown> = agent.request(session.prompt, {
    sessionId,
    prompt: [{ type: 'text', text: options.prompt }],
  });
  const ended = await race(turn, talk.idle, options.signal);
  if (ended.by === 'answer') return readStop(ended.value);
  void agent.notify(session.cancel, { sessionId }).catch(() => undefined);
  // The agent's own end of the turn is waited for: it closes its model call and says its last words then.
  await race(
    turn.catch(() => undefined),
    createTimer(timeouts.cancel),
    new AbortController().signal,
  );
  if (ended.by === 'signal') throw new Stop('cancelled', 'cancelled');
  throw new Stop('idle', `no message from the agent for ${timeouts.idle} ms`);
}

/** `other` stands for a word that is not the protocol's, or that is ours to use. */
function readStop(response: unknown): string {
  const reason = isObject(response) ? response['stopReason'] : undefined;
  return typeof reason === 'string' && STOP_REASONS.has(reason) ? reason : 'other';
}

const STOP_REASONS: ReadonlySet<string> = new Set(['end_turn', 'max_tokens', 'max_turn_requests', 'refusal']);

/** The options of a permission request, as far as they are well formed. */
function readOptions(params: unknown): Json[] {
  const list: unknown = isObject(params) ? params['options'] : undefined;
  return Array.isArray(list) ? list.slice(0, 100).filter(isObject) : [];
}

/** Chosen by kind: ids differ from agent to agent and mean nothing. */
function answerPermission(options: Json[]): acp.RequestPermissionResponse {
  const chosen =
    options.find((option) => option['kind'] === 'allow_once') ??
    options.find((option) => option['kind'] === 'allow_always');
  const optionId = chosen?.['optionId'];
  if (typeof optionId !== 'string' || optionId.length > 1_000) return { outcome: { outcome: 'cancelled' } };
  return { outcome: { outcome: 'selected', optionId } };
}

function failure(thrown: unknown, frames: Frames): { stop: string; error?: string } {
  const exceeded = frames.exceeded();
  if (exceeded !== undefined) return { stop: 'error', error: `the agent sent ${exceeded}` };
  if (thrown instanceof Stop) {
    return thrown.stop === 'cancelled' ? { stop: 'cancelled' } : { stop: thrown.stop, error: thrown.message };
  }
  if (thrown instanceof acp.RequestError) {
    return { stop: 'error', error: `the agent answered with error ${thrown.code}: ${thrown.message}` };
  }
  return { stop: 'lost', error: "the agent's streams ended before its turn did" };
}
