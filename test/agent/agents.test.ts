import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, expectTypeOf, test } from 'vitest';
import { AGENT_IDS, configurationOf, createAgents } from '../../src/agent/agents.ts';
import { PLACEHOLDER_KEY } from '../../src/agent/adapters/adapter.ts';
import { CODEX_ACP_VERSION } from '../../src/agent/adapters/codex.ts';
import { OPENCODE_VERSION } from '../../src/agent/adapters/opencode.ts';
import { fromImage } from '../../src/agent/command.ts';
import type { AgentMessage, AgentOutcome } from '../../src/agent/messages.ts';
import { speakWithAgent } from '../../src/agent/speak.ts';
import { CofferdamError } from '../../src/domain/errors.ts';
import type { Wire } from '../../src/domain/policy.ts';
import type * as ports from '../../src/run/ports.ts';
import { pipes } from './scripted-agent.ts';

const agents = createAgents({
  toolboxAgentsDir: '/opt/cofferdam/agents',
  providers: {
    anthropic: { wires: ['anthropic'] },
    openai: { wires: ['openai-responses', 'openai-chat'] },
    corp: { wires: ['openai-chat'] },
    google: { wires: ['gemini'] },
  },
});
const task = { prompt: 'Make the test pass.', cwd: '/workspace/repo' };

test('the room fits the ports', () => {
  expectTypeOf(agents).toExtend<ports.Agents>();
  expectTypeOf<AgentMessage>().toEqualTypeOf<ports.AgentMessage>();
  expectTypeOf<AgentOutcome>().toEqualTypeOf<ports.AgentOutcome>();
});

test('the settings are measured with the versions that the toolbox brings', () => {
  const versions = ['opencode', 'codex'].map((agent): unknown => {
    const manifest = new URL(`../../src/sandbox/toolbox/${agent}/package.json`, import.meta.url);
    return (JSON.parse(readFileSync(manifest, 'utf8')) as { dependencies: unknown }).dependencies;
  });
  expect(versions).toEqual([
    { 'opencode-linux-x64': OPENCODE_VERSION },
    { '@agentclientprotocol/codex-acp': CODEX_ACP_VERSION },
  ]);
});

