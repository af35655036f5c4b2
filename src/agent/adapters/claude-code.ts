import { fromImage } from '../command.ts';
import { COMMON_ENV, PLACEHOLDER_KEY, READ_ADVICE } from './adapter.ts';
import type { AgentAdapter } from './adapter.ts';

/** The version of the adapter that these settings were measured with. */
const CLAUDE_AGENT_ACP_VERSION = '0.101.0';

/** Claude Code through its adapter for the protocol, both installed by the operator in the sandbox image. */
export const claudeCode: AgentAdapter = {
  id: 'claude-code',
  wires: ['anthropic'],
  protocol: {
    kind: 'acp',
    session: (configured) => ({
      // The repository's own settings may hold hooks and MCP servers: only what was allowed is read.
      meta: {
        claudeCode: {
          options: { settingSources: configured ? ['user', 'project'] : ['user'], strictMcpConfig: !configured },
        },
      },
    }),
  },
  configuration: ['.claude', '.claude.json', '.mcp.json'],
  launch: ({ model, baseUrl }) => ({
    argv: fromImage({
      program: 'claude-agent-acp',
      package: `@agentclientprotocol/claude-agent-acp@${CLAUDE_AGENT_ACP_VERSION}`,
      why: 'its licence does not let others ship it',
    }),
    env: {
      ...COMMON_ENV,
      ANTHROPIC_BASE_URL: baseUrl,
      ANTHROPIC_API_KEY: PLACEHOLDER_KEY,
      ANTHROPIC_MODEL: model.model,
      // Titles and summaries are asked of a small model, by default one that the policy may not allow.
      ANTHROPIC_DEFAULT_HAIKU_MODEL: model.model,
      CLAUDE_CODE_SUBAGENT_MODEL: model.model,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      // Deferred tools are loaded by a search on the provider's side, which the gateway refuses.
      ENABLE_TOOL_SEARCH: 'false',
      DISABLE_AUTOUPDATER: '1',
      DISABLE_TELEMETRY: '1',
      DISABLE_ERROR_REPORTING: '1',
    },
    files: [{ path: '.claude/CLAUDE.md', content: READ_ADVICE }],
  }),
};
