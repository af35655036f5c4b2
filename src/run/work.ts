import { PassThrough } from 'node:stream';
import { CofferdamError } from '../domain/errors.ts';
import { type CommandFact, type RunSpec } from '../domain/run.ts';
import { readsConfiguration, type ShownFile } from '../domain/shown.ts';
import { checkoutCommand, shownLines, type Checkout } from './checkout.ts';
import type { Enclosure } from './enclosure.ts';
import type { AgentMessage, AgentOutcome, Agents, AuditLog } from './ports.ts';
import { watchIdle } from './limits.ts';
import { Tail } from './tail.ts';

/** Where the clone lies in every sandbox, so that paths in recordings and reports are the same everywhere. */
export const WORKSPACE = '/workspace/repo';

const OUTPUT_TAIL = 16_384;
/** After the work has ended, processes that the agent left get this long before they are killed. */
const QUIESCE_MS = 20_000;

/** Runs one shell command in the workspace and keeps the facts. */
export async function runCommand(options: {
  enclosure: Enclosure;
  command: string;
  env: Record<string, string>;
  timeoutMs: number;
  /** Whose time that is; default: the limit of a step. */
  limit?: string;
  /** Whether the record of its end carries its output: where nothing else does. */
  recorded?: boolean;
  signal: AbortSignal;
}): Promise<CommandFact> {
  const { limit = 'limits.stepMinutes' } = options;
  const output = new Tail(OUTPUT_TAIL);
  const started = performance.now();
  const exec = {
    argv: ['/bin/bash', '-c', options.command],
    user: 'agent' as const,
    cwd: WORKSPACE,
    env: options.env,
    stdout: output,
    stderr: output,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  };
  const result = await options.enclosure.exec(exec, options.recorded === true ? output : undefined);
  const tail = result.timedOut
    ? `${output.text()}\n(ended after ${Math.round(options.timeoutMs / 1000)} s: ${limit})`
    : output.text();
  return {
    command: options.command,
    exitCode: result.exitCode,
    durationMs: Math.round(performance.now() - started),
    tail,
  };
}

/** Clones through the gateway's git proxy, where one commit and its history are checked out. Errors: `clone`. */
export async function clone(
  enclosure: Enclosure,
  options: {
    repository: string;
    /** Files that are to lie there otherwise than in the commit. */
    shown?: readonly ShownFile[] | undefined;
    signal: AbortSignal;
  } & Pick<Checkout, 'commit' | 'ref'>,
): Promise<void> {
  const { repository, shown = [], signal, ...checkout } = options;
  const output = new Tail(4096);
  const stdin = new PassThrough();
  stdin.end(shownLines(shown));
  const remote = `http://git.cofferdam.internal/${repository}.git`;
  const exec = {
    argv: checkoutCommand({ ...checkout, remote, workspace: WORKSPACE }),
    user: 'agent' as const,
    cwd: '/workspace',
    stdin,
    stdout: output,
    stderr: output,
    timeoutMs: 10 * 60_000,
    signal,
  };
  const { exitCode } = await enclosure.exec(exec, output);
  if (exitCode !== 0)
    throw new CofferdamError('clone', 'run.clone', `the clone in the sandbox failed: ${output.text().trim()}`);
}

/** Runs the repository's `setup` commands. Errors: `setup`, naming the command and its output. */
export async function setUp(enclosure: Enclosure, spec: RunSpec, signal: AbortSignal): Promise<void> {
  for (const command of spec.setup) {
    const { env, limits } = spec;
    const fact = await runCommand({ enclosure, command, env, timeoutMs: limits.stepMs, recorded: true, signal });
    if (signal.aborted) return;
    if (fact.exitCode !== 0)
      throw new CofferdamError(
        'setup',
        'run.setUp',
        `setup command "${command}" ended with ${fact.exitCode}:\n${fact.tail.slice(-2000)}`,
      );
  }
}

