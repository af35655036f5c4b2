import { COMMON_ENV, PLACEHOLDER_KEY } from './adapter.ts';
import type { AgentAdapter } from './adapter.ts';

/** The version of the adapter that these settings were measured with. */
export const CLAUDE_AGENT_ACP_VERSION = '0.101.0';

const MISSING = `The agent claude-code is not part of Cofferdam, because its licence does not let others ship it.
Install it in the sandbox image: npm install -g @agentclientprotocol/claude-agent-acp@${CLAUDE_AGENT_ACP_VERSION}`;

/** Claude Code through its adapter for the protocol, both installed by the operator in the sandbox image. */
export const claudeCode: AgentAdapter = {
  id: 'claude-code',
  wires: ['anthropic'],
  protocol: {
    kind: 'acp',
    session: {
      // The repository's own settings may hold hooks and MCP servers: they were not reviewed.
      meta: { claudeCode: { options: { settingSources: ['user'], strictMcpConfig: true } } },
    },
  },
  launch: ({ model, baseUrl }) => ({
    argv: [
      '/bin/sh',
      '-c',
      'command -v claude-agent-acp >/dev/null || { printf "%s\\n" "$1" >&2; exit 127; }; exec claude-agent-acp',
      'agent',
      MISSING,
    ],
    env: {
      ...COMMON_ENV,
      ANTHROPIC_BASE_URL: baseUrl,
      ANTHROPIC_API_KEY: PLACEHOLDER_KEY,
      ANTHROPIC_MODEL: model.model,
      // Titles and summaries are asked of a small model, by default one that the policy may not allow.
      ANTHROPIC_DEFAULT_HAIKU_MODEL: model.model,
      CLAUDE_CODE_SUBAGENT_MODEL: model.model,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_AUTOUPDATER: '1',
      DISABLE_TELEMETRY: '1',
      DISABLE_ERROR_REPORTING: '1',
    },
    files: [],
  }),
};