describe('launch', () => {
  test('opencode: native program, its model on the gateway, nothing of the repository', () => {
    const launch = agents.launch({ ...task, agent: 'opencode', model: 'anthropic/claude-sonnet-4-5' });
    expect(launch.protocol).toBe('acp');
    expect(launch.argv.slice(-2)).toEqual(['/opt/cofferdam/agents/bin/opencode', 'acp']);
    expect(launch.env).toMatchObject({ OPENCODE_DISABLE_PROJECT_CONFIG: '1', OPENCODE_PURE: '1', CI: '1' });
    const config: unknown = JSON.parse(launch.env['OPENCODE_CONFIG_CONTENT'] ?? '');
    expect(config).toMatchObject({
      model: 'anthropic/claude-sonnet-4-5',
      small_model: 'anthropic/claude-sonnet-4-5',
      enabled_providers: ['anthropic'],
      provider: {
        anthropic: {
          npm: '@ai-sdk/anthropic',
          options: { baseURL: 'http://llm.cofferdam.internal/anthropic/v1', apiKey: PLACEHOLDER_KEY },
          models: { 'claude-sonnet-4-5': {} },
        },
      },
      instructions: ['/workspace/repo/AGENTS.md', '/workspace/repo/CLAUDE.md'],
    });
    expect(launch.files.map((file) => file.path)).toEqual([
      '.config/opencode/node_modules/.keep',
      '.config/opencode/package-lock.json',
      '.cofferdam/opencode-guard.js',
    ]);
  });

  const opencode: [model: string, npm: string, baseURL: string][] = [
    ['openai/gpt-5', '@ai-sdk/openai', 'http://llm.cofferdam.internal/openai/v1'],
    ['corp/qwen/qwen3:30b', '@ai-sdk/openai-compatible', 'http://llm.cofferdam.internal/corp/v1'],
    ['google/gemini-2.5-pro', '@ai-sdk/google', 'http://llm.cofferdam.internal/google/v1beta'],
  ];
  test.each(opencode)('opencode with %s', (model, npm, baseURL) => {
    const { env } = agents.launch({ ...task, agent: 'opencode', model });
    const config = JSON.parse(env['OPENCODE_CONFIG_CONTENT'] ?? '') as {
      provider: Record<string, { npm: string; options: { baseURL: string }; models: object }>;
    };
    const [provider = '', ...name] = model.split('/');
    expect(config.provider[provider]).toMatchObject({ npm, options: { baseURL }, models: { [name.join('/')]: {} } });
  });

  test('codex: its own provider, no trust in the repository, a mode without a sandbox of its own', () => {
    const launch = agents.launch({ ...task, agent: 'codex', model: 'openai/gpt-5' });
    expect(launch.argv).toEqual(['/opt/cofferdam/agents/bin/codex-acp']);
    const [file] = launch.files;
    expect(file?.path).toBe('.codex/config.toml');
    expect(file?.content).toContain('base_url = "http://llm.cofferdam.internal/openai/v1"');
    expect(file?.content).toContain('[projects."/workspace/repo"]\ntrust_level = "untrusted"');
  });

  test('a model name cannot leave its string in the settings of codex', () => {
    const { files } = agents.launch({ ...task, agent: 'codex', model: 'openai/x" evil = "1\u007f' });
    expect(files[0]?.content).toContain('model = "x\\" evil = \\"1\\u007f"\n');
  });

  test('pi: the prompt on standard input, however long', () => {
    const launch = agents.launch({ ...task, prompt: 'x'.repeat(300_000), agent: 'pi', model: 'corp/m' });
    expect(launch.protocol).toBe('command');
    expect(launch.argv.join(' ').length).toBeLessThan(2_000);
    expect(launch.files.find((file) => file.path.endsWith('prompt.md'))?.content).toHaveLength(300_000);
    const models: unknown = JSON.parse(launch.files[0]?.content ?? '');
    expect(models).toMatchObject({
      providers: { cofferdam: { baseUrl: 'http://llm.cofferdam.internal/corp/v1', api: 'openai-completions' } },
    });
  });

  test('claude-code: from the image, its model on the gateway', () => {
    const launch = agents.launch({ ...task, agent: 'claude-code', model: 'anthropic/claude-sonnet-4-5' });
    expect(launch.argv.at(-1)).toBe('claude-agent-acp');
    expect(launch.env).toMatchObject({
      ANTHROPIC_BASE_URL: 'http://llm.cofferdam.internal/anthropic',
      ANTHROPIC_API_KEY: PLACEHOLDER_KEY,
      ANTHROPIC_DEFAULT_HAIKU_MODEL: 'claude-sonnet-4-5',
    });
  });

  test('what the repository configures is read by the agent only where that was allowed', () => {
    const read = (agent: string, model: string, configured: boolean): string => {
      const { argv, env, files } = agents.launch({ ...task, agent, model, configured });
      return JSON.stringify([argv, env, files]);
    };
    for (const [agent, model, off] of [
      ['opencode', 'corp/m', /OPENCODE_DISABLE_PROJECT_CONFIG|OPENCODE_PURE|BUN_INSPECT_PRELOAD/],
      ['codex', 'openai/m', /untrusted/],
      ['pi', 'corp/m', /--no-extensions/],
    ] as const) {
      expect(read(agent, model, false)).toMatch(off);
      expect(read(agent, model, true)).not.toMatch(off);
    }
    expect(AGENT_IDS.map((id) => configurationOf(id).length > 0)).toEqual(AGENT_IDS.map(() => true));
  });

  test('no launch carries a key but the placeholder, and no file leaves the home', () => {
    const models: Record<Wire, string> = {
      anthropic: 'anthropic/m',
      'openai-chat': 'corp/m',
      'openai-responses': 'openai/m',
      gemini: 'google/m',
    };
    let launches = 0;
    for (const agent of AGENT_IDS) {
      for (const model of Object.values(models)) {
        let launch;
        try {
          launch = agents.launch({ ...task, agent, model });
        } catch (error) {
          expect(error).toBeInstanceOf(CofferdamError);
          continue;
        }
        launches += 1;
        for (const { path: file } of launch.files) expect(file).toMatch(/^\.(?!\.)/);
        const text = JSON.stringify([launch.argv, launch.env, launch.files]).replaceAll(PLACEHOLDER_KEY, '');
        expect(text).not.toMatch(/sk-/);
      }
    }
    expect(launches).toBe(4 + 1 + 1 + 4);
  });
});

