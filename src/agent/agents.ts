import { CofferdamError } from '../domain/errors.ts';
import type { Wire } from '../domain/policy.ts';
import type { ModelChoice } from '../domain/run.ts';
import type { AgentAdapter, Launch } from './adapters/adapter.ts';
import { claudeCode } from './adapters/claude-code.ts';
import { codex } from './adapters/codex.ts';
import { opencode } from './adapters/opencode.ts';
import { pi } from './adapters/pi.ts';

const ADAPTERS: readonly AgentAdapter[] = [opencode, codex, claudeCode, pi];

/** The ids that `agent:` takes in policy and repository files. */
export const AGENT_IDS: readonly string[] = ADAPTERS.map((adapter) => adapter.id);

/** Where every sandbox reaches the model's provider: the gateway answers for this name. */
const LLM_ORIGIN = 'http://llm.cofferdam.internal';

export interface AgentsOptions {
  /** Directory in the sandbox whose `bin` holds the agents of the toolbox. */
  toolboxAgentsDir: string;
  /** The providers that the policy names, and what they speak; of several wires, the first that the agent can use is used. */
  providers: Readonly<Record<string, { wires: readonly Wire[] }>>;
}

interface LaunchOptions {
  agent: string;
  /** `<provider>/<model>`. */
  model: string | undefined;
  prompt: string;
  cwd: string;
  /** Default false: of the repository's own configuration of the agent nothing is read. */
  configured?: boolean | undefined;
}

/** Fits the port `Agents`. */
export interface Agents {
  launch(options: LaunchOptions): Launch;
}

/**
 * How agents are started in the sandbox.
 * Errors of `launch`: `config` for an agent that is not known, for a missing or unknown provider, and for a provider
 * that the agent cannot speak with.
 */
export function createAgents(options: AgentsOptions): Agents {
  const { toolboxAgentsDir: agentsDir, providers } = options;
  return {
    launch({ agent, model, prompt, cwd, configured = false }) {
      const adapter = findAdapter(agent);
      const choice = chooseModel(adapter, model, providers);
      const baseUrl = `${LLM_ORIGIN}/${choice.provider}`;
      const launch = adapter.launch({ agentsDir, baseUrl, model: choice, prompt, cwd, configured });
      return { ...launch, protocol: adapter.protocol.kind };
    },
  };
}

/** Files and directories of a repository, in lower case, by which it configures this agent. Errors: `config`. */
export function configurationOf(agent: string): readonly string[] {
  return findAdapter(agent).configuration;
}

/** Errors: `config`. */
export function findAdapter(agent: string): AgentAdapter {
  const adapter = ADAPTERS.find((candidate) => candidate.id === agent);
  if (adapter === undefined) {
    throw configError(`there is no agent "${agent}"; agents are ${AGENT_IDS.join(', ')}`);
  }
  return adapter;
}

function chooseModel(
  adapter: AgentAdapter,
  model: string | undefined,
  providers: AgentsOptions['providers'],
): ModelChoice {
  const [, provider, name] = /^([a-z0-9-]+)\/(.+)$/.exec(model ?? '') ?? [];
  if (provider === undefined || name === undefined) {
    throw configError(
      model === undefined
        ? `${adapter.id} needs a model: set llm.default in the policy, or model in .github/cofferdam.yml`
        : `model: "${model}" is not of the form <provider>/<model>`,
    );
  }
  const offered = Object.hasOwn(providers, provider) ? providers[provider]?.wires : undefined;
  if (offered === undefined) {
    throw configError(`model: the policy has no provider "${provider}"; it has ${list(Object.keys(providers))}`);
  }
  const wire = offered.find((candidate) => adapter.wires.includes(candidate));
  if (wire === undefined) {
    throw configError(
      `model: ${adapter.id} cannot use provider "${provider}", which speaks ${list(offered)}: it speaks ${list(adapter.wires)}`,
    );
  }
  return { provider, model: name, wire };
}

function list(words: readonly string[]): string {
  return words.length === 0 ? 'none' : words.join(', ');
}

function configError(message: string): CofferdamError {
  return new CofferdamError('config', 'agent.launch', message);
}
