import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, chmod } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { PassThrough, Readable, Writable } from 'node:stream';
import path from 'node:path';
import { createAgents } from '../../src/agent/agents.ts';
import { PLACEHOLDER_KEY } from '../../src/agent/adapters/adapter.ts';
import type { AgentMessage, AgentOutcome } from '../../src/agent/messages.ts';
import { speakWithAgent } from '../../src/agent/speak.ts';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { runId } from '../../src/domain/ids.ts';
import { SandboxSettings } from '../../src/domain/policy.ts';
import type { Wire } from '../../src/domain/policy.ts';
import type { EgressEntryFact } from '../../src/domain/run.ts';
import { createGateway } from '../../src/gateway/gateway.ts';
import { createLlmHandler } from '../../src/gateway/llm/handler.ts';
import type { LlmEvent } from '../../src/gateway/llm/port.ts';
import type { Machine } from '../../src/local/machine/machine.ts';
import { startProvider } from '../../src/local/provider/server.ts';
import type { RunningProvider } from '../../src/local/provider/server.ts';
import type { Script } from '../../src/local/provider/script.ts';
import { freezePrices, operatorRow } from '../../src/policy/llm/prices.ts';
import { createKernelRecorder } from '../../src/main/kernel-client.ts';
import { createSandboxes } from '../../src/sandbox/lifecycle.ts';
import type { Sandbox } from '../../src/run/ports.ts';

export const WORKSPACE = '/workspace/repo';
const HOST_KEY = 'sk-the-key-of-the-host-0123456789';
const MODEL = 'scripted-model';

export interface SandboxedAgent extends AsyncDisposable {
  sandbox: Sandbox;
  provider: RunningProvider;
  /** What the model endpoint refused, stripped or wondered about. */
  events: LlmEvent[];
  egress(): EgressEntryFact[];
  /** Runs a shell command as the agent's user in the workspace. */
  sh(script: string, stdin?: string): Promise<{ exitCode: number; output: string }>;
  run(prompt: string, signal?: AbortSignal): Promise<AgentRunResult>;
}

interface AgentRunResult {
  outcome: AgentOutcome;
  messages: AgentMessage[];
  exitCode: number;
  stderr: string;
}

/** A gVisor sandbox behind a real gateway that allows nothing but the model, and a real agent in it. */
export async function openSandboxedAgent(options: {
  machine: Machine;
  agent: string;
  wire: Wire;
  script: Script;
  /** The repository's own configuration of the agent was allowed. */
  configured?: boolean;
  /** Words of the host for a call that can carry some. */
  notices?: () => string[];
}): Promise<SandboxedAgent> {
  const { machine, agent, wire, configured = false } = options;
  await using undo = new AsyncDisposableStack();
  const provider = await startProvider({
    script: options.script,
    apiKey: HOST_KEY,
    prices: { [MODEL]: { input: 3, output: 15 } },
  });
  undo.defer(() => provider.stop());
  const events: LlmEvent[] = [];
  const handler = createLlmHandler({
    providers: [{ id: 'corp', wires: [wire], baseUrl: provider.url, key: HOST_KEY }],
    models: [MODEL],
    prices: freezePrices([operatorRow(MODEL, { inputPerMTok: 3, outputPerMTok: 15 })], '2026-11-24'),
    runHash: 'run-hash',
    ask: {
      reserve: (call) =>
        Promise.resolve({ ok: true, granted: call.amount, notices: call.tellable ? (options.notices?.() ?? []) : [] }),
      settle: () => Promise.resolve(),
    },
    request: (url, { method, headers, signal }) => httpRequest(url, { method, headers, signal }),
    onEvent: (event) => events.push(event),
    placeholderKey: PLACEHOLDER_KEY,
  });
  undo.defer(() => handler.close());
  const socketDir = await mkdtemp('/tmp/cfd-agent-');
  undo.defer(() => rm(socketDir, { recursive: true, force: true }));
  await chmod(socketDir, 0o755);
  const audited: AuditEntry[] = [];
  const gateway = await createGateway({
    policy: { rules: [], deny: [], gitRepositories: [] },
    audit: (entry) => {
      audited.push(entry);
      return Promise.resolve();
    },
    services: { llm: handler },
  });
  await gateway.listen(path.join(socketDir, 'gateway.sock'));
  undo.defer(() => gateway.close());
  const stop = new AbortController();
  const kernel = createKernelRecorder();
  undo.defer(() => kernel.close());
  const sandboxes = createSandboxes({
    kernel,
    dockerSocket: machine.dockerSocket,
    installation: 'test-agent',
    toolboxDir: machine.toolboxDir,
  });
  const sandbox = await sandboxes.create({
    runId: runId(randomBytes(16)),
    role: 'agent',
    settings: SandboxSettings.parse({ runtime: machine.runtime, image: machine.image.ref }),
    socketDir,
    deadline: Date.now() + 600_000,
    ports: [80, 443],
    signal: stop.signal,
  });
  undo.defer(() => sandbox.destroy());
  const agents = createAgents({ toolboxAgentsDir: '/opt/cofferdam/agents', providers: { corp: { wires: [wire] } } });
  const dispose = undo.move();

  async function sh(script: string, stdin = ''): Promise<{ exitCode: number; output: string }> {
    const output = collector();
    const { exitCode } = await sandbox.exec({
      argv: ['/bin/bash', '-c', script],
      user: 'agent',
      cwd: '/workspace',
      stdin: Readable.from([Buffer.from(stdin)]),
      stdout: output.stream,
      stderr: output.stream,
      timeoutMs: 120_000,
    });
    return { exitCode, output: output.text() };
  }

  async function run(prompt: string, signal = new AbortController().signal): Promise<AgentRunResult> {
    const launch = agents.launch({ agent, model: `corp/${MODEL}`, prompt, cwd: WORKSPACE, configured });
    for (const file of launch.files) {
      const { exitCode, output } = await sh(
        `set -e; cd; mkdir -p "$(dirname '${file.path}')"; cat > '${file.path}'`,
        file.content,
      );
      if (exitCode !== 0) throw new Error(`cannot write ${file.path}: ${output}`);
    }
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const stderr = collector();
    const messages: AgentMessage[] = [];
    const exited = sandbox
      .exec({
        argv: launch.argv,
        user: 'agent',
        cwd: WORKSPACE,
        env: launch.env,
        stdin,
        stdout,
        stderr: stderr.stream,
        timeoutMs: 300_000,
      })
      .finally(() => stdout.end());
    const outcome = await speakWithAgent({
      agent,
      configured,
      input: stdout,
      output: stdin,
      cwd: WORKSPACE,
      prompt,
      onMessage: (message) => messages.push(message),
      signal,
    });
    return { outcome, messages, exitCode: (await exited).exitCode, stderr: stderr.text() };
  }

  return {
    sandbox,
    provider,
    events,
    egress: () => gateway.egress(),
    sh,
    run,
    [Symbol.asyncDispose]: () => dispose.disposeAsync(),
  };
}

function collector(): { stream: Writable; text: () => string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}
