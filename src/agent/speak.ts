import type { Readable, Writable } from 'node:stream';
import { runAcp } from './acp.ts';
import type { AcpTimeouts } from './acp.ts';
import { findAdapter } from './agents.ts';
import type { AgentMessage, AgentOutcome } from './messages.ts';

export interface SpeakOptions {
  agent: string;
  /** The agent's standard output. */
  input: Readable;
  /** The agent's standard input. */
  output: Writable;
  /** The clone, in the sandbox. */
  cwd: string;
  prompt: string;
  /** As the agent was launched. */
  configured?: boolean | undefined;
  onMessage: (message: AgentMessage) => void;
  timeouts?: Partial<AcpTimeouts>;
  signal: AbortSignal;
}

/**
 * Speaks with a started agent in the way that its adapter asks for. This is what the gateway's process calls.
 * Errors: `config` for an agent that is not known; never for what the agent does.
 */
export async function speakWithAgent(options: SpeakOptions): Promise<AgentOutcome> {
  const { agent, configured = false, ...rest } = options;
  const { protocol } = findAdapter(agent);
  if (protocol.kind !== 'acp') return { stop: 'error', summary: '', error: `${agent} is a plain command` };
  const { modeId, title, cwdSuffix, meta } = protocol.session?.(configured) ?? {};
  return runAcp({ ...rest, cwd: `${options.cwd}${cwdSuffix ?? ''}`, modeId, title, meta });
}
