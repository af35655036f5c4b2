import { randomBytes } from 'node:crypto';
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { CofferdamError } from '../domain/errors.ts';
import type { ExecOptions, ExecResult } from '../run/ports.ts';
import { demultiplex } from './demultiplex.ts';
import type { Docker, ExecSpec } from './docker.ts';
import { commandEnvironment } from './environment.ts';
import { AGENT, TOOLBOX, WORKSPACE } from './layout.ts';

/** Exit code of a command that was ended for its time, as `timeout` gives it. */
const TIMED_OUT = 124;
/** Exit code of a command that was ended by KILL, as a sandbox that ends does it to all of them. */
const KILLED = 137;
/** How long the polite way of ending a command may take, on a busy machine, too, before the next one is tried: the last one ends the sandbox. */
const END_MS = 30_000;
/** Docker tells that the commands of a sandbox have ended before it tells that the sandbox has. */
const GONE_MS = 10_000;
/** Docker knows an exit code a moment after the streams have ended. */
const EXIT_MS = 20_000;

/** Every process of a command inherits this variable, whatever else it does: by it the command can be ended as a whole. */
const MARK = 'COFFERDAM_EXEC';

export interface ExecContext {
  docker: Docker;
  id: string;
  imageEnv: readonly string[];
  ca: boolean;
  gitBase: string | undefined;
  /** Aborted, with the error to throw, when the sandbox is gone. */
  gone: AbortSignal;
  /** Ends the whole sandbox: for a command that cannot be ended otherwise. */
  giveUp: (message: string) => void;
}

/**
 * Runs a command in the sandbox. Errors: `cancelled` when the signal aborts (the command has been ended then), `sandbox`,
 * `oom`, `disk`, `timeout` when the sandbox is gone or goes meanwhile, `docker_unavailable`.
 */
export async function execute(context: ExecContext, options: ExecOptions): Promise<ExecResult> {
  const { docker, id, gone } = context;
  gone.throwIfAborted();
  if (options.signal?.aborted === true) throw cancelled();
  const mark = randomBytes(8).toString('hex');
  const exec = await docker.exec(id, {
    argv: options.argv,
    user: userOf(options.user),
    env: commandEnvironment({ ...context, user: options.user, extra: { ...options.env, [MARK]: mark } }),
    cwd: options.cwd ?? WORKSPACE,
    stdin: options.stdin !== undefined,
  });
  const finished = transfer(exec.stream, options);
  const outcome = await firstOf({ finished, options, gone });
  if (outcome !== 'finished') {
    await endCommand({ context, user: options.user, mark, finished });
    exec.stream.destroy();
    gone.throwIfAborted();
    if (outcome === 'aborted') throw cancelled();
    return { exitCode: TIMED_OUT, timedOut: true };
  }
  const code = await exitCode(context, exec.id);
  if (code === KILLED) await outlived(context);
  return { exitCode: code, timedOut: false };
}

function cancelled(): CofferdamError {
  return new CofferdamError('cancelled', 'sandbox.exec', 'the command was cancelled');
}

function userOf(user: 'agent' | 'root'): string {
  return user === 'agent' ? `${AGENT.uid}:${AGENT.gid}` : '0:0';
}

/** Moves all three streams; resolves when the command's output has ended, also when that is because the connection broke. */
async function transfer(stream: Duplex, options: ExecOptions): Promise<void> {
  stream.on('error', () => undefined);
  if (options.stdin !== undefined) feed(options.stdin, stream);
  await demultiplex(stream, { stdout: options.stdout, stderr: options.stderr }).catch(() => undefined);
}

/** `pipe` waits for a slow reader and passes the end on as half-closed. */
function feed(source: Readable, stream: Duplex): void {
  const detach = (): void => void source.unpipe(stream);
  stream.on('close', detach);
  // A source that fails is at its end for the command.
  source.on('error', () => stream.end());
  source.pipe(stream);
}

