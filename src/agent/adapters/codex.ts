import { COMMON_ENV, PLACEHOLDER_KEY, READ_ADVICE } from './adapter.ts';
import type { AgentAdapter, LaunchContext } from './adapter.ts';

/** The version of the adapter that these settings were measured with; it brings codex 0.166.0. */
export const CODEX_ACP_VERSION = '2.6.0';

/** codex through its adapter for the protocol, which runs on the toolbox's Node and starts codex's own static binary. */
export const codex: AgentAdapter = {
  id: 'codex',
  wires: ['openai-responses'],
  protocol: {
    kind: 'acp',
    session: (configured) => ({
      // Its other modes start a sandbox of their own for each command, which cannot work inside this one.
      modeId: 'agent-full-access',
      // Else the adapter asks for one once the turn is over, of a model that it names itself, and that nobody allowed.
      title: 'Cofferdam',
      // The adapter declares the session's directory, letter by letter, a trusted project, which would let the
      // repository's own settings change the model and start programs. Spelled like this it is not the name under
      // which codex looks the trust up, and the `untrusted` of our settings holds.
      cwdSuffix: configured ? '' : '/',
    }),
  },
  configuration: ['.codex'],
  launch: (context) => ({
    argv: [`${context.agentsDir}/bin/codex-acp`],
    env: {
      ...COMMON_ENV,
      NO_BROWSER: '1',
      INITIAL_AGENT_MODE: 'agent-full-access',
      COFFERDAM_LLM_KEY: PLACEHOLDER_KEY,
    },
    files: [
      { path: '.codex/config.toml', content: config(context) },
      { path: '.codex/AGENTS.md', content: READ_ADVICE },
    ],
  }),
};

/** A provider of its own: the built-in one tries WebSockets first, and reads its key from a login. */
function config({ model, baseUrl, cwd, configured }: LaunchContext): string {
  return `model = ${toml(model.model)}
model_provider = "cofferdam"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
web_search = "disabled"

[analytics]
enabled = false

[feedback]
enabled = false

[features]
plugins = false
apps = false

[projects.${toml(cwd)}]
trust_level = "${configured ? 'trusted' : 'untrusted'}"

[model_providers.cofferdam]
name = "cofferdam"
base_url = ${toml(`${baseUrl}/v1`)}
env_key = "COFFERDAM_LLM_KEY"
wire_api = "responses"
requires_openai_auth = false
`;
}

/** A JSON string is a TOML string, but for the one character that only JSON takes as it is. */
function toml(text: string): string {
  return JSON.stringify(text.toWellFormed()).replaceAll('\u007f', '\\u007f');
}
