import { pipeline } from 'node:stream/promises';
import { Readable, type Writable } from 'node:stream';
import { CofferdamError, type ErrorCode } from '../domain/errors.ts';
import { gitEnvironment, type Transport } from './environment.ts';
import { startProcess, type ProcessLimits, type RunningProcess } from './process.ts';

/** The one place that runs git. Every call names its repository, its transport (if any) and its limits. */
export interface GitCall {
  /** `room.function`, for errors. */
  op: string;
  args: readonly string[];
  /** `--git-dir`; absent only for commands that need no repository. */
  gitDir?: string | undefined;
  transport?: Transport | undefined;
  config?: readonly (readonly [string, string])[] | undefined;
  /** Variables named GIT_…: identity, dates, index file. */
  env?: Readonly<Record<string, string>> | undefined;
  stdin?: string | Uint8Array | Readable | undefined;
  /** Where stdout goes; absent: collected, at most `maxOutputBytes`. */
  stdout?: Writable | undefined;
  maxOutputBytes?: number | undefined;
  timeoutMs?: number | undefined;
  limits?: Partial<ProcessLimits> | undefined;
  /** Descriptors that git inherits, as 3 and up; paths may then begin with `/proc/self/fd/3`. */
  inherit?: readonly number[] | undefined;
  /** Code of the error when it fails; default `internal`. */
  code?: ErrorCode | undefined;
  signal?: AbortSignal | undefined;
}

/** How a call ended. `exit` with code 0 is success. */
export interface GitOutcome {
  end: 'exit' | 'killed' | 'timeout' | 'aborted' | 'output' | 'input' | 'not_started';
  exitCode: number | null;
  stdout: Buffer;
  /** Last part of it, without control characters and without the credential. */
  stderr: string;
}

const DEFAULT_LIMITS: ProcessLimits = {
  memoryBytes: 4 * 2 ** 30,
  cpuSeconds: 300,
  fileBytes: 64 * 2 ** 30,
};
const DEFAULT_TIMEOUT_MS = 60_000;
const DEFAULT_OUTPUT = 16 * 2 ** 20;
const STDERR_BYTES = 16 * 2 ** 10;

/** Starts git and leaves its streams to the caller, who bounds time and output. */
export function startGit(
  call: Pick<GitCall, 'args' | 'gitDir' | 'transport' | 'config' | 'env' | 'limits' | 'inherit'>,
): RunningProcess {
  const where = call.gitDir === undefined ? [] : [`--git-dir=${call.gitDir}`];
  return startProcess({
    argv: ['git', '--no-pager', ...where, ...call.args],
    env: gitEnvironment(call),
    limits: { ...DEFAULT_LIMITS, ...call.limits },
    inherit: call.inherit,
  });
}

/** Runs git and reports how it ended; throws nothing for what git does. */
export async function runGit(call: GitCall): Promise<GitOutcome> {
  const empty = Buffer.alloc(0);
  if (call.signal?.aborted) return { end: 'aborted', exitCode: null, stdout: empty, stderr: '' };
  const child = startGit(call);
  let end = 'exit' as GitOutcome['end'];
  const stop = (reason: GitOutcome['end']) => {
    if (end === 'exit') end = reason;
    child.kill();
  };
  const onAbort = () => {
    stop('aborted');
  };
  call.signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => {
    stop('timeout');
  }, call.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const stderr = collectTail(child.stderr, STDERR_BYTES);
  const output = call.stdout
    ? pipeline(child.stdout, call.stdout).then(
        () => empty,
        () => (stop('output'), empty),
      )
    : collect(child.stdout, call.maxOutputBytes ?? DEFAULT_OUTPUT, () => {
        stop('output');
      });
  feed(child, call.stdin, () => {
    stop('input');
  });
  try {
    const exit = await child.exited;
    const stdout = await output;
    if (exit.error) end = 'not_started';
    else if (end === 'exit' && exit.code === null) end = 'killed';
    const said = exit.error ? exit.error.message : stderr();
    return { end, exitCode: exit.code, stdout, stderr: printable(said, call.transport) };
  } finally {
    clearTimeout(timer);
    call.signal?.removeEventListener('abort', onAbort);
  }
}