async function firstOf(options: {
  finished: Promise<void>;
  options: ExecOptions;
  gone: AbortSignal;
}): Promise<'finished' | 'timeout' | 'aborted' | 'gone'> {
  const { timeoutMs, signal } = options.options;
  const settled = new AbortController();
  const on = (source: AbortSignal) =>
    new Promise<void>((resolve) => {
      source.addEventListener('abort', () => resolve(), { once: true, signal: settled.signal });
      if (source.aborted) resolve();
    });
  try {
    return await Promise.race([
      options.finished.then(() => 'finished' as const),
      on(options.gone).then(() => 'gone' as const),
      ...(signal === undefined ? [] : [on(signal).then(() => 'aborted' as const)]),
      ...(timeoutMs === undefined
        ? []
        : [delay(timeoutMs, 'timeout' as const, settled).catch(() => 'timeout' as const)]),
    ]);
  } finally {
    settled.abort();
  }
}

/**
 * Everything of the agent, by one static program of the toolbox that forks nothing. It has capabilities, since the agent's own
 * process limit may be full. Stopped processes still fill that limit, so a fork bomb is frozen before it is ended. A process
 * may write anything into its name, which comes before the line that counts here; so every such line counts.
 */
const END_AGENT = `for s in STOP STOP KILL KILL; do for d in /proc/[0-9]*; do while read -r k v r; do
if [ "$k" = Uid: ] && [ "$v" = ${AGENT.uid} ]; then kill -$s "\${d#/proc/}"; fi
done < $d/status; done; done 2>/dev/null`;

/**
 * Ends a command's processes: first TERM, then KILL, to all that carry its mark; then everything of the agent; and when
 * even that does not end it, the sandbox.
 */
async function endCommand(options: {
  context: ExecContext;
  user: 'agent' | 'root';
  mark: string;
  finished: Promise<void>;
}): Promise<void> {
  const { context, user, mark, finished } = options;
  const ways: ExecSpec[] = [
    quietly([...TOOLBOX.node, TOOLBOX.processes, 'end', `${MARK}=${mark}`], userOf(user)),
    // Not for root's commands: that would end the portal, too.
    ...(user === 'root' ? [] : [{ ...quietly([TOOLBOX.busybox, 'sh', '-c', END_AGENT], '0:0'), privileged: true }]),
  ];
  for (const spec of ways) {
    if (context.gone.aborted) return;
    const done = await Promise.race([
      runQuietly(context, spec).then(() => settlesWithin(finished, 4_000)),
      delay(END_MS, false, { ref: false }),
    ]);
    if (done) return;
  }
  context.giveUp('a command could not be ended');
}

async function settlesWithin(finished: Promise<void>, ms: number): Promise<boolean> {
  return await Promise.race([finished.then(() => true), delay(ms, false, { ref: false })]);
}

function quietly(argv: string[], user: string): ExecSpec {
  return { argv, user, env: [], cwd: '/', stdin: false };
}

/** Resolves with the id by which Docker knows its exit code; nothing when it could not be started. */
async function runQuietly(context: ExecContext, spec: ExecSpec): Promise<string | undefined> {
  const exec = await context.docker.exec(context.id, spec).catch(() => undefined);
  if (exec === undefined) return undefined;
  exec.stream.on('error', () => undefined);
  await demultiplex(exec.stream, {}).catch(() => undefined);
  return exec.id;
}

/** Returns when a command was ended alone: in a sandbox that lives another one runs. Errors: as {@link execute}'s, when it was taken along. */
async function outlived(context: ExecContext): Promise<void> {
  const { gone } = context;
  const another = runQuietly(context, quietly([TOOLBOX.busybox, 'true'], '0:0'))
    .then(async (id) => id !== undefined && (await exitCode(context, id)) === 0)
    .catch(() => false);
  const soon = () => delay(GONE_MS, false, { signal: gone }).catch(() => false);
  if ((await Promise.race([another, soon()])) || (await soon())) return;
  gone.throwIfAborted();
}

async function exitCode(context: ExecContext, execId: string): Promise<number> {
  const until = performance.now() + EXIT_MS;
  for (let pause = 5; performance.now() < until; pause = Math.min(pause * 2, 500)) {
    context.gone.throwIfAborted();
    const status = await context.docker.execStatus(execId);
    if (!status.running && status.exitCode !== null) return status.exitCode;
    await delay(pause);
  }
  context.gone.throwIfAborted();
  throw new CofferdamError('sandbox', 'sandbox.exec', 'the command ended, but Docker does not tell its exit code');
}
