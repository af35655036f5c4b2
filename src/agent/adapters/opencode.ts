import type { Wire } from '../../domain/policy.ts';
import { COMMON_ENV, PLACEHOLDER_KEY } from './adapter.ts';
import type { AgentAdapter, LaunchContext } from './adapter.ts';

/** The version that these settings were measured with. */
export const OPENCODE_VERSION = '1.18.33';

/** The provider packages are bundled with opencode: none is fetched. */
const PACKAGES: Record<Wire, string> = {
  anthropic: '@ai-sdk/anthropic',
  'openai-chat': '@ai-sdk/openai-compatible',
  'openai-responses': '@ai-sdk/openai',
  gemini: '@ai-sdk/google',
};

/**
 * opencode has two loaders of plugins, and one of them reads the repository's settings whatever the switches say. So no
 * module is loaded from a file at all: what opencode needs is inside its program. The variable is how its runtime is
 * given a script to run first; the commands that the agent starts do not inherit it.
 */
const GUARD_FILE = '.cofferdam/opencode-guard.js';
const GUARDED = ['/bin/sh', '-c', `BUN_INSPECT_PRELOAD="$HOME/${GUARD_FILE}" exec "$@"`, 'opencode'];
const GUARD = `delete process.env.BUN_INSPECT_PRELOAD;
Bun.plugin({
  name: 'cofferdam',
  setup(build) {
    build.onLoad({ filter: /^(?!\\/\\$bunfs\\/)/ }, () => ({ contents: 'export {};', loader: 'js' }));
  },
});
`;

/** opencode speaks the protocol itself and needs no Node. */
export const opencode: AgentAdapter = {
  id: 'opencode',
  wires: ['anthropic', 'openai-chat', 'openai-responses', 'gemini'],
  protocol: { kind: 'acp' },
  configuration: ['opencode.json', 'opencode.jsonc', '.opencode'],
  launch: (context) => ({
    argv: [...(context.configured ? [] : GUARDED), `${context.agentsDir}/bin/opencode`, 'acp'],
    env: {
      ...COMMON_ENV,
      OPENCODE_CONFIG_CONTENT: JSON.stringify(config(context)),
      ...(context.configured ? {} : UNCONFIGURED),
      OPENCODE_DISABLE_DEFAULT_PLUGINS: '1',
      OPENCODE_DISABLE_AUTOUPDATE: '1',
      OPENCODE_DISABLE_MODELS_FETCH: '1',
      OPENCODE_DISABLE_LSP_DOWNLOAD: '1',
      OPENCODE_DISABLE_SHARE: '1',
    },
    files: [...quietFiles(), ...(context.configured ? [] : [{ path: GUARD_FILE, content: GUARD }])],
  }),
};

/** The repository's own settings could name plugins, MCP servers and another provider: none of them was allowed. */
const UNCONFIGURED = { OPENCODE_DISABLE_PROJECT_CONFIG: '1', OPENCODE_PURE: '1' };

function config({ model, baseUrl, cwd }: LaunchContext): Record<string, unknown> {
  const version = model.wire === 'gemini' ? 'v1beta' : 'v1';
  const name = `${model.provider}/${model.model}`;
  return {
    autoupdate: false,
    share: 'disabled',
    // The host makes the commit from the final tree: opencode's own snapshots only cost time.
    snapshot: false,
    permission: { '*': 'allow' },
    // Without the repository's settings its advice has to be named; a file that is not there is left out.
    instructions: [`${cwd}/AGENTS.md`, `${cwd}/CLAUDE.md`],
    model: name,
    // Titles are asked of the small model, by default one that the policy may not allow.
    small_model: name,
    enabled_providers: [model.provider],
    provider: {
      [model.provider]: {
        npm: PACKAGES[model.wire],
        name: model.provider,
        options: { baseURL: `${baseUrl}/${version}`, apiKey: PLACEHOLDER_KEY },
        models: { [model.model]: {} },
      },
    },
  };
}

/**
 * At its start opencode installs a package from the registry into its settings directory, unless the directory has
 * `node_modules` and a lock file that names the package.
 */
function quietFiles(): { path: string; content: string }[] {
  const lock = {
    lockfileVersion: 3,
    packages: { '': { dependencies: { '@opencode-ai/plugin': OPENCODE_VERSION } } },
  };
  return [
    { path: '.config/opencode/node_modules/.keep', content: '' },
    { path: '.config/opencode/package-lock.json', content: `${JSON.stringify(lock)}\n` },
  ];
}
