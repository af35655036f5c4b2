import type { Wire } from '../../domain/policy.ts';
import type { ModelChoice } from '../../domain/run.ts';

/** How the agent's process is started in the sandbox. Fits the port `AgentLaunch`. */
export interface Launch {
  argv: string[];
  env: Record<string, string>;
  /** Paths are relative to the home directory of the agent's user. */
  files: { path: string; content: string }[];
  protocol: 'acp' | 'command';
}

export interface LaunchContext {
  /** Directory in the sandbox whose `bin` holds the agents of the toolbox. */
  agentsDir: string;
  /** Where the model's provider is reached, without a version: `http://llm.cofferdam.internal/<provider>`. */
  baseUrl: string;
  model: ModelChoice;
  prompt: string;
  /** The clone. */
  cwd: string;
  /** The repository's own configuration of this agent is read; all that lies there was allowed. */
  configured: boolean;
}

/** What a session of the protocol needs with this agent. */
interface SessionNeeds {
  modeId?: string;
  /** The session's title, for an agent that would have a model think of one. */
  title?: string;
  /** Appended to the working directory's path. */
  cwdSuffix?: string;
  /** The agent's own extension of `session/new`. */
  meta?: Record<string, unknown>;
}

/** One coding agent: how it is started, told its model, and kept quiet. */
export interface AgentAdapter {
  id: string;
  /** What it can speak with a model's provider. */
  wires: readonly Wire[];
  /** How it speaks with us. */
  protocol: { kind: 'acp'; session?: (configured: boolean) => SessionNeeds } | { kind: 'command' };
  /** Files and directories of a repository, in lower case, from its root, by which it configures this agent. */
  configuration: readonly string[];
  launch(context: LaunchContext): Omit<Launch, 'protocol'>;
}

/**
 * What agents send as the provider's key. It opens nothing: the gateway strips it and adds the real one. It looks like a
 * key because some clients check for that.
 */
export const PLACEHOLDER_KEY = 'sk-cofferdam-placeholder-the-gateway-adds-the-real-key';

/** No terminal, no colours, no questions. */
export const COMMON_ENV: Readonly<Record<string, string>> = { CI: '1', TERM: 'dumb', NO_COLOR: '1' };

/**
 * Advice in the home directory of agents that leave out the repository's own together with its settings. Settings could
 * start programs; advice is text that the model weighs like the rest of the clone.
 */
export const READ_ADVICE =
  'If the repository has a file AGENTS.md or CLAUDE.md at its root, read it before anything else: it says how to work in it.\n';