async function writeFiles(
  enclosure: Enclosure,
  files: { path: string; content: string }[],
  signal: AbortSignal,
): Promise<void> {
  for (const file of files) {
    const stdin = new PassThrough();
    stdin.end(file.content);
    const { exitCode } = await enclosure.exec({
      argv: ['/bin/bash', '-c', 'set -e; cd; mkdir -p "$(dirname "$1")"; cat > "$1"', 'write', file.path],
      user: 'agent',
      stdin,
      timeoutMs: 60_000,
      signal,
    });
    if (exitCode !== 0)
      throw new CofferdamError('agent', 'run.writeFiles', `cannot write the agent's file ${file.path}`);
  }
}

/** Starts the agent and lets the gateway process speak with it until it ends or the signal aborts. */
export async function runAgent(options: {
  enclosure: Enclosure;
  agents: Agents;
  spec: RunSpec;
  audit: AuditLog;
  onMessage: (message: AgentMessage) => void;
  signal: AbortSignal;
}): Promise<AgentOutcome> {
  const { enclosure, agents, spec, signal } = options;
  const configured = readsConfiguration(spec);
  const launch = agents.launch({ agent: spec.agent, model: spec.model, prompt: spec.task, cwd: WORKSPACE, configured });
  await writeFiles(enclosure, launch.files, signal);
  const env = { ...spec.env, ...launch.env };
  if (launch.protocol === 'command') return runPlainAgent({ enclosure, spec, argv: launch.argv, env, signal });
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const stderr = new Tail(4096);
  const process = enclosure
    .exec({ argv: launch.argv, user: 'agent', cwd: WORKSPACE, env, stdin, stdout, stderr, signal })
    .then((result) => result.exitCode)
    .catch(() => -1)
    .finally(() => stdout.end());
  const outcome = await enclosure.gateway.runAgent({
    stdin,
    stdout,
    agent: spec.agent,
    configured,
    cwd: WORKSPACE,
    prompt: spec.task,
    onMessage: options.onMessage,
    idleMs: spec.limits.idleMs,
    signal,
  });
  stdin.end();
  await Promise.race([process, delay(QUIESCE_MS)]);
  if (outcome.stop !== 'lost' && outcome.stop !== 'error') return outcome;
  const said = stderr.text().trim();
  return said === ''
    ? outcome
    : {
        ...outcome,
        error: `${outcome.error ?? 'the agent ended'}; its standard error ends with: ${said.slice(-1000)}`,
      };
}

/** An agent that is a plain command: its output is its summary, and output or model calls are what shows that it works. */
async function runPlainAgent(options: {
  enclosure: Enclosure;
  spec: RunSpec;
  argv: string[];
  env: Record<string, string>;
  signal: AbortSignal;
}): Promise<AgentOutcome> {
  const { enclosure, spec, argv, env, signal } = options;
  const output = new Tail(OUTPUT_TAIL);
  const { idleMs } = spec.limits;
  using idle = watchIdle({ idleMs, seen: () => output.bytes + enclosure.gateway.usage().turns });
  try {
    const { exitCode } = await enclosure.exec({
      argv,
      user: 'agent',
      cwd: WORKSPACE,
      env,
      stdout: output,
      stderr: output,
      signal: AbortSignal.any([signal, idle.signal]),
    });
    const failed = exitCode === 0 ? {} : { error: `the agent ended with ${exitCode}` };
    return { stop: exitCode === 0 ? 'end_turn' : 'error', summary: output.text(), ...failed };
  } catch (thrown) {
    if (signal.aborted || !idle.signal.aborted) throw thrown;
    const error = `no output and no model call of the agent for ${Math.round(idleMs / 1000)} s`;
    return { stop: 'idle', summary: output.text(), error };
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

/** Ends every process of the agent's user, whatever it does: the tree must not change while it is brought out. */
export async function quiesce(enclosure: Enclosure): Promise<void> {
  await enclosure
    .exec({ argv: ['/bin/bash', '-c', 'kill -KILL -1'], user: 'agent', timeoutMs: QUIESCE_MS })
    .catch(() => undefined);
}