describe('refusals name what to change', () => {
  const cases: [agent: string, model: string | undefined, message: string][] = [
    ['emacs', 'anthropic/m', 'there is no agent "emacs"; agents are opencode, codex, claude-code, pi'],
    ['opencode', undefined, 'opencode needs a model: set llm.default in the policy, or model in .github/cofferdam.yml'],
    ['opencode', 'claude', 'model: "claude" is not of the form <provider>/<model>'],
    ['opencode', 'none/m', 'model: the policy has no provider "none"; it has anthropic, openai, corp, google'],
    [
      'opencode',
      'constructor/m',
      'model: the policy has no provider "constructor"; it has anthropic, openai, corp, google',
    ],
    [
      'codex',
      'corp/m',
      'model: codex cannot use provider "corp", which speaks openai-chat: it speaks openai-responses',
    ],
    [
      'claude-code',
      'openai/m',
      'model: claude-code cannot use provider "openai", which speaks openai-responses, openai-chat: it speaks anthropic',
    ],
  ];
  test.each(cases)('%s with %s', (agent, model, message) => {
    const launch = (): unknown => agents.launch({ ...task, agent, model });
    expect(launch).toThrow(new CofferdamError('config', 'agent.launch', message));
    expect(launch).toThrow(expect.objectContaining({ code: 'config', op: 'agent.launch' }) as Error);
  });
});

describe('plain commands', () => {
  const home = mkdtempSync(path.join(tmpdir(), 'cfd-home-'));
  afterAll(() => {
    rmSync(home, { recursive: true });
  });

  test('a program that the image does not have is named with its package', () => {
    const [program = '', ...args] = fromImage({ program: 'no-such-agent', package: 'no-such@1', why: 'for a reason' });
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    expect(status).toBe(127);
    expect(stderr).toBe(
      'The sandbox image has no no-such-agent, and Cofferdam does not bring it (for a reason). ' +
        'Install it in the image: npm install -g no-such@1\n',
    );
  });

  test('the launch of pi runs and feeds the prompt: with a program of its name that says what it was given', () => {
    const launch = agents.launch({ ...task, prompt: "it's $HOME `x`\n", agent: 'pi', model: 'corp/m; x' });
    const bin = path.join(home, 'bin');
    mkdirSync(bin);
    writeFileSync(path.join(bin, 'pi'), '#!/bin/sh\nprintf "%s|" "$@"; cat\n', { mode: 0o755 });
    for (const file of launch.files) {
      mkdirSync(path.dirname(path.join(home, file.path)), { recursive: true });
      writeFileSync(path.join(home, file.path), file.content);
    }
    const [program = '', ...args] = launch.argv;
    const { stdout } = spawnSync(program, args, {
      encoding: 'utf8',
      env: { HOME: home, PATH: `${bin}:/usr/bin:/bin` },
    });
    expect(stdout).toBe(
      '--print|--no-session|--provider|cofferdam|--model|m; x|--no-extensions|--no-skills|--no-prompt-templates|' +
        "--no-themes|it's $HOME `x`\n",
    );
  });

  test('is not spoken with, and an unknown agent is an error', async () => {
    const { fromAgent, toAgent } = pipes();
    const options = {
      input: fromAgent,
      output: toAgent,
      ...task,
      onMessage: () => undefined,
      signal: AbortSignal.abort(),
    };
    expect(await speakWithAgent({ ...options, agent: 'pi' })).toMatchObject({ stop: 'error' });
    await expect(speakWithAgent({ ...options, agent: 'emacs' })).rejects.toThrow(/there is no agent "emacs"/);
  });
});