/**
 * Runs git and returns its stdout.
 * Errors: `call.code` (default `internal`) when it fails, takes too long or writes too much; `cancelled` when aborted.
 */
export async function git(call: GitCall): Promise<Buffer> {
  const outcome = await runGit(call);
  if (succeeded(outcome)) return outcome.stdout;
  throw gitError(call, outcome);
}

/** `git` for small text answers, without the last newline. */
export async function gitText(call: GitCall): Promise<string> {
  return (await git(call)).toString('utf8').replace(/\n$/, '');
}

export function succeeded(outcome: GitOutcome): boolean {
  return outcome.end === 'exit' && outcome.exitCode === 0;
}

/** The error for an outcome that is not success. */
export function gitError(call: Pick<GitCall, 'op' | 'args' | 'code'>, outcome: GitOutcome): CofferdamError {
  if (outcome.end === 'aborted') return new CofferdamError('cancelled', call.op, 'git was stopped');
  const name = call.args.find((arg) => /^[a-z][a-z-]+$/.test(arg)) ?? 'git';
  return new CofferdamError(call.code ?? 'internal', call.op, `git ${name} ${endText(outcome)}`);
}

function endText(outcome: GitOutcome): string {
  const said = outcome.stderr === '' ? '' : `: ${outcome.stderr.replaceAll('\n', ' ')}`;
  const ends: Record<GitOutcome['end'], string> = {
    exit: `failed with exit code ${outcome.exitCode ?? -1}${said}`,
    input: 'was ended: its input failed',
    killed: `was ended by a signal (limit of memory, CPU time or file size)${said}`,
    timeout: 'took too long',
    aborted: 'was stopped',
    output: 'wrote more than is accepted',
    not_started: `could not be started; git and util-linux (setpriv, prlimit) must be installed${said}`,
  };
  return ends[outcome.end];
}

function feed(child: RunningProcess, stdin: GitCall['stdin'], onBroken: () => void): void {
  if (stdin instanceof Readable) {
    pipeline(stdin, child.stdin).catch((error: unknown) => {
      // git may close its input when it has read enough; how it then ends is its own verdict.
      if ((error as NodeJS.ErrnoException).code === 'EPIPE') child.kill();
      // A source that fails must not look like a complete input, even where git has ended well before it is killed.
      else onBroken();
    });
  } else child.stdin.end(stdin);
}

function collect(stream: Readable, max: number, onExcess: () => void): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  stream.on('data', (part: Buffer) => {
    size += part.length;
    if (size <= max) parts.push(part);
    else onExcess();
  });
  return new Promise((resolve) => {
    stream.once('close', () => {
      resolve(Buffer.concat(parts));
    });
  });
}

/** Keeps the last `max` bytes of a stream while it drains it. */
export function collectTail(stream: Readable, max: number): () => string {
  let tail = Buffer.alloc(0);
  stream.on('data', (part: Buffer) => {
    tail = Buffer.concat([tail, part]).subarray(-max);
  });
  stream.on('error', () => undefined);
  return () => tail.toString('utf8');
}

/** What git said, line by line, fit for a log: remote text is hostile, and a credential must not come back in it. */
export function printable(text: string, transport?: Transport): string {
  let out = text;
  for (const secret of secretForms(transport?.authorization)) out = out.replaceAll(secret, '***');
  // eslint-disable-next-line no-control-regex -- control characters are exactly what must go
  out = out.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g, ' ').trim();
  return out.length > 1500 ? `…${out.slice(-1500)}` : out;
}

function secretForms(authorization: string | undefined): string[] {
  if (authorization === undefined) return [];
  const value = authorization.replace(/^\S+\s+/, '');
  const decoded = Buffer.from(value, 'base64').toString('utf8');
  return [authorization, value, decoded, decoded.slice(decoded.indexOf(':') + 1)].filter((form) => form.length >= 8);
}
