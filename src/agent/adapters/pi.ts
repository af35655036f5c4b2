import type { Wire } from '../../domain/policy.ts';
import { fedThroughStdin, fromImage } from '../command.ts';
import { COMMON_ENV, PLACEHOLDER_KEY } from './adapter.ts';
import type { AgentAdapter, LaunchContext } from './adapter.ts';

/** The version that these settings were measured with: the last under this name. */
const PI_VERSION = '0.73.1';

const APIS: Record<Wire, { api: string; version: string }> = {
  anthropic: { api: 'anthropic-messages', version: '' },
  'openai-chat': { api: 'openai-completions', version: '/v1' },
  'openai-responses': { api: 'openai-responses', version: '/v1' },
  gemini: { api: 'google-generative-ai', version: '/v1beta' },
};

/** pi as a plain command, installed by the operator in the sandbox image: it reads the task from its standard input and prints its last words. */
export const pi: AgentAdapter = {
  id: 'pi',
  wires: ['anthropic', 'openai-chat', 'openai-responses', 'gemini'],
  protocol: { kind: 'command' },
  configuration: ['.pi'],
  launch: (context) =>
    fedThroughStdin(context.prompt, {
      argv: [
        ...fromImage({
          program: 'pi',
          package: `@mariozechner/pi-coding-agent@${PI_VERSION}`,
          why: 'the package is not kept up under this name',
        }),
        ...['--print', '--no-session', '--provider', 'cofferdam', '--model', context.model.model],
        // Of the repository's own settings only what was allowed is read; its AGENTS.md is in any case.
        ...(context.configured ? [] : ['--no-extensions', '--no-skills', '--no-prompt-templates', '--no-themes']),
      ],
      env: { ...COMMON_ENV, PI_OFFLINE: '1', PI_SKIP_VERSION_CHECK: '1' },
      files: [{ path: '.pi/agent/models.json', content: `${JSON.stringify(models(context))}\n` }],
    }),
};

function models({ model, baseUrl }: LaunchContext): unknown {
  const { api, version } = APIS[model.wire];
  return {
    providers: {
      cofferdam: { baseUrl: `${baseUrl}${version}`, api, apiKey: PLACEHOLDER_KEY, models: [{ id: model.model }] },
    },
  };
}
